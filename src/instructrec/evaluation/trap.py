"""The trap: a mix fitted on the very lists that a matcher made, shown so that nobody falls in.

Lists whose negatives are a matcher's first, with the target put in by hand, are solved by
distrusting the matcher. Nothing of ours is fitted on them; this row is, and is named as a trap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from instructrec.evaluation.baselines.base import inputs_of
from instructrec.evaluation.measure import BLOCK, Contestant
from instructrec.evaluation.report import TRAP
from instructrec.evaluation.trials import Trial
from instructrec.instructions.schema import Instruction
from instructrec.negatives import score_lists
from instructrec.protocols import Rows, Scorer, Scores
from instructrec.ranking.fusion import prepare

_L2 = 1e-3
_FEWEST = 20
"""Requests without which nothing is fitted."""

Floats = NDArray[np.float64]


def trapped(trial: Trial, pieces: Mapping[str, Scorer]) -> list[Contestant]:
    """The trap as a contestant, where lists were put together by hand and there is evidence.

    Args:
        trial: What is asked.
        pieces: All evidence by name.

    Source: docs/paper.md §7 (the mix that reaches .755 on such lists).
    """
    if not trial.source.is_put_together or len(pieces) < 2 or len(trial.requests) < _FEWEST:
        return []
    return [Contestant(TRAP, "trap", inputs_of(trial.scenario), _Trap(trial, pieces))]


class _Trap:
    """Scores each half of a trial's requests by weights fitted on the other half."""

    name = TRAP

    def __init__(self, trial: Trial, pieces: Mapping[str, Scorer]) -> None:
        self._trial = trial
        self._pieces = pieces
        self._asked = 0
        self._scores: Scores | None = None

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """The scores of the next requests, which are asked for in order."""
        if self._scores is None:
            self._scores = self._fitted()
        start = self._asked
        self._asked += len(instructions)
        return self._scores[start : self._asked]

    def _fitted(self) -> Scores:
        trial = self._trial
        rows, told = trial.candidates, trial.requests.instructions
        columns = []
        for name, scorer in sorted(self._pieces.items()):
            parts = [
                score_lists(scorer, told[at : at + BLOCK], rows[at : at + BLOCK], trial.seed)
                for at in range(0, len(told), BLOCK)
            ]
            values = prepare(name, np.concatenate(parts))
            columns.append(values / (float(values[rows >= 0].std()) or 1.0))
        features = np.stack(columns, axis=-1)
        scores = np.full(rows.shape, -np.inf, dtype=np.float32)
        half = np.random.default_rng(trial.seed).permutation(len(rows)) % 2 == 0
        for own in (half, ~half):
            weights = fit_listwise(features[~own], rows[~own] >= 0)
            scores[own] = np.where(rows[own] >= 0, features[own] @ weights, -np.inf)
        return scores


def fit_listwise(features: Floats, there: NDArray[np.bool_]) -> Floats:
    """Weights of a softmax over each list whose right answer is in column 0, of any sign.

    Args:
        features: (n, candidates, pieces).
        there: (n, candidates) whether there is a candidate.
    """

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = np.where(there, features @ weights, -np.inf)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        gradient = (np.einsum("nc,ncp->np", odds, features) - features[:, 0]).mean(axis=0)
        nll = -float(np.log(np.maximum(odds[:, 0], 1e-300)).mean())
        return nll + 0.5 * _L2 * float(weights @ weights), gradient + _L2 * weights

    found = minimize(loss, np.zeros(features.shape[2]), jac=True, method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float64)
