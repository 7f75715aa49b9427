"""BM25: all words of the instruction against title, brand and categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from instructrec.evaluation.baselines.base import Input, Material
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores
from instructrec.retrieval.lexical import Lexical


class BM25:
    """BM25 of the titles of the history, the stated preference, the wish and the context.

    Args:
        lexical: An index of the catalogue that reads the history's titles too.
    """

    reads: ClassVar[frozenset[Input]] = frozenset({"history", "words"})

    def __init__(self, lexical: Lexical) -> None:
        self.name = "bm25"
        self._lexical = lexical

    @classmethod
    def fit(cls, material: Material) -> Self:
        """Index the catalogue."""
        return cls(Lexical.fit(material.catalogue, with_history=True, name="bm25"))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        return self._lexical.score(instructions, candidates)
