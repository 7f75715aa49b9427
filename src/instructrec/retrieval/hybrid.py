"""Several retrievers' lists as one list of candidates for reranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from instructrec.instructions.schema import Instruction
from instructrec.protocols import Filters, Retriever, Rows, Scores

CONSTANT = 60
"""Place p of a list counts 1 / (60 + p)."""

Shares = Mapping[str, Mapping[str, float]]
"""What a retriever's places count, by what is known of the request (`Instruction.known`), by the
name of the retriever; 1 for what is not named."""


class Hybrid:
    """Reciprocal rank fusion: an item counts for every list it stands in, the higher the more.

    Lists may count differently (``shares``): a weak retriever's places otherwise push out what a
    strong one has found.

    Each retriever applies the filters itself, so that k items come back wherever k are allowed
    and any retriever finds them; ``fill`` (popularity, say) adds items behind all that were found.

    Source: Cormack, Clarke, Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet".

    Args:
        retrievers: Over one catalogue. One that finds nothing for a request takes no part in it.
        fill: Fills what they leave; none when left out.
        shares: What each retriever's places count; all the same when left out.
    """

    def __init__(
        self,
        retrievers: Iterable[Retriever],
        fill: Retriever | None = None,
        shares: Shares | None = None,
    ) -> None:
        self.name = "hybrid"
        self.retrievers = tuple(retrievers)
        self.fill = fill
        self.shares = shares or {}

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`."""
        counts = self._counts(instructions)
        # Whoever counts nothing for any of these requests need not be asked.
        asked = np.flatnonzero(counts.any(axis=0))
        lists = [self.retrievers[number].retrieve(instructions, k, filters) for number in asked]
        fused = fuse_places(lists, len(instructions), k, counts[:, asked])
        if self.fill is None or (fused >= 0).all():
            return fused
        return _append(fused, self.fill.retrieve(instructions, k, filters))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; summed reciprocal places in each list.

        Candidates that a retriever scores alike share the worst of their places, so that one with
        nothing to say adds the same to all.
        """
        sums = np.zeros(candidates.shape, dtype=np.float64)
        counts = self._counts(instructions)
        for number, retriever in enumerate(self.retrievers):
            scores = retriever.score(instructions, candidates)
            places = (scores[:, None, :] >= scores[:, :, None]).sum(axis=2)
            sums += counts[:, number, None] / (CONSTANT + places)
        return np.where(candidates < 0, np.float32("-inf"), sums.astype(np.float32))

    def _counts(self, instructions: Sequence[Instruction]) -> NDArray[np.float64]:
        """(requests, retrievers): what each list's places count."""
        counts = np.ones((len(instructions), len(self.retrievers)))
        for line, instruction in zip(counts, instructions, strict=True):
            known = self.shares.get(instruction.known, {})
            line[:] = [known.get(found.name, 1.0) for found in self.retrievers]
        return counts


def fuse_places(
    lists: Sequence[Rows], count: int, k: int, counts: NDArray[np.float64] | None = None
) -> Rows:
    """The k rows of each request with the highest sums of reciprocal places, ties by smaller row.

    Args:
        lists: Each (count, any) rows, best first, -1 where there is none.
        count: How many requests.
        k: Rows a request gets.
        counts: (count, lists) what each list's places count; 1 when left out, 0 for a list that
            takes no part.

    Returns:
        (count, k) rows, -1 where fewer were found.
    """
    best = np.full((count, k), -1, dtype=np.int64)
    if not lists:
        return best
    rows = np.concatenate(lists, axis=1)
    widths = [found.shape[1] for found in lists]
    places = np.concatenate([np.arange(1, width + 1) for width in widths])
    shares = np.ones((count, len(lists))) if counts is None else counts
    worths = np.repeat(shares, widths, axis=1) / (CONSTANT + places)
    for line, found, worth in zip(best, rows, worths, strict=True):
        there = (found >= 0) & (worth > 0)
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
