"""What is said and the item it was said of: the pairs a two-tower learns from."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.catalogue import Catalogue
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.schema import (
    Context,
    Instruction,
    Intention,
    IntentionKind,
    Preference,
)
from instructrec.protocols import Rows
from instructrec.retrieval.dense import said_in

_CONTEXT = ("context_time", "context_place", "context_device", "context_occasion")


@dataclass(frozen=True, eq=False)
class Pairs:
    """n pairs of what is said and an item, each once.

    Attributes:
        texts: What is said, each text once.
        said: (n,) numbers of texts.
        rows: (n,) catalogue rows of the items.
    """

    texts: list[str]
    said: NDArray[np.int64]
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: NDArray[np.int64]) -> Pairs:
        """The pairs with these numbers, in this order."""
        used, said = np.unique(self.said[numbers], return_inverse=True)
        texts = [self.texts[number] for number in used.tolist()]
        return Pairs(texts, said.astype(np.int64), self.rows[numbers])


def gather_pairs(
    corpus: Corpus,
    split: str,
    catalogue: Catalogue,
    *,
    most: int,
    latin_only: bool,
    without: Collection[str] = (),
    seed: int = 0,
) -> Pairs:
    """The pairs of a split: the intention, else the stated preference, and the target.

    Rows that ask for the item itself are read, whatever they list or know beside; what occurs in
    several scenarios counts once.

    Args:
        corpus: Its rows.
        split: ``train`` or ``validation``.
        catalogue: Items that are not in it are left out.
        most: So many pairs at most, drawn at random.
        latin_only: Whether texts in other scripts are left out.
        without: Users whose rows are left out.
        seed: Seeds the draw.
    """
    preference = pl.when(pl.col("intention") == "").then("preference").otherwise(pl.lit(""))
    asks = corpus.scan(split).filter(
        (pl.col("strategy") == "direct")
        & (pl.col("asks") == "item")
        & pl.col("task").is_in(["T2", "T3"])
        & (pl.col("user_id").is_null() | ~pl.col("user_id").is_in(sorted(without)))
    )
    frame = (
        asks.select("intention", preference.alias("preference"), *_CONTEXT, "item_id")
        .unique(maintain_order=True)
        .collect()
    )
    rows = catalogue.rows(frame["item_id"].to_list())
    told = (_said(row, latin_only) for row in frame.iter_rows(named=True))
    numbers: dict[str, int] = {}
    pairs: dict[tuple[int, int], None] = {}
    for said, row in zip(told, rows.tolist(), strict=True):
        if said and row >= 0:
            pairs[numbers.setdefault(said, len(numbers)), row] = None
    both = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    found = Pairs(list(numbers), both[:, 0], both[:, 1])
    rng = np.random.default_rng((seed, 4))
    return found.take(np.sort(rng.permutation(len(found))[:most]))


def _said(row: dict[str, str], latin_only: bool) -> str:
    """What a row says, as the dense match reads it."""
    wish = row["intention"]
    intention = Intention(wish, IntentionKind.VAGUE) if wish else Intention()
    context = Context(*(row[name] for name in _CONTEXT))
    instruction = Instruction(Preference(text=row["preference"]), intention, context=context)
    return said_in(instruction, latin_only=latin_only)


class PairBatches:
    """Pairs in batches, in another order each epoch; what is left over waits for the next.

    Args:
        count: How many pairs.
        size: Pairs of a batch.
        seed: Seeds the order.
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self._count, self._size, self._seed = count, min(size, count), seed

    def __len__(self) -> int:
        """Batches of an epoch."""
        return math.floor(self._count / self._size) if self._size else 0

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Numbers of the pairs of each batch of an epoch."""
        order = np.random.default_rng((self._seed, 5, epoch)).permutation(self._count)
        return [order[at * self._size : (at + 1) * self._size] for at in range(len(self))]
