"""A scorer that remembers, so that what several models share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scorer, Scores


class Remembering:
    """Passes on what a scorer said before about the same request and candidates.

    The likelihood stands on a row of its own and is a piece of the fused score; it is by far the
    dearest thing in an evaluation.

    Args:
        scorer: Whose scores; they must depend on each request alone.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._known: dict[tuple[Instruction, bytes], Scores] = {}

    @property
    def lists_candidates(self) -> bool:
        """As its scorer has it."""
        return bool(getattr(self._scorer, "lists_candidates", False))

    @property
    def scores_apart(self) -> bool:
        """As its scorer has it."""
        return bool(getattr(self._scorer, "scores_apart", False))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        keys = [
            (instruction, blake2b(row.tobytes(), digest_size=16).digest())
            for instruction, row in zip(instructions, candidates, strict=True)
        ]
        new = [number for number, key in enumerate(keys) if key not in self._known]
        if new:
            scores = self._scorer.score([instructions[number] for number in new], candidates[new])
            self._known.update(zip([keys[number] for number in new], scores, strict=True))
        if not keys:
            return np.zeros(candidates.shape, dtype=np.float32)
        return np.stack([self._known[key] for key in keys])

    def forget(self) -> None:
        """Let go of all that is remembered."""
        self._known.clear()
