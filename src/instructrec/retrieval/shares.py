"""What each retriever's places count in the hybrid: fitted on validation requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from instructrec.instructions.schema import Instruction
from instructrec.protocols import Retriever, Rows
from instructrec.retrieval.hybrid import CONSTANT

GRID = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
"""What a list's places may count."""
DEPTH = 100
"""How many rows of the fused list are to hold the target."""
_SHALLOW = 20
"""How many that decide between equals."""
_ROUNDS = 2
_BLOCK = 256


def fit_shares(lists: Mapping[str, Rows], targets: Rows) -> dict[str, float]:
    """Choose what each list's places count, one after another, so that targets are found.

    The measure is recall at 100, with a tenth of recall at 20 that decides between equals.

    Args:
        lists: By the name of the retriever: (n, k) rows, best first, -1 where there is none.
        targets: (n,) rows to be found.

    Returns:
        A value of `GRID` by name; 0 for a list that takes no part.
    """
    names = list(lists)
    shares = np.ones(len(names))
    if not len(targets):
        return dict(zip(names, shares.tolist(), strict=True))
    if not names:
        return {}
    worths, which = _worths([lists[name] for name in names], targets)
    best = _found(worths, shares, which)
    for _ in range(_ROUNDS):
        for place in range(len(names)):
            for value in GRID:
                tried = shares.copy()
                tried[place] = value
                reached = _found(worths, tried, which)
                if reached > best:
                    best, shares = reached, tried
    return dict(zip(names, shares.tolist(), strict=True))


def unseen(
    retriever: Retriever, instructions: Sequence[Instruction], seen: Sequence[Rows], k: int
) -> Rows:
    """(n, k) what a retriever finds that the users do not have yet, best first.

    Args:
        retriever: Asked for so many more that k are left.
        instructions: n requests.
        seen: n arrays of catalogue rows: what each user has.
        k: Rows a request gets.
    """
    best = np.full((len(instructions), k), -1, dtype=np.int64)
    order = np.argsort([len(rows) for rows in seen], kind="stable")
    for start in range(0, len(order), _BLOCK):
        numbers = order[start : start + _BLOCK]
        more = max(len(seen[number]) for number in numbers)
        found = retriever.retrieve([instructions[number] for number in numbers], k + more)
        for number, rows in zip(numbers.tolist(), found, strict=True):
            kept = rows[~np.isin(rows, seen[number])][:k]
            best[number, : len(kept)] = kept
    return best


def _worths(lists: list[Rows], targets: Rows) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(n, items, lists) what the items found are worth in each, and (n,) which is the target.

    The target's number is -1 where no list has it; items are padded with zeros.
    """
    found = [np.unique(np.concatenate(rows)) for rows in zip(*lists, strict=True)]
    found = [rows[rows >= 0] for rows in found]
    width = max((len(rows) for rows in found), default=0) or 1
    worths = np.zeros((len(targets), width, len(lists)), dtype=np.float32)
    which = np.full(len(targets), -1, dtype=np.int64)
    for line, unique in enumerate(found):
        at = np.searchsorted(unique, targets[line])
        if at < len(unique) and unique[at] == targets[line]:
            which[line] = at
        for number, rows in enumerate(lists):
            there = np.flatnonzero(rows[line] >= 0)
            places = np.searchsorted(unique, rows[line][there])
            worths[line, places, number] = 1.0 / (CONSTANT + 1 + there)
    return worths, which


def _found(
    worths: NDArray[np.float32], shares: NDArray[np.float64], which: NDArray[np.int64]
) -> float:
    """How many targets stand in the first 100, and a tenth of how many do in the first 20.

    Requests are looked at in blocks, so that the sums take little memory; they are float64, in
    which items at the same places in other lists come out equal, as they should.
    """
    deep = shallow = 0
    for start in range(0, len(worths), _BLOCK):
        numbers = which[start : start + _BLOCK]
        sums = worths[start : start + _BLOCK] @ shares
        wanted = sums[np.arange(len(sums)), np.maximum(numbers, 0)]
        ranks = (sums >= wanted[:, None]).sum(axis=1)[(numbers >= 0) & (wanted > 0)]
        deep += int(np.count_nonzero(ranks <= DEPTH))
        shallow += int(np.count_nonzero(ranks <= _SHALLOW))
    return deep / len(worths) + 0.1 * shallow / len(worths)
