"""HR@k, NDCG@k and MRR from ranks; AUC, Brier score and calibration from probabilities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructrec.errors import UsageError

METRICS = ("HR@1", "HR@3", "HR@5", "NDCG@3", "NDCG@5", "MRR")
"""The paper's metrics (its tables 6 to 11) and the mean reciprocal rank."""
WIDE = ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR")
"""Those of full ranking and of rankings that retrieval begins (docs/paper.md §8)."""
NOWHERE = 2**31 - 1
"""The rank of a target that is not in the list at all: every metric is 0 there."""
BINS = 10
"""Bins of a calibration table, of equal width."""

Ranks = NDArray[np.int64]
Values = NDArray[np.float64]

_NAME = re.compile(r"(HR|NDCG)@([1-9]\d*)|MRR")


def ranks(scores: NDArray[np.floating[Any]], target: int = 0) -> Ranks:
    """Rank of the target in each list, ties against it.

    Whatever scores as high as the target stands before it, so a scorer that gives everything the
    same score ranks the target last. NaN counts as ``-inf``: it never wins, and a target without
    a score is last.

    Args:
        scores: (n, candidates); higher is better.
        target: The column of the target.

    Returns:
        (n,) ranks, counted from 1.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    not_worse = known >= known[:, target : target + 1]
    return np.asarray(not_worse.sum(axis=1), dtype=np.int64)


def hit_rate(ranks: Ranks, k: int) -> Values:
    """HR@k of each request: 1 where the target is among the first k, else 0; shape of ``ranks``."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> Values:
    """NDCG@k of each request: 1 / log2(rank + 1) among the first k, else 0; shape of ``ranks``.

    The best possible DCG is 1, because one item is relevant.
    """
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


def mrr(ranks: Ranks) -> Values:
    """Reciprocal rank of each request, 0 where it is `NOWHERE`; shape of ``ranks``."""
    return np.where(ranks < NOWHERE, 1.0 / ranks, 0.0)


def measure(name: str, ranks: Ranks) -> Values:
    """A metric by its name, such as ``HR@1``, ``NDCG@5`` or ``MRR``.

    Raises:
        UsageError: There is no metric of that name.
    """
    if not (match := _NAME.fullmatch(name)):
        raise UsageError(f"{name!r} is not a metric", "Use HR@k, NDCG@k or MRR")
    kind, k = match.groups()
    if kind is None:
        return mrr(ranks)
    return hit_rate(ranks, int(k)) if kind == "HR" else ndcg(ranks, int(k))


def per_request(ranks: Ranks, names: Sequence[str] = METRICS) -> dict[str, Values]:
    """Every metric of every request: name → (n,) values."""
    return {name: measure(name, ranks) for name in names}


def means(values: Mapping[str, Values]) -> dict[str, float]:
    """Mean of each metric over all requests."""
    return {name: float(np.mean(column)) for name, column in values.items()}


def expected_at_random(name: str, candidates: int) -> float:
    """What a metric is on average when every rank among ``candidates`` is equally likely."""
    return float(np.mean(measure(name, np.arange(1, candidates + 1))))


def auc(probabilities: Values, labels: NDArray[np.bool_]) -> float:
    """Share of pairs of a right and a wrong one in which the right one is higher; ties count half.

    Args:
        probabilities: (n,) any numbers that rise with the belief that it is right.
        labels: (n,) whether it is.

    Returns:
        NaN where all are right or all are wrong.

    Source: Mann and Whitney 1947; the area under the ROC curve.
    """
    right = int(np.count_nonzero(labels))
    wrong = len(labels) - right
    if not right or not wrong:
        return float("nan")
    _, which, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    places = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return float((places[labels].sum() - right * (right + 1) / 2) / (right * wrong))


def brier(probabilities: Values, labels: NDArray[np.bool_]) -> Values:
    """Squared error of each probability, (n,); their mean is the Brier score (1950)."""
    return np.asarray((probabilities - labels) ** 2, dtype=np.float64)


def calibration(
    probabilities: Values, labels: NDArray[np.bool_], bins: int = BINS
) -> list[tuple[float, float, int, float, float]]:
    """What was said against what came true, bin by bin; empty bins are left out.

    Returns:
        (lower end, upper end, how many, mean probability, share that is right) of each bin.
    """
    places = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    return [
        (
            place / bins,
            (place + 1) / bins,
            int(chosen.sum()),
            float(probabilities[chosen].mean()),
            float(labels[chosen].mean()),
        )
        for place in range(bins)
        if (chosen := places == place).any()
    ]


def calibration_error(probabilities: Values, labels: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: the mean gap between what was said and what came true.

    Source: Naeini, Cooper, Hauskrecht, AAAI 2015.
    """
    table = calibration(probabilities, labels, bins)
    gaps = [count * abs(said - came) for _, _, count, said, came in table]
    return float(sum(gaps) / len(labels))
