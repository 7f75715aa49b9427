"""Texts as bags of hashed words and three-letter pieces, for rivals that learn to read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from instructrec.hashing import stable_hash
from instructrec.retrieval._words import words

_LONGEST = 256
"""Pieces of a text that are read."""
Bag = NDArray[np.int64]


@lru_cache(maxsize=200_000)
def _pieces(word: str, buckets: int) -> tuple[int, ...]:
    """Numbers of a word and of the runs of three letters in it."""
    marked = f"#{word}#"
    runs = [marked[at : at + 3] for at in range(len(marked) - 2)] if len(word) > 2 else []
    return tuple(stable_hash("piece", piece) % buckets for piece in (word, *runs))


def bag_of(text: str, buckets: int) -> Bag:
    """The hashed pieces of a text, repeats kept; empty for a text without words.

    Source: Huang et al. 2013, "Learning Deep Structured Semantic Models", §3.2 (word hashing).
    """
    found = [number for word in words(text) for number in _pieces(word, buckets)]
    return np.array(found[:_LONGEST], dtype=np.int64)


class Bags(nn.Module):
    """The mean vector of a bag's pieces; zeros for an empty bag.

    Args:
        buckets: How many vectors there are.
        dimensions: Length of a vector.
    """

    def __init__(self, buckets: int, dimensions: int) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(buckets, dimensions, mode="mean")
        nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, bags: Sequence[Bag]) -> Tensor:
        """(bags, dimensions) vectors."""
        device = self.table.weight.device
        lengths = np.array([len(bag) for bag in bags], dtype=np.int64)
        flat = np.concatenate(bags) if len(bags) else np.zeros(0, dtype=np.int64)
        starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)
        mean: Tensor = self.table(torch.from_numpy(flat).to(device), starts)
        return mean
