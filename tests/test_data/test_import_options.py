"""k-core, repeats, least rating, cap per user: what is kept is what the rule says."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_files import Load, T, Write, events_of

from instructrec.data import refine
from instructrec.data.cleaning import LINE
from instructrec.data.rejected import Tally
from instructrec.errors import UsageError

ITEMS = "item_id,title\n" + "".join(f"{item},Title {item}\n" for item in "abcdef")


def log(*rows: str) -> str:
    """A file of events such as ``ua`` (user u, item a), one a moment, rated by a third letter."""
    lines = [f"{row[0]},{row[1]},{T + n},{row[2:]}\n" for n, row in enumerate(rows)]
    return "user_id,item_id,timestamp,rating\n" + "".join(lines)


def pairs(dataset: object) -> list[str]:
    return [user + item for user, item, _ in events_of(dataset)]  # type: ignore[arg-type]


def test_repeats_keep_the_first_or_all(write: Write, load: Load) -> None:
    files = {
        "interactions": write("log.csv", log("ua", "ub", "ua", "va", "ua")),
        "items": write("items.csv", ITEMS),
    }
    dropped = load(**files)
    assert pairs(dropped) == ["ua", "ub", "va"]
    assert dropped.manifest["import"]["dropped"] == {
        "interactions": {"repeats a user and item (the first is kept)": 2}
    }
    assert pairs(load(**files, repeats="keep")) == ["ua", "ub", "ua", "ua", "va"]


def test_low_ratings_go_before_repeats_are_looked_at(write: Write, load: Load) -> None:
    file = write("log.csv", log("ua2", "ua5", "ub", "uc3"))
    dataset = load(interactions=file, items=write("items.csv", ITEMS), min_rating=4)
    assert pairs(dataset) == ["ua", "ub"]
    assert dataset.interactions.collect()["rating"].to_list() == [5.0, None]


def test_a_least_rating_needs_ratings(write: Write, load: Load) -> None:
    file = write("log.csv", f"user_id,item_id,timestamp\nu,a,{T}\n")
    with pytest.raises(UsageError, match="--min-rating needs ratings"):
        load(interactions=file, items=write("items.csv", ITEMS), min_rating=4)


def test_the_last_of_each_user_stay(write: Write, load: Load) -> None:
    file = write("log.csv", log("ua", "ub", "va", "uc", "ud"))
    dataset = load(interactions=file, items=write("items.csv", ITEMS), max_per_user=2)
    assert pairs(dataset) == ["uc", "ud", "va"]


def test_the_k_core_takes_items_and_their_queries_along(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("log.csv", log("ua", "ub", "va", "vb", "wa", "wc")),
        items=write("items.csv", ITEMS),
        queries=write("q.csv", "query_id,text,item_id\nq,x,a\nq,x,c\nr,y,zz\n"),
        k_core=2,
    )
    assert pairs(dataset) == ["ua", "ub", "va", "vb"]
    assert dataset.catalogue.item_ids == ["a", "b"]
    assert dataset.queries is not None and dataset.queries["item_id"].to_list() == ["a"]
    done = dataset.manifest["import"]
    assert done["dropped"] == {
        "interactions": {"outside the k-core": 2},
        "queries": {"outside the k-core": 1},
    }
    assert done["bad"] == {"queries": {"item_id is not in the items": 1}}


@settings(max_examples=80, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=120),
    k=st.integers(2, 4),
)
def test_the_k_core_is_the_largest_set_where_all_have_k(
    events: list[tuple[int, int]], k: int
) -> None:
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user, _ in events],
            "item_id": [f"i{item}" for _, item in events],
            "timestamp": range(len(events)),
            LINE: range(len(events)),
        }
    )
    kept = refine.refine_interactions(frame, refine.Keep("keep", k_core=k), Tally())
    left = list(range(len(events)))
    while True:
        users = Counter(events[n][0] for n in left)
        items = Counter(events[n][1] for n in left)
        smaller = [n for n in left if users[events[n][0]] >= k and items[events[n][1]] >= k]
        if smaller == left:
            break
        left = smaller
    assert sorted(kept[LINE].to_list()) == left


def test_events_are_named_as_we_name_them_and_dislikes_stay(write: Write, load: Load) -> None:
    file = write(
        "log.csv",
        "user_id,item_id,timestamp,event,weight\n"
        + "".join(
            f"u,{item},{T},{event},1.5\n"
            for item, event in zip(
                "abcde", ("view", "addtocart", "Buy", "dislike", "yawn"), strict=False
            )
        ),
    )
    dataset = load(interactions=file, items=write("items.csv", ITEMS))
    frame = dataset.interactions.collect()
    assert frame["event"].to_list() == ["view", "cart", "purchase", "dislike"]
    assert frame["weight"].to_list() == [1.5] * 4
    assert dataset.manifest["import"]["bad"]["interactions"] == {
        "event is none of view, cart, purchase, like, dislike": 1
    }
