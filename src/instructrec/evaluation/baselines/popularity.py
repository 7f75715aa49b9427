"""Popularity: what most people took in training, whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from instructrec.evaluation.baselines.base import Input, Material
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores
from instructrec.retrieval.popularity import Popularity as Counts


class Popularity:
    """Counts of training interactions.

    Args:
        counts: Fitted on training rows.
    """

    reads: ClassVar[frozenset[Input]] = frozenset()

    def __init__(self, counts: Counts) -> None:
        self.name = "popularity"
        self._counts = counts

    @classmethod
    def fit(cls, material: Material) -> Self:
        """Count the training interactions."""
        return cls(Counts.fit(material.train, material.catalogue))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        return self._counts.score(instructions, candidates)
