"""Chance: every candidate gets a random score, so that the protocol itself can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from instructrec.evaluation.baselines.base import Input, Material
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores


class Random:
    """Uniform scores; expected HR@1/3/5 of ten candidates are .1, .3 and .5 (paper §4.1).

    Args:
        seed: Same seed, same scores for the same calls.
    """

    reads: ClassVar[frozenset[Input]] = frozenset()

    def __init__(self, seed: int = 0) -> None:
        self.name = "random"
        self._rng = np.random.default_rng(seed)

    @classmethod
    def fit(cls, material: Material) -> Self:
        """Learn nothing."""
        return cls(material.seed)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        scores = self._rng.random(candidates.shape, dtype=np.float32)
        return np.where(candidates < 0, np.float32("-inf"), scores)
