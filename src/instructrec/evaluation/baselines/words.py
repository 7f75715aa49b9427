"""Shared words: candidates whose titles repeat words of the latest titles of the history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines.base import Input, Material
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores

RECENT = 10
"""How many of the latest titles are looked at."""
DECAY = 0.9
"""What a title weighs against the one after it."""
_WORD = re.compile(r"\w+")


class SharedWords:
    """Scores a candidate by the words it shares with the last 10 titles, rare ones more.

    ``score(i) = Σ_j .9^age(j) · Σ_{w in title i and title j} idf(w)`` with
    ``idf(w) = ln(items / items with w in the title)``. It needs no training data at all and
    still reaches HR@1 .437 on Video Games (docs/paper.md §7): whoever does not beat it has not
    learnt anything from behaviour.

    Args:
        catalogue: The items; their titles are read.
    """

    reads: ClassVar[frozenset[Input]] = frozenset({"history"})

    def __init__(self, catalogue: Catalogue) -> None:
        self.name = "words"
        self.catalogue = catalogue
        self._vocabulary: dict[str, int] = {}
        for title in catalogue.titles:
            for word in _words(title):
                self._vocabulary.setdefault(word, len(self._vocabulary))
        self._titles = self._matrix([_words(title) for title in catalogue.titles])
        occurrences = np.bincount(self._titles.indices, minlength=len(self._vocabulary))
        self._idf = np.log(len(catalogue) / np.maximum(occurrences, 1)).astype(np.float32)

    @classmethod
    def fit(cls, material: Material) -> Self:
        """Read the titles."""
        return cls(material.catalogue)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; reads ``preference.history``."""
        wanted = self._wanted(instructions)
        flat = np.maximum(candidates, 0).reshape(-1)
        lines = np.repeat(np.arange(len(instructions)), candidates.shape[1])
        shared = wanted[lines].multiply(self._titles[flat])
        scores = np.asarray(shared.sum(axis=1), dtype=np.float32).reshape(candidates.shape)
        return np.where(candidates < 0, np.float32("-inf"), scores)

    def _wanted(self, instructions: Sequence[Instruction]) -> sparse.csr_matrix:
        """(n, words): idf of each word of the history, weighted by the age of its titles."""
        lines, words, weights = [], [], []
        for number, instruction in enumerate(instructions):
            for age, title in enumerate(reversed(instruction.preference.history[-RECENT:])):
                for word in _words(title):
                    if (place := self._vocabulary.get(word)) is not None:
                        lines.append(number)
                        words.append(place)
                        weights.append(DECAY**age * float(self._idf[place]))
        shape = (len(instructions), len(self._vocabulary))
        return sparse.csr_matrix((np.array(weights, np.float32), (lines, words)), shape=shape)

    def _matrix(self, texts: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """(texts, words) of ones."""
        words = [self._vocabulary[word] for text in texts for word in text]
        starts = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
        ones = np.ones(len(words), dtype=np.float32)
        return sparse.csr_matrix((ones, words, starts), shape=(len(texts), len(self._vocabulary)))


def _words(text: str) -> list[str]:
    """The distinct words of a text, in order of first appearance."""
    return list(dict.fromkeys(_WORD.findall(text.casefold())))
