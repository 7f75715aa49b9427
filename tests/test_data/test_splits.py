"""Nothing after the split point reaches a training sequence, under any protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.errors import UsageError
from instructrec.folders import new_folder

Make = Callable[..., Dataset]
DAY = 86_400_000


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def _make(events: list[tuple[str, str, int]], clock: str = "ms", **more: object) -> Dataset:
        frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
        for name, values in more.items():
            frame = frame.with_columns(pl.Series(name, values))
        ids = sorted({item for _, item, _ in events} | {f"x{n}" for n in range(5)})
        items = pl.DataFrame({"item_id": ids, "title": [f"Title {item}" for item in ids]})
        with new_folder(tmp_path / "d", "dataset", command="test") as draft:
            write_tables(draft, Tables(items.lazy(), frame.lazy(), clock=clock))
        return Dataset(tmp_path / "d")

    return _make


EVENTS = [
    (user, item, (number + 1) * DAY)
    for user, items in (("u", "abcde"), ("v", "bca"), ("w", "ab"))
    for number, item in enumerate(items)
]


def test_leave_one_out_holds_out_the_last_two(make: Make) -> None:
    dataset = make(EVENTS)
    split = dataset.split("leave-one-out")
    ids = dataset.catalogue.item_ids
    train = split.train()
    assert {user: [ids[row] for row in train[n]] for n, user in enumerate(train.user_ids)} == {
        "u": ["a", "b", "c"],
        "v": ["b"],
        "w": ["a", "b"],
    }
    test, validation = split.targets("test"), split.targets("validation")
    assert test.user_ids == ["u", "v"]
    assert [ids[row] for row in test.rows] == ["e", "a"]
    assert [ids[row] for row in test.histories[0]] == ["a", "b", "c", "d"]
    assert [ids[row] for row in validation.rows] == ["d", "c"]
    assert [ids[row] for row in validation.histories[0]] == ["a", "b", "c"]
    learnt = split.targets("train")
    assert learnt.user_ids == ["u", "w"]
    assert [ids[row] for row in learnt.histories[0]] == ["a", "b"]


def test_a_dislike_is_never_a_target_nor_history(make: Make) -> None:
    kinds = ["purchase"] * 4 + ["dislike"] + ["purchase"] * 5
    dataset = make(EVENTS, event=kinds)
    test = dataset.split("leave-one-out").targets("test")
    assert dataset.catalogue.item_ids[test.rows[0]] == "d"
    assert [len(history) for history in test.histories] == [3, 2]


def test_the_time_split_lets_nothing_later_into_training(make: Make) -> None:
    events = [
        (f"u{n}", item, (n + place) * DAY + 1)
        for n in range(12)
        for place, item in enumerate("abcde")
    ]
    dataset = make(events)
    split = dataset.split("time")
    table = split.events.with_columns(dataset.interactions.collect()["timestamp"])
    borders = {name: part["timestamp"] for (name,), part in table.group_by("split")}
    assert borders["train"].max() < borders["validation"].min()
    assert borders["validation"].max() < borders["test"].min()
    for name in ("validation", "test"):
        targets = split.targets(name)
        assert len(targets) == len(set(targets.user_ids)) > 0
        assert all(len(history) for history in targets.histories)


def test_a_time_split_without_a_calendar_is_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="has no calendar"):
        make(EVENTS, clock="order").split("time")


def test_the_item_split_keeps_held_out_items_out_of_training(make: Make) -> None:
    events = [
        (f"u{n}", f"i{(n + place) % 30:02}", place + 1) for n in range(30) for place in range(8)
    ]
    dataset = make(events)
    split = dataset.split("items")
    names = dict(split.items.iter_rows())
    ids = dataset.catalogue.item_ids
    counts = split.items["split"].value_counts()
    assert dict(counts.iter_rows()) == {"train": 28, "validation": 4, "test": 3}
    assert all(names[ids[row]] == "train" for row in split.train().rows)
    for name in ("validation", "test"):
        targets = split.targets(name)
        assert all(names[ids[row]] == name for row in targets.rows)
        assert all(names[ids[row]] == "train" for h in targets.histories for row in h)


def test_a_repeated_item_stays_unambiguous(make: Make) -> None:
    dataset = make([("u", item, n + 1) for n, item in enumerate("aabaa")])
    targets = dataset.split("leave-one-out").targets("test")
    assert targets.positions.tolist() == [4]
    assert len(targets.histories[0]) == 4
