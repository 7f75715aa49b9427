"""The paper's way with long lists, as a rival: groups of ten, then the winners (paper §4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from instructrec.evaluation.report import GROUPS
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scorer, Scores

SIZE = 10
"""Candidates of a group."""


class GroupsOfTen:
    """Ranks long lists by groups of ten candidates whose winners are ranked against each other.

    Only winners can come first, so that what is second in its group is lost to the first places,
    however good it is.

    Args:
        scorer: What ranks a group. Where its scores do not depend on the company
            (``scores_apart``), they are taken from one ranking of the whole list.
        seed: Seeds which candidates form a group.

    Source: paper §4.3, 100 candidates (docs/paper.md §7, T10).
    """

    def __init__(self, scorer: Scorer, seed: int = 0) -> None:
        self.name = GROUPS
        self._scorer = scorer
        self._seed = seed

    @property
    def lists_candidates(self) -> bool:
        """As its scorer has it."""
        return bool(getattr(self._scorer, "lists_candidates", False))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; scores are places, the best is highest."""
        groups = self._groups(candidates.shape[1])
        first = self._first_round(instructions, candidates, groups)
        winners = np.stack([_winner(first, candidates, group) for group in groups], axis=1)
        finalists = np.take_along_axis(candidates, winners, axis=1)
        final = (
            np.take_along_axis(first, winners, axis=1)
            if self._is_apart
            else self._scorer.score(instructions, finalists)
        )
        places = rankdata(first, method="dense", axis=1)
        best = rankdata(final, method="dense", axis=1) + places.max(axis=1, keepdims=True)
        np.put_along_axis(places, winners, best, axis=1)
        return np.where(candidates < 0, -np.inf, places).astype(np.float32)

    @property
    def _is_apart(self) -> bool:
        return bool(getattr(self._scorer, "scores_apart", False))

    def _groups(self, width: int) -> list[Rows]:
        """Columns of each group, as even in size as can be."""
        shuffled = np.random.default_rng(self._seed).permutation(width)
        return np.array_split(shuffled, -(-width // SIZE))

    def _first_round(
        self, instructions: Sequence[Instruction], candidates: Rows, groups: Sequence[Rows]
    ) -> Scores:
        if self._is_apart:
            return self._scorer.score(instructions, candidates)
        scores = np.empty(candidates.shape, dtype=np.float32)
        for group in groups:
            scores[:, group] = self._scorer.score(instructions, candidates[:, group])
        return scores


def _winner(scores: Scores, candidates: Rows, group: Rows) -> Rows:
    """(n,) the column that wins a group, of equals that of the smaller row as in use."""
    order = np.lexsort((candidates[:, group], -scores[:, group]), axis=1)
    return np.asarray(group[order[:, 0]])
