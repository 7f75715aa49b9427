"""How sure a mean is: bootstrap intervals, and tests of the difference of two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES = 2_000
"""Bootstrap samples; the ends of a 95 % interval then move by about a hundredth of its width."""
SHUFFLES = 10_000
"""Random sign changes of the randomisation test: the smallest p-value is one in so many."""
LEVEL = 0.95
_BLOCK = 5_000_000
"""Numbers held in memory at a time."""

Values = NDArray[np.float64]


def bootstrap_means(values: Values, *, samples: int = SAMPLES, seed: int = 0) -> Values:
    """Means of bootstrap samples: n requests drawn with replacement out of n.

    Requests with equal values are interchangeable, so it is drawn how often each distinct line
    comes (a multinomial), which is the same distribution and needs hardly any time where there
    are few of them: a metric has as many values as there are ranks.

    Args:
        values: (n, metrics), or (n,).
        samples: How many.
        seed: Same seed, same samples.

    Returns:
        (samples, metrics) means, or (samples,).
    """
    lines, counts = np.unique(values, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(lines))
    parts = []
    for start in range(0, samples, block):
        size = min(block, samples - start)
        drawn = rng.multinomial(len(values), counts / len(values), size=size)
        parts.append(drawn @ lines / len(values))
    return np.concatenate(parts)


def interval(
    values: Values, *, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0
) -> Values:
    """Percentile bootstrap interval of the mean.

    Args:
        values: (n, metrics), or (n,).
        level: Share of bootstrap means inside.
        samples: See `bootstrap_means`.
        seed: See `bootstrap_means`.

    Returns:
        (2, metrics) lower and upper ends, or (2,).

    Source: Efron, Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    outside = (1 - level) / 2
    drawn = bootstrap_means(values, samples=samples, seed=seed)
    return np.asarray(np.quantile(drawn, [outside, 1 - outside], axis=0), dtype=np.float64)


@dataclass(frozen=True)
class Difference:
    """How much better one model is than another on the same requests.

    Attributes:
        mean: Mean of ours minus theirs.
        low: Lower end of its paired bootstrap interval.
        high: Upper end.
        p_value: Of the paired randomisation test, two-sided: how often chance alone would give a
            difference at least as large if it did not matter which model an answer is from.
    """

    mean: float
    low: float
    high: float
    p_value: float

    @property
    def above(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0


def difference(
    ours: Values,
    theirs: Values,
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Difference:
    """Compare two models request by request.

    Args:
        ours: (n,) values of a metric.
        theirs: (n,) values of the same requests.
        level: Of the interval.
        samples: Bootstrap samples.
        shuffles: Random sign changes.
        seed: Same seed, same answer.
    """
    gaps = ours - theirs
    low, high = interval(gaps, level=level, samples=samples, seed=seed)
    p_value = randomisation_test(gaps, shuffles=shuffles, seed=seed)
    return Difference(float(gaps.mean()), float(low), float(high), p_value)


def randomisation_test(gaps: Values, *, shuffles: int = SHUFFLES, seed: int = 0) -> float:
    """Two-sided p-value of paired differences under random changes of their signs.

    Args:
        gaps: (n,) paired differences.
        shuffles: How many random sign changes; the observed one is counted as one more.
        seed: Same seed, same answer.

    Source: Smucker, Allan, Carterette, CIKM 2007.
    """
    sizes, counts = np.unique(np.abs(gaps), return_counts=True)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(sizes))
    observed = abs(float(gaps.sum())) - 1e-9
    reached = 0
    for start in range(0, shuffles, block):
        positive = rng.binomial(counts, 0.5, size=(min(block, shuffles - start), len(sizes)))
        totals = (2 * positive - counts) @ sizes
        reached += int(np.count_nonzero(np.abs(totals) >= observed))
    return (reached + 1) / (shuffles + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for how many comparisons there are, in the order given.

    The k-th smallest of n is multiplied by n - k + 1; none becomes smaller than one before it, nor
    larger than 1. The chance that any true null hypothesis is rejected stays below the level,
    however the comparisons depend on each other.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    for place, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[at]))
        corrected[at] = highest
    return corrected
