"""Nearest match: how close an item lies to whatever of the whole history is nearest to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Filters, Rows, Scores
from instructrec.retrieval.search import VectorSearch
from instructrec.retrieval.vectors import ItemVectors

SHARPNESS = 0.05
"""The smaller, the more the nearest item of the history alone counts."""
LATEST = 20
"""Items of a history around which candidates are looked for."""
_FLOATS = 2**22
"""Cosines held at once."""


class Nearest:
    """Scores an item by a smooth maximum of its cosines with all items of the history.

    ``score(i) = .05 · log Σ_j exp((cos(i, j) - 1) / .05)`` over every item j of the history, old
    and new alike. A mean of vectors blurs the more the longer a history is; the nearest items do
    not, so that an old series that is taken up again still speaks. A request without history
    scores zero everywhere and retrieves nothing.

    Source: docs/long-histories.md; the "soft search" over lifelong behaviour of Pi et al., SIM
    (CIKM 2020), with a softmax in the place of its top k.

    Args:
        catalogue: The items.
        items: Their vectors.
    """

    def __init__(self, catalogue: Catalogue, items: ItemVectors) -> None:
        self.name = "nearest"
        self.catalogue = catalogue
        self.items = items
        self._search = VectorSearch(catalogue, items.vectors, items.index)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; reads ``preference.history_ids``."""
        scores = np.where(candidates < 0, -np.inf, 0.0).astype(np.float32)
        for line, history in self._histories(instructions):
            there = candidates[line] >= 0
            scores[line, there] = self._closeness(history, candidates[line, there])
        return scores

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`: the best of what lies nearest to the
        latest 20 items."""
        best = np.full((len(instructions), k), -1, dtype=np.int64)
        for line, history in self._histories(instructions):
            latest = history[-LATEST:]
            limits = None if filters is None else [filters[line]] * len(latest)
            found = np.unique(self._search.top(self.items.vectors[latest], k, limits))
            rows = found[found >= 0]
            order = np.argsort(-self._closeness(history, rows), kind="stable")[:k]
            best[line, : len(order)] = rows[order]
        return best

    def _histories(self, instructions: Sequence[Instruction]) -> Iterator[tuple[int, Rows]]:
        """Requests of which something is known, with the rows of their histories."""
        for line, instruction in enumerate(instructions):
            rows = self.catalogue.rows(instruction.preference.history_ids)
            if (rows >= 0).any():
                yield line, rows[rows >= 0]

    def _closeness(self, history: Rows, rows: Rows) -> Scores:
        """(rows,) the smooth maximum, so many rows at a time that memory stays small."""
        vectors = self.items.vectors
        known = vectors[history]
        found = np.empty(len(rows), dtype=np.float32)
        step = max(_FLOATS // len(history), 1)
        for start in range(0, len(rows), step):
            # Summed in the same order wherever a candidate stands, so that equal texts tie.
            cosines = np.einsum("cd,hd->ch", vectors[rows[start : start + step]], known)
            odds = np.exp((cosines - 1.0) / SHARPNESS).sum(axis=1)
            # The smallest normal number keeps items that are like nothing at all finite.
            floor = np.finfo(np.float32).tiny
            found[start : start + step] = SHARPNESS * np.log(np.maximum(odds, floor))
        return found
