"""A small world to tune on: shelves whose visitors stay on them, with reviews and categories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.folders import new_folder
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.teachers.base import Ask

USERS, SHELVES, SIZE = 90, 6, 20
ADJECTIVES = ("red", "blue", "old", "new", "small", "large", "odd", "plain", "fine", "rough")


class ShelfTeacher:
    """Writes from categories alone."""

    name = "shelves"

    def write(self, asks: Sequence[Ask]) -> list[str]:
        return [self._text(ask) for ask in asks]

    def _text(self, ask: Ask) -> str:
        if ask.kind == "preference":
            return f"Likes what stands among {ask.history[-1].categories[-1]}."
        assert ask.item is not None
        return f"{ask.item.categories[-1]}"


def make_dataset(out: Path) -> Dataset:
    rng = np.random.default_rng(3)
    rows = [(shelf, place) for shelf in range(SHELVES) for place in range(SIZE)]
    items = pl.DataFrame(
        {
            "item_id": [f"i{shelf}{place:02}" for shelf, place in rows],
            "title": [
                f"{ADJECTIVES[place % 10]} shelf{shelf} piece {place}" for shelf, place in rows
            ],
            "categories": [["Shop", f"shelf{shelf}"] for shelf, _ in rows],
        }
    )
    events = [
        (f"u{user:02}", f"i{user % SHELVES}{place:02}", number, f"from shelf{user % SHELVES}")
        for user in range(USERS)
        for number, place in enumerate(rng.permutation(SIZE)[: 4 + user % 5].tolist())
    ]
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp", "review"], orient="row")
    with new_folder(out, "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), frame.lazy(), clock="order"))
    return Dataset(out)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dataset/ and corpus/."""
    folder = tmp_path_factory.mktemp("world")
    dataset = make_dataset(folder / "dataset")
    scenarios = ("P1,I0,T2/T3", "P0,I2,T3", "P1,I0,T0")
    build_corpus(
        dataset, ShelfTeacher(), folder / "corpus", CorpusConfig(scenarios=scenarios)
    )
    return folder


@pytest.fixture(scope="session")
def corpus(world: Path) -> Corpus:
    return Corpus(world / "corpus")


@pytest.fixture(scope="session")
def dataset(world: Path) -> Dataset:
    return Dataset(world / "dataset")
