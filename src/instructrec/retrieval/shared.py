"""Shared words: items whose texts repeat words of the latest titles of the history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from instructrec.instructions.schema import Instruction
from instructrec.retrieval._words import words
from instructrec.retrieval.lexical import Lexical

RECENT = 10
"""How many of the latest titles are looked at."""
DECAY = 0.9
"""What a title weighs against the one taken after it."""


class SharedWords(Lexical):
    """Scores an item by BM25 of the words of the last 10 titles, older ones weighing less.

    A series goes on, a console stays the same: the plainest thing that titles tell. A request
    without history scores zero everywhere and retrieves nothing.

    Source: docs/paper.md §7, "words shared with the last 10 titles" (Video Games, HR@1 .437).

    Args:
        lexical: Whose index of the catalogue is used.
    """

    def __init__(self, lexical: Lexical) -> None:
        super().__init__(lexical.catalogue, lexical.matrix, list(lexical.vocabulary), name="shared")

    def _queries(self, instructions: Sequence[Instruction]) -> sparse.csr_matrix:
        """(requests, words): each word of the history by the age of its titles."""
        lines: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for number, instruction in enumerate(instructions):
            titles = instruction.preference.history[-RECENT:]
            for age, title in enumerate(reversed(titles)):
                for word in dict.fromkeys(words(title)):
                    if (column := self.vocabulary.get(word)) is not None:
                        lines.append(number)
                        columns.append(column)
                        values.append(DECAY**age)
        shape = (len(instructions), len(self.vocabulary))
        found = sparse.csr_matrix((np.array(values, np.float32), (lines, columns)), shape=shape)
        found.sum_duplicates()
        return found
