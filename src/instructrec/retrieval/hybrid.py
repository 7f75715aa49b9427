"""Several retrievers' lists as one list of candidates for reranking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from instructrec.instructions.schema import Instruction
from instructrec.protocols import Filters, Retriever, Rows, Scores

CONSTANT = 60
"""Place p of a list counts 1 / (60 + p)."""


class Hybrid:
    """Reciprocal rank fusion: an item counts for every list it stands in, the higher the more.

    Each retriever applies the filters itself, so that k items come back wherever k are allowed
    and any retriever finds them; ``fill`` (popularity, say) adds items behind all that were found.

    Source: Cormack, Clarke, Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet".

    Args:
        retrievers: Over one catalogue. One that finds nothing for a request takes no part in it.
        fill: Fills what they leave; none when left out.
    """

    def __init__(self, retrievers: Iterable[Retriever], fill: Retriever | None = None) -> None:
        self.name = "hybrid"
        self.retrievers = tuple(retrievers)
        self.fill = fill

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`."""
        lists = [found.retrieve(instructions, k, filters) for found in self.retrievers]
        fused = fuse_places(lists, len(instructions), k)
        if self.fill is None or (fused >= 0).all():
            return fused
        return _append(fused, self.fill.retrieve(instructions, k, filters))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; summed reciprocal places in each list.

        Candidates that a retriever scores alike share the worst of their places, so that one with
        nothing to say adds the same to all.
        """
        sums = np.zeros(candidates.shape, dtype=np.float64)
        for retriever in self.retrievers:
            scores = retriever.score(instructions, candidates)
            places = (scores[:, None, :] >= scores[:, :, None]).sum(axis=2)
            sums += 1.0 / (CONSTANT + places)
        return np.where(candidates < 0, np.float32("-inf"), sums.astype(np.float32))


def fuse_places(lists: Sequence[Rows], count: int, k: int) -> Rows:
    """The k rows of each request with the highest sums of reciprocal places, ties by smaller row.

    Args:
        lists: Each (count, any) rows, best first, -1 where there is none.
        count: How many requests.
        k: Rows a request gets.

    Returns:
        (count, k) rows, -1 where fewer were found.
    """
    best = np.full((count, k), -1, dtype=np.int64)
    if not lists:
        return best
    rows = np.concatenate(lists, axis=1)
    places = np.concatenate([np.arange(1, found.shape[1] + 1) for found in lists])
    worth: NDArray[np.float64] = 1.0 / (CONSTANT + places)
    for line, found in zip(best, rows, strict=True):
        there = found >= 0
        unique, which = np.unique(found[there], return_inverse=True)
        sums = np.bincount(which, worth[there], minlength=len(unique))
        ordered = unique[np.lexsort((unique, -sums))][:k]
        line[: len(ordered)] = ordered
    return best


def _append(lists: Rows, more: Rows) -> Rows:
    """Fill each line's empty places with rows of ``more`` that it does not have yet."""
    for line, others in zip(lists, more, strict=True):
        free = np.flatnonzero(line < 0)
        new = others[(others >= 0) & ~np.isin(others, line)][: len(free)]
        line[free[: len(new)]] = new
    return lists
