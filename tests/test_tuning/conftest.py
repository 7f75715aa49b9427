"""A small world to tune on: visitors stay at one shelf, most of them at the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from instructrec.backbones import SHAPES
from instructrec.backbones.shapes import Shape
from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.folders import new_folder
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.teachers.base import Ask, Written
from instructrec.tuning import TuneConfig

USERS, SHELVES, SIZE = 90, 6, 20
ADJECTIVES = ("red", "blue", "old", "new", "small", "large", "odd", "plain", "fine", "rough")


class ShelfTeacher:
    """Writes from categories alone."""

    name = "shelves"

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        return [Written(self._text(ask), self.name) for ask in asks]

    def _text(self, ask: Ask) -> str:
        if ask.kind == "preference":
            return f"Likes what stands among {ask.history[-1].categories[-1]}."
        assert ask.item is not None
        return f"{ask.item.categories[-1]}"


def make_dataset(out: Path, seed: int = 3) -> Dataset:
    rng = np.random.default_rng(seed)
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
    shelves = [user % SHELVES if user % 3 == 0 else 0 for user in range(USERS)]
    events = [
        (f"u{user:02}", f"i{shelf}{place:02}", number, f"from shelf{shelf}")
        for user, shelf in enumerate(shelves)
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
    build_corpus(dataset, ShelfTeacher(), folder / "corpus", CorpusConfig(scenarios=scenarios))
    return folder


@pytest.fixture(scope="session")
def corpus(world: Path) -> Corpus:
    return Corpus(world / "corpus")


@pytest.fixture(scope="session")
def dataset(world: Path) -> Dataset:
    return Dataset(world / "dataset")


MICRO = {
    "micro-causal": Shape(width=32, heads=2, layers=2, feed_forward=64),
    "micro-t5": Shape(width=32, heads=2, layers=1, feed_forward=64),
}


@pytest.fixture(autouse=True)
def small_and_alone() -> Iterator[None]:
    """Backbones that learn in seconds, on one thread, so that busy machines change nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    SHAPES.update(MICRO)
    yield
    for name in MICRO:
        del SHAPES[name]
    torch.set_num_threads(threads)


def quick(**settings: Any) -> TuneConfig:
    """Settings of a tuning that takes about a second."""
    given: dict[str, Any] = {
        "backbone": "micro-causal",
        "vocab_size": 500,
        "batch_tokens": 1024,
        "max_tokens": 256,
        "learning_rate": 1e-2,
        "validations": 2,
        "validation_users": 12,
        "choice_users": 6,
    }
    if not {"epochs", "budget"} & set(settings):
        given["steps"] = 12
    return TuneConfig(**{**given, **settings})
