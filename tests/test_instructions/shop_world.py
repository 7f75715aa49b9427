"""A teacher that tells all it was told, and a shop whose items are told apart by every word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.folders import new_folder
from instructrec.instructions.teachers.base import Ask, Written

USERS, ITEMS = 40, 60


class Echo:
    """A teacher that tells all it was told, so that any leak shows; sometimes it names titles."""

    name = "echo"

    def __init__(self, careless: bool = False) -> None:
        self.careless = careless

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        return [Written(self._text(ask), self.name) for ask in asks]

    def _text(self, ask: Ask) -> str:
        if ask.kind == "preference":
            seen = " ".join(f"{item.categories[-1]} {item.review}" for item in ask.history)
            return f"{ask.view} likes {seen}"
        assert ask.item is not None
        if self.careless and ask.seed % 2:
            return f"I want {ask.item.title.upper()}!"
        return ", ".join(ask.item.categories) if ask.view == "specific" else f"wants {ask.review}"


def make_shop(out: Path) -> Dataset:
    rng = np.random.default_rng(5)
    ids = [f"i{number:02}" for number in range(ITEMS)]
    items = pl.DataFrame(
        {
            "item_id": ids,
            "title": [f"Thing number {number}" for number in range(ITEMS)],
            "categories": [["Shop", f"mark{number}"] for number in range(ITEMS)],
        }
    )
    events = [
        (f"u{user:02}", ids[item], place + 1, f"review{item} of u{user:02}")
        for user in range(USERS)
        for place, item in enumerate(rng.permutation(ITEMS)[: 3 + user % 25])
    ]
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp", "review"], orient="row")
    queries = pl.DataFrame(
        {
            "query_id": [f"q{number:02}" for number in range(ITEMS)],
            "text": [f"query for mark{number}" for number in range(ITEMS)],
            "item_id": ids,
            "relevance": [1.0] * ITEMS,
        }
    )
    with new_folder(out, "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), frame.lazy(), queries.lazy()))
    return Dataset(out)
