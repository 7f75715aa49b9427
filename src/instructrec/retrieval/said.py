"""Lexical match as a share: how much of what is said an item's text says too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores
from instructrec.retrieval._words import words
from instructrec.retrieval.lexical import Lexical


class Said(Lexical):
    """BM25, brought to a share of what the request could score at most; from 0 to about 1.

    BM25 alone grows with the length of a request: one word of ten found by chance would count as
    much as a label found whole. The order within a request is that of BM25. Words that the
    catalogue does not have count as the rarest that it has: they were said and are not met.

    Args:
        lexical: Whose index of the catalogue is used.
    """

    def __init__(self, lexical: Lexical) -> None:
        super().__init__(
            lexical.catalogue,
            lexical.matrix,
            list(lexical.vocabulary),
            with_history=lexical.with_history,
            name=lexical.name,
        )
        best = self.matrix.max(axis=0).toarray()[0] if len(self.vocabulary) else np.zeros(0)
        self._best: NDArray[np.float32] = np.asarray(best, dtype=np.float32)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        most = np.array([self._most(one) for one in instructions], dtype=np.float32)
        scores = super().score(instructions, candidates) / np.maximum(most, 1e-6)[:, None]
        return np.asarray(scores, dtype=np.float32)

    def _most(self, instruction: Instruction) -> float:
        """What an item would score that says every word of a request as well as any item does."""
        rarest = float(self._best.max(initial=0.0))
        found = [self.vocabulary.get(word) for word in words(self._text(instruction))]
        return sum(rarest if place is None else float(self._best[place]) for place in found)
