"""Item-kNN: what others took close to the things this user took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from instructrec.evaluation.baselines.base import Input, Material
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores
from instructrec.retrieval.neighbours import ItemNeighbours


class ItemKNN:
    """Co-occurrence within five positions in training sequences.

    Args:
        neighbours: Fitted on training rows.
    """

    reads: ClassVar[frozenset[Input]] = frozenset({"history"})

    def __init__(self, neighbours: ItemNeighbours) -> None:
        self.name = "item-kNN"
        self._neighbours = neighbours

    @classmethod
    def fit(cls, material: Material) -> Self:
        """Count what stands together in training sequences."""
        return cls(ItemNeighbours.fit(material.train, material.catalogue))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        return self._neighbours.score(instructions, candidates)
