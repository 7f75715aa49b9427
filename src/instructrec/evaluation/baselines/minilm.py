"""Dense match by minilm: what is said and what was taken against each item, nothing trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from instructrec.evaluation.baselines.base import Input, Material, UnavailableError
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores
from instructrec.retrieval._words import is_latin
from instructrec.retrieval.dense import ABOUT, Dense, ItemVectors, Similar
from instructrec.retrieval.encoder import find_encoder


class MiniLM:
    """The cosine of wish (else stated preference) and item, plus that of history and item.

    Both are cosines of the same encoder, so they add up as they are; whichever has nothing to
    read adds zero.

    Args:
        words: Cosine of what is said and the item.
        history: Cosine of the latest items and the item.
    """

    reads: ClassVar[frozenset[Input]] = frozenset({"history", "words"})

    def __init__(self, words: Dense, history: Similar) -> None:
        self.name = "minilm"
        self._words = words
        self._history = history

    @classmethod
    def fit(cls, material: Material) -> Self:
        """Read the catalogue's texts, or take the run's vectors of them.

        Raises:
            UnavailableError: The encoder is not on this machine or cannot read the titles.
        """
        encoder = find_encoder()
        if encoder is None:
            raise UnavailableError(
                "The row minilm is left out: minilm is not on this machine",
                "Pull it by instructrec models pull minilm",
            )
        catalogue = material.catalogue
        if not is_latin(" ".join(catalogue.titles)):
            raise UnavailableError(
                "The row minilm is left out: it reads English, and most titles are in other script"
            )
        known = material.retrievers / "dense" if material.retrievers is not None else None
        if known is not None and not (known / ABOUT).is_file():
            known = None
        items = ItemVectors.fit(catalogue, encoder, reuse=known)
        return cls(Dense(catalogue, items, encoder), Similar(catalogue, items))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        words = self._words.score(instructions, candidates)
        history = self._history.score(instructions, candidates)
        return np.asarray(words + history, dtype=np.float32)
