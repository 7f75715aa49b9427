"""A shop of eight items, three users, and a stand-in for the language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.folders import new_folder, write_json
from instructrec.instructions.templating import Rendered
from instructrec.ranking.fusion import Piece, fusion_content
from instructrec.recommender import Recommender
from instructrec.retrieval.neighbours import ItemNeighbours
from instructrec.retrieval.popularity import Popularity

ITEMS = {
    "g1": ("Turbo Kart", ["Games", "Racing"], 25.0),
    "g2": ("Turbo Kart Deluxe", ["Games", "Racing"], 60.0),
    "g3": ("Speed Legends", ["Games", "Racing"], 30.0),
    "g4": ("Quiet Farm", ["Games", "Farming"], 20.0),
    "h1": ("Garden Hose", ["Garden"], 15.0),
    "h2": ("Rose Shears", ["Garden"], 18.0),
    "h3": ("Clay Pot", ["Garden"], 5.0),
    "h4": ("Watering Can", ["Garden"], None),
}
HISTORIES = {
    "ann": ["g1", "g3", "g4"],
    "bob": ["h1", "h2", "h3", "h4"],
    "cat": ["g3", "g1", "g2"],
    "dan": ["h1", "h3", "h2"],
}


class WordModel:
    """Stands in for the language model: counts words shared with what it was told."""

    name = "lm"

    def __init__(self, catalogue) -> None:
        self.catalogue = catalogue

    def score(self, instructions, candidates):
        scores = np.full(candidates.shape, -np.inf, dtype=np.float32)
        for line, (instruction, rows) in enumerate(zip(instructions, candidates, strict=True)):
            told = " ".join((*instruction.preference.history, instruction.intention.text))
            words = set(told.casefold().split())
            for place, row in enumerate(rows):
                if row >= 0:
                    text = self.catalogue.texts[row].casefold().replace(".", "").replace(",", "")
                    scores[line, place] = len(words & set(text.split()))
        return scores

    def over(self, catalogue):
        return WordModel(catalogue)

    def judge(self, instructions, titles):
        told = instructions[0].intention.text.casefold().split()
        return np.array([0.9 if set(told) & set(t.casefold().split()) else 0.1 for t in titles])

    def compare(self, instructions, pairs):
        rows = np.array([[self.catalogue.titles.index(title) for title in pairs[0]]])
        scores = self.score(instructions, rows)[0]
        return np.array([1 / (1 + np.exp(scores[1] - scores[0]))])

    def find(self, instruction, k=1, allowed=None, beam=20):
        rows = np.arange(len(self.catalogue)) if allowed is None else np.flatnonzero(allowed)
        scores = self.score([instruction], rows[None, :])[0]
        best = np.lexsort((rows, -scores))[:k]
        return rows[best], scores[best]

    def question(self, instruction):
        rendered = self.render(instruction)
        asked = f"{instruction.task.value} {' or '.join(instruction.candidates)}: "
        moved = tuple((a + len(asked), b + len(asked)) for a, b in rendered.title_spans)
        return Rendered(asked + rendered.text, moved)

    def render(self, instruction):
        text, spans = "Taken so far:", []
        for title in instruction.preference.history:
            spans.append((len(text) + 1, len(text) + 1 + len(title)))
            text += f" {title}"
        text += f" Wanted: {instruction.intention.text} Which one?"
        return Rendered(text, tuple(spans))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    items = pl.LazyFrame(
        [
            {"item_id": item_id, "title": title, "categories": categories, "price": price}
            for item_id, (title, categories, price) in ITEMS.items()
        ],
        schema_overrides={"price": pl.Float64},
    )
    events = pl.LazyFrame(
        [
            {"user_id": user, "item_id": item, "timestamp": place}
            for user, history in HISTORIES.items()
            for place, item in enumerate(history)
        ]
    )
    folder = tmp_path_factory.mktemp("shop") / "dataset"
    with new_folder(folder, "dataset", command="test") as draft:
        write_tables(draft, Tables(items, events, clock="order"))
    return Dataset(folder)


@pytest.fixture(scope="session")
def recommender(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    pieces = {
        "lm": Piece(1.0, 1.0),
        "neighbours": Piece(1.0, 1.0),
        "popularity": Piece(0.1, 1.0),
    }
    weights = {known: pieces for known in ("P,I0", "P0,I", "P,I")}
    path = tmp_path_factory.mktemp("run") / "fusion.json"
    write_json(path, fusion_content(weights, {}, {}))
    return Recommender(shop, _fitted(shop), WordModel(shop.catalogue), path)


def _fitted(shop: Dataset) -> dict[str, Any]:
    return {
        "popularity": Popularity.fit(shop.sequences, shop.catalogue),
        "neighbours": ItemNeighbours.fit(shop.sequences, shop.catalogue),
    }


@pytest.fixture(scope="session")
def run(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shop's retrievers where a run has them."""
    folder = tmp_path_factory.mktemp("retrievers") / "run"
    with new_folder(folder / "retrievers-serving", "retrievers", command="test") as draft:
        for name, retriever in _fitted(shop).items():
            retriever.save(draft.path / name)
    return folder
