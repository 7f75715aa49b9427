"""How sure a share is, and how well two judges agree."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

_Z = 1.959963984540054


def wilson(yes: int, of: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share; (0, 1) where nothing was asked.

    Source: E. B. Wilson, "Probable Inference", JASA 22 (1927).

    Example:
        >>> [round(end, 3) for end in wilson(93, 100)]
        [0.863, 0.966]
    """
    if not of:
        return 0.0, 1.0
    share, square = yes / of, _Z * _Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = _Z / (1 + square / of) * sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Cohen's kappa of two judges over the same cases; none where chance alone explains all.

    Source: J. Cohen, "A Coefficient of Agreement for Nominal Scales" (1960).
    """
    count = len(first)
    if not count:
        return None
    same = sum(a == b for a, b in zip(first, second, strict=True)) / count
    one, two = sum(first) / count, sum(second) / count
    chance = one * two + (1 - one) * (1 - two)
    return None if chance == 1 else (same - chance) / (1 - chance)
