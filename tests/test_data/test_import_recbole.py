"""RecBole's atomic files come in with the types their headers name."""

from __future__ import annotations

import pytest
from raw_files import Load, Write, events_of

from instructrec.errors import UsageError

INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t242\t3\t881250949\n186\t302\t3.5\t891717742\n"
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tscore:float\n"
    '242\tKolya "the boy"\t1996\tComedy\t0.5\n302\tL.A. Confidential\t1997\tCrime Mystery\t\n'
)


def test_atomic_files_are_read(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("ml.inter", INTER),
        items=write("ml.item", ITEM),
        users=write("ml.user", "user_id:token\tage:token\tgender:token\n196\t49\tM\n186\t39\tF\n"),
    )
    assert dataset.catalogue.items.to_dicts() == [
        {
            "item_id": "242",
            "title": 'Kolya "the boy"',
            "categories": ["Comedy"],
            "release_year": 1996,
            "score": 0.5,
        },
        {
            "item_id": "302",
            "title": "L.A. Confidential",
            "categories": ["Crime", "Mystery"],
            "release_year": 1997,
            "score": None,
        },
    ]
    assert events_of(dataset) == [("186", "302", 891717742000), ("196", "242", 881250949000)]
    assert dataset.users is not None and dataset.users["age"].to_list() == [39, 49]
    facts = dataset.manifest["import"]["files"]
    assert {facts[table]["format"] for table in facts} == {"recbole"}


def test_categories_of_several_words_are_kept_whole(write: Write, load: Load) -> None:
    items = (
        "item_id:token\ttitle:token\tcategories:token_seq\ttags:token_seq\n"
        "242\tA\t'Video Games', 'PC'\ta b\n302\tB\tVideo Games, Mac\tc\n"
    )
    dataset = load(interactions=write("g.inter", INTER), items=write("g.item", items))
    frame = dataset.catalogue.items
    assert frame["categories"].to_list() == [["Video Games", "PC"], ["Video Games", "Mac"]]
    assert frame["tags"].to_list() == [["a", "b"], ["c"]]


def test_interactions_without_a_time_need_the_clock_said(write: Write, load: Load) -> None:
    inter = "user_id:token\titem_id:token\nu\t302\nu\t242\n"
    files = {"interactions": write("g.inter", inter), "items": write("g.item", ITEM)}
    with pytest.raises(UsageError, match="no column timestamp"):
        load(**files)
    assert [item for _, item, _ in events_of(load(**files, clock="order"))] == ["302", "242"]


def test_a_header_without_types_is_refused(write: Write, load: Load) -> None:
    file = write("g.inter", "user_id\titem_id\n1\t2\n")
    with pytest.raises(UsageError, match="is no RecBole file: its column 'user_id'"):
        load(interactions=file, items=write("g.item", ITEM), format="recbole")
