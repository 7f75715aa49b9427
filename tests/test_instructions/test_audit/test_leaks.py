"""Every planted leak is found and named; a clean corpus passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from instructrec.data.dataset import Dataset
from instructrec.instructions.audit.base import Leak
from instructrec.instructions.audit.candidates import Orders
from instructrec.instructions.audit.leaks import find_leaks
from instructrec.instructions.corpus import Corpus

from .conftest import Plant


def _found(corpus: Corpus, market: Dataset) -> dict[str, Leak]:
    return {leak.check: leak for leak in find_leaks(corpus, market) if leak.found}


@pytest.mark.parametrize("protocol", ["leave-one-out", "items", "time"])
def test_a_clean_corpus_passes_every_check(
    protocol: str, make: Callable[[str], Corpus], market: Dataset
) -> None:
    corpus = make(protocol)
    leaks = find_leaks(corpus, market)
    assert [(leak.check, leak.rows[:3]) for leak in leaks if leak.found] == []
    assert {leak.looked_at for leak in leaks} == {
        sum(corpus.size(split) for split in ("train", "validation", "test"))
    }


def _first(rows: pl.DataFrame, wanted: pl.Expr) -> int:
    number = rows.filter(wanted)["row"][0]
    assert isinstance(number, int)
    return number


def _set(rows: pl.DataFrame, row: int, **values: pl.Expr) -> pl.DataFrame:
    here = pl.col("row") == row
    return rows.with_columns(
        pl.when(here).then(value).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    )


@pytest.mark.parametrize("column", ["intention", "preference"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_title_in_a_wish_or_a_preference_is_found(
    column: str, split: str, corpus: Corpus, market: Dataset, plant: Plant
) -> None:
    told = pl.col(column) != ""
    row = _first(corpus.rows(split), told & (pl.col("item").str.split(" ").list.len() > 2))
    text = pl.format("I want {}, please", pl.col("item").str.to_uppercase())
    found = _found(plant(split, lambda rows: _set(rows, row, **{column: text})), market)
    assert [(one.split, one.row) for one in found["title"].rows] == [(split, row)]
    assert f"the {column} has a copy of the title" in found["title"].rows[0].reason


def test_a_near_copy_of_a_title_is_found(corpus: Corpus, market: Dataset, plant: Plant) -> None:
    wide = pl.col("item").str.split(" ").list.len() > 3
    row = _first(corpus.rows("train"), (pl.col("intention") != "") & wide)
    rest = pl.col("item").str.replace(r"^(\S+) (\S+) ", "$1 or $2 ")
    found = _found(plant("train", lambda rows: _set(rows, row, intention=rest)), market)
    assert "near-copy" in found["title"].rows[0].reason
    assert found["title"].rows[0].row == row


def test_a_title_slipped_into_an_instruction_is_found(
    corpus: Corpus, market: Dataset, plant: Plant
) -> None:
    wide = pl.col("item").str.extract_all(r"\w+").list.len() > 2
    free = (pl.col("candidates").list.len() == 0) & (pl.col("asks") == "item")
    row = _first(corpus.rows("train"), wide & free)
    text = pl.format("{} Hint: {}.", "instruction", "item")
    found = _found(plant("train", lambda rows: _set(rows, row, instruction=text)), market)
    assert found["title"].rows[0].row == row


def test_an_item_from_after_the_split_point_in_a_history_is_found(
    corpus: Corpus, market: Dataset, plant: Plant
) -> None:
    last = market.split("leave-one-out").events.filter(pl.col("split") == "test")
    later = dict(last.select("user_id", "item_id").iter_rows())
    rows = corpus.rows("train")
    row = _first(
        rows, (pl.col("history_ids").list.len() > 1) & pl.col("user_id").is_in(list(later))
    )
    item = later[rows.filter(pl.col("row") == row)["user_id"][0]]
    grown = pl.concat_list("history_ids", pl.lit(item))
    found = _found(plant("train", lambda rows: _set(rows, row, history_ids=grown)), market)
    assert [one.row for one in found["future"].rows] == [row]
    assert item in found["future"].rows[0].reason


def test_a_foreign_item_in_a_history_and_a_held_out_target_are_found(
    corpus: Corpus, market: Dataset, plant: Plant
) -> None:
    test = corpus.rows("test").filter(pl.col("scenario") == "P1,I0,T3").head(1)
    number = 10**12
    moved = test.with_columns(row=pl.lit(number, dtype=pl.Int64), split=pl.lit("train"))
    row = _first(corpus.rows("train"), pl.col("history_ids").list.len() > 1)
    strange = pl.concat_list("history_ids", pl.lit("nothing-of-mine"))
    planted = plant("train", lambda rows: pl.concat([_set(rows, row, history_ids=strange), moved]))
    reasons = {one.row: one.reason for one in _found(planted, market)["future"].rows}
    assert set(reasons) == {row, number}
    assert "never had" in reasons[row]
    assert "is no train item" in reasons[number]


def test_a_test_reviews_text_in_a_training_row_is_found(
    corpus: Corpus, market: Dataset, plant: Plant
) -> None:
    texts = corpus.annotations.filter(pl.col("split") == "test", pl.col("kind") == "intention")
    wishes = dict(texts.select("user_id", "text").iter_rows())
    rows = corpus.rows("train")
    told = (pl.col("intention") != "") & pl.col("user_id").is_in(list(wishes))
    row = _first(rows, told)
    wish = wishes[rows.filter(pl.col("row") == row)["user_id"][0]]
    found = _found(plant("train", lambda rows: _set(rows, row, intention=pl.lit(wish))), market)
    assert [one.row for one in found["later text"].rows] == [row]


def _moved_to(rows: pl.DataFrame, place: int, share: float = 1.0) -> pl.DataFrame:
    """Lists of ten with the target at one place."""
    rng = np.random.default_rng(0)
    lists = []
    for listed, item in rows.select("candidate_ids", "item_id").iter_rows():
        ids = list(listed)
        if len(ids) == 10 and rng.random() < share:
            ids.remove(item)
            ids.insert(place, item)
        lists.append(ids)
    return rows.with_columns(candidate_ids=pl.Series(lists, dtype=pl.List(pl.String)))


@pytest.mark.parametrize(("place", "share"), [(0, 1.0), (9, 1.0), (4, 0.4)])
def test_a_target_that_stands_at_one_place_too_often_is_found(
    place: int, share: float, market: Dataset, plant: Plant
) -> None:
    found = _found(plant("test", lambda rows: _moved_to(rows, place, share)), market)
    assert set(found) == {"place"}
    assert f"at place {place + 1} " in found["place"].rows[0].reason
    assert {one.split for one in found["place"].rows} == {"test"}


def _sorted_by(rows: pl.DataFrame, key: dict[str, int], upto: int = 10) -> pl.DataFrame:
    lists = [
        sorted(ids[:upto], key=lambda one: key[one]) + list(ids[upto:])
        for ids in rows["candidate_ids"].to_list()
    ]
    return rows.with_columns(candidate_ids=pl.Series(lists, dtype=pl.List(pl.String)))


@pytest.mark.parametrize("order", ["id", "time"])
@pytest.mark.parametrize("upto", [10, 6])
def test_candidates_in_order_of_id_or_time_are_found(
    order: str, upto: int, market: Dataset, plant: Plant
) -> None:
    ids = market.catalogue.item_ids
    if order == "id":
        key = {item: at for at, item in enumerate(ids)}
    else:
        items = market.catalogue.items
        times = items["added_at"] if "added_at" in items.columns else None
        if times is None:
            first = market.interactions.group_by("item_id").agg(pl.col("timestamp").min()).collect()
            known = dict(first.select("item_id", "timestamp").iter_rows())
        else:
            known = dict(zip(ids, times, strict=True))
        key = {item: known.get(item) or 0 for item in ids}
    found = _found(plant("train", lambda rows: _sorted_by(rows, key, upto)), market)
    told = {one.reason.split(" (")[0] for one in found["order"].rows}
    assert any(f"by {order}" in one or f"follow {order}" in one for one in told)


def test_lists_without_their_target_or_with_an_item_twice_are_found(
    corpus: Corpus, market: Dataset, plant: Plant
) -> None:
    reranking = (pl.col("task") == "T3") & (pl.col("strategy") == "direct")
    first, second = corpus.rows("train").filter(reranking)["row"][:2]
    ids = pl.col("candidate_ids")
    without = ids.list.set_difference(pl.concat_list("item_id"))
    twice = pl.concat_list(ids, pl.col("item_id"))
    planted = plant(
        "train",
        lambda rows: _set(_set(rows, first, candidate_ids=without), second, candidate_ids=twice),
    )
    reasons = {one.row: one.reason for one in _found(planted, market)["candidates"].rows}
    assert "not among" in reasons[first]
    assert "listed twice" in reasons[second]


def test_rows_that_repeat_and_rows_that_say_nothing_are_found(
    corpus: Corpus, market: Dataset, plant: Plant
) -> None:
    first, second = corpus.rows("test")["row"][:2]

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        again = rows.filter(pl.col("row") == first).with_columns(row=pl.lit(10**12, dtype=pl.Int64))
        number = rows.tail(1).with_columns(row=pl.lit(second, dtype=pl.Int64))
        silent = _set(rows, second, response=pl.lit("  "))
        return pl.concat([silent, again, number.with_columns(instruction=pl.lit("Another."))])

    found = _found(plant("test", change), market)
    assert {one.row for one in found["duplicate"].rows} == {10**12, second}
    assert [(one.row, one.reason) for one in found["empty"].rows] == [
        (second, "the response is empty")
    ]


@pytest.mark.parametrize("bent", [False, True])
def test_many_short_lists_may_be_sorted_as_often_as_chance_makes_them(
    market: Dataset, bent: bool
) -> None:
    ids, rng = market.catalogue.item_ids, np.random.default_rng(0)
    lists = [[ids[at] for at in rng.choice(len(ids), 3, replace=False)] for _ in range(6000)]
    lists[: 800 * bent] = [sorted(one) for one in lists[: 800 * bent]]
    rows = pl.DataFrame(
        {
            "row": np.arange(len(lists)),
            "strategy": "direct",
            "task": "T3",
            "item_id": [one[0] for one in lists],
            "candidate_ids": lists,
        }
    )
    check = Orders(market)
    assert not list(check.look("train", rows))
    found = list(check.close())
    assert bool(found) is bent
    by_id = next(one for one in check.facts()["orders"] if one["order"] == "id")
    assert by_id["sorted"] > 1900
