"""A small shop and an encoder that needs no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.hashing import stable_hash
from instructrec.instructions.schema import Instruction, Intention, IntentionKind, Preference
from instructrec.protocols import SILENT, Progress

SHOP = {
    "a1": ("Turbo Kart", ["Games", "Racing"], 25.0),
    "a2": ("Turbo Kart Deluxe", ["Games", "Racing"], 60.0),
    "a3": ("Quiet Farm", ["Games", "Farming"], 20.0),
    "b1": ("Garden Hose", ["Garden"], 15.0),
    "b2": ("Rose Shears", ["Garden", "Roses"], 18.0),
    "b3": ("Clay Pot", ["Garden"], 5.0),
    "c1": ("红色连衣裙", ["服装"], 30.0),
}


def a_catalogue(shop: dict[str, tuple[str, list[str], float]] = SHOP) -> Catalogue:
    rows = [
        {"item_id": item_id, "title": title, "categories": categories, "price": price}
        for item_id, (title, categories, price) in sorted(shop.items())
    ]
    lists = {"categories": pl.List(pl.String)}
    return Catalogue(pl.DataFrame(rows, schema_overrides=lists))


def some_sequences(catalogue: Catalogue) -> Sequences:
    taken = {"ann": ["a1", "a2", "a3"], "bob": ["b1", "b2"], "cat": ["b2", "b3", "a1"]}
    rows = [(user, item) for user, items in taken.items() for item in items]
    return Sequences.of(pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"), catalogue)


def wishing(text: str, likes: str = "", history: Sequence[str] = ()) -> Instruction:
    titles = tuple(SHOP[item][0] if item in SHOP else item for item in history)
    intention = Intention(text, IntentionKind.VAGUE) if text else Intention()
    return Instruction(Preference(titles, tuple(history), text=likes), intention)


def every_row(requests: int, catalogue: Catalogue) -> np.ndarray:
    return np.tile(np.arange(len(catalogue)), (requests, 1))


class WordEncoder:
    """A text's vector is the sum of a fixed direction for each of its words."""

    name = "words"
    dimensions = 64
    latin_only = True

    def __init__(self, identity: str = "one") -> None:
        self.identity = identity
        self.read: list[str] = []

    def encode(
        self,
        texts: Sequence[str],
        progress: Progress = SILENT,
        title: str = "",
        *,
        asked: bool = False,
    ) -> np.ndarray:
        self.read += texts
        vectors = np.array([self._sum(text) for text in texts], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _sum(self, text: str) -> np.ndarray:
        words = text.casefold().replace(",", " ").replace(".", " ").split()
        parts = [
            np.random.default_rng(stable_hash(self.identity, word)).normal(size=self.dimensions)
            for word in words
        ]
        return np.sum(parts, axis=0)
