"""A small marketplace, its corpora, and copies of them with something planted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from instructrec.data.dataset import Dataset
from instructrec.data.market import make_market
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.teachers.rules import RulesTeacher

Plant = Callable[[str, Callable[[pl.DataFrame], pl.DataFrame]], Corpus]


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("audited") / "dataset"
    make_market(folder, users=120, items=150, seed=4)
    return Dataset(folder)


@pytest.fixture(scope="session")
def make(market: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Corpus]:
    """The corpus of a protocol, made once."""
    made: dict[str, Corpus] = {}

    def corpus(protocol: str) -> Corpus:
        if protocol not in made:
            out = tmp_path_factory.mktemp(protocol) / "corpus"
            config = CorpusConfig(protocol=protocol)
            made[protocol] = build_corpus(market, RulesTeacher(), out, config)
        return made[protocol]

    return corpus


@pytest.fixture(scope="session")
def corpus(make: Callable[[str], Corpus]) -> Corpus:
    return make("leave-one-out")


@pytest.fixture
def plant(corpus: Corpus, tmp_path: Path) -> Plant:
    """Change the rows of a split (or the annotations) in a copy of the corpus."""

    def planted(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Corpus:
        out = tmp_path / "planted"
        shutil.copytree(corpus.folder, out, dirs_exist_ok=True)
        shards = Corpus(out).shards(name)
        frame = change(pl.read_parquet(shards))
        for path in shards[1:]:
            path.unlink()
        frame.write_parquet(shards[0])
        return Corpus(out)

    return planted
