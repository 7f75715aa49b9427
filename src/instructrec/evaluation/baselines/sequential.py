"""The sequential model alone: a text-aware SASRec, the strongest rival that reads no words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from instructrec.evaluation.baselines.base import Input, Material, UnavailableError
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores
from instructrec.retrieval.sequential import ABOUT, Sequential


class TextSASRec:
    """The run's own sequential retriever, which takes minutes to train and is not trained twice.

    Args:
        sequential: Fitted on training rows.
    """

    reads: ClassVar[frozenset[Input]] = frozenset({"history"})

    def __init__(self, sequential: Sequential) -> None:
        self.name = "sequential"
        self._sequential = sequential

    @classmethod
    def fit(cls, material: Material) -> Self:
        """Take what the run has trained.

        Raises:
            UnavailableError: The run has no sequential retriever.
        """
        folder = material.retrievers / "sequential" if material.retrievers is not None else None
        if folder is None or not (folder / ABOUT).is_file():
            raise UnavailableError(
                "The row sequential (a text-aware SASRec) is left out: the run has none",
                "Fit it by instructrec retrievers fit, or build again",
            )
        return cls(Sequential.load(folder, material.catalogue))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        return self._sequential.score(instructions, candidates)
