"""Whether the order in which candidates are given matters: consistency and a position curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from instructrec import metrics
from instructrec.evaluation.measure import Contestant
from instructrec.evaluation.report import HEADLINE, OrderCheck
from instructrec.evaluation.trec import settled
from instructrec.evaluation.trials import Trial
from instructrec.protocols import SILENT, Progress, Rows, Scores

FEWEST = 5
"""Requests that are asked at least, however long the lists."""
PLACES = 10
"""Places of a list at which the target is put, evenly spaced where there are more."""


def check_orders(
    trial: Trial,
    contestants: Sequence[Contestant],
    requests: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Iterator[OrderCheck]:
    """Ask the same requests with their candidates in many orders.

    Args:
        trial: Requests with full lists of candidates, the target in column 0.
        contestants: Whose answers are looked at.
        requests: How many, drawn at random, where lists have ten candidates; fewer where they are
            longer, so that the check takes no longer. 0 leaves it out.
        seed: Seeds the draw and the orders.
        progress: Told how far it is.

    Source: docs/paper.md §8 (language models are sensitive to the order of candidates).
    """
    full = np.flatnonzero((trial.candidates >= 0).all(axis=1))
    width = trial.candidates.shape[1]
    if not requests or not len(full) or width < 2:
        return
    rng = np.random.default_rng(seed)
    size = min(requests, max(requests * PLACES // width, FEWEST), len(full))
    chosen = np.sort(rng.choice(full, size=size, replace=False))
    instructions = [trial.requests.instructions[number] for number in chosen.tolist()]
    rows = trial.candidates[chosen]
    places = np.unique(np.linspace(0, width - 1, min(width, PLACES)).round().astype(np.int64))
    given = [_with_target_at(int(place), len(rows), width, rng) for place in places]
    for contestant in contestants:
        if not contestant.takes_part(trial):
            continue
        found = []
        for order in progress.track(given, f"{contestant.name} in other orders"):
            scores = contestant.scorer.score(instructions, np.take_along_axis(rows, order, axis=1))
            back = np.empty_like(scores)
            np.put_along_axis(back, order, scores, axis=1)
            found.append(settled(back, rows))
        yield _compared(trial, contestant, rows, found, places)


def _with_target_at(
    place: int, requests: int, width: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(requests, width) columns in random order, column 0 at one place."""
    others = rng.permuted(np.tile(np.arange(1, width), (requests, 1)), axis=1)
    return np.insert(others, place, 0, axis=1)


def _compared(
    trial: Trial,
    contestant: Contestant,
    rows: Rows,
    found: Sequence[Scores],
    places: NDArray[np.int64],
) -> OrderCheck:
    """What several answers to the same requests have in common."""
    orders = [_order(scores, rows) for scores in found]
    pairs = [(orders[0], other) for other in orders[1:]]
    hits = [metrics.measure(HEADLINE, metrics.ranks(scores)).mean() for scores in found]
    return OrderCheck(
        scenario=str(trial.scenario),
        protocol=trial.protocol.value,
        candidates=trial.description,
        model=contestant.name,
        requests=len(rows),
        same_first=float(np.mean([a[:, 0] == b[:, 0] for a, b in pairs])),
        same_order=float(np.mean([(a == b).all(axis=1) for a, b in pairs])),
        kendall=float(np.mean([kendall(a, b) for a, b in pairs])),
        places=tuple((places + 1).tolist()),
        hits=tuple(float(value) for value in hits),
    )


def _order(scores: Scores, rows: Rows) -> NDArray[np.int64]:
    """(n, candidates) columns best first, ties by smaller row as in use."""
    return np.lexsort((rows, -scores), axis=-1)


def kendall(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) Kendall's tau between two orders of the same columns, line by line."""
    places = np.argsort(second, axis=1)
    # Pairs that the second order has the other way round, counted in the first one's order.
    lines = np.take_along_axis(places, first, axis=1)
    against = [int(np.triu(line[:, None] > line[None, :]).sum()) for line in lines]
    pairs = first.shape[1] * (first.shape[1] - 1) / 2
    found: NDArray[np.float64] = 1 - 2 * np.array(against, dtype=np.float64) / pairs
    return found
