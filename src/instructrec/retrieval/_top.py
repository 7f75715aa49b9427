"""From scores over the whole catalogue to candidate scores and to the best rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructrec.data.catalogue import Catalogue
from instructrec.protocols import Filters, Rows, Scores

_FLOATS = 2**24
"""Floats of candidates' vectors that are held at once."""


def gather(scores: Scores, candidates: Rows) -> Scores:
    """Pick the candidates' scores.

    Args:
        scores: (n, items), or (1, items) when they are the same for every request.
        candidates: (n, candidates) catalogue rows, -1 where a list is shorter.

    Returns:
        (n, candidates) float32, ``-inf`` where the candidate is -1.
    """
    lines = np.zeros(1, dtype=np.int64) if len(scores) == 1 else np.arange(len(candidates))
    picked = scores[lines[:, None], np.maximum(candidates, 0)]
    return np.where(candidates < 0, np.float32("-inf"), picked).astype(np.float32)


def products(vectors: Scores, wanted: Scores, candidates: Rows) -> Scores:
    """The inner products of requests and their candidates.

    Args:
        vectors: (items, dimensions), rows by catalogue.
        wanted: (n, dimensions).
        candidates: (n, candidates) catalogue rows, -1 where a list is shorter.

    Returns:
        (n, candidates) float32, ``-inf`` where the candidate is -1.
    """
    scores = np.empty(candidates.shape, dtype=np.float32)
    step = max(_FLOATS // max(candidates.shape[1] * vectors.shape[1], 1), 1)
    for start in range(0, len(candidates), step):
        rows = candidates[start : start + step]
        items = vectors[np.maximum(rows, 0)]
        # Summed in the same order wherever a candidate stands, so that equal vectors tie.
        found = np.einsum("ncd,nd->nc", items, wanted[start : start + step])
        scores[start : start + step] = np.where(rows < 0, np.float32("-inf"), found)
    return scores


def top_rows(
    scores: Scores, k: int, catalogue: Catalogue, filters: Sequence[Filters] | None = None
) -> Rows:
    """The k best rows of each line that its filter allows; ties by smaller row.

    Args:
        scores: (n, items) over the catalogue.
        k: How many rows each line gets.
        catalogue: The items that the filters look at.
        filters: One a line, or none.

    Returns:
        (n, k) rows, best first, -1 where fewer are allowed.
    """
    best = np.full((len(scores), k), -1, dtype=np.int64)
    masks: dict[Filters, np.ndarray] = {}
    for number, line in enumerate(scores):
        allowed = np.arange(len(line))
        if filters is not None and filters[number]:
            chosen = filters[number]
            if chosen not in masks:
                masks[chosen] = np.flatnonzero(chosen.mask(catalogue.items))
            allowed = masks[chosen]
        rows = _best(line[allowed], min(k, len(allowed)))
        best[number, : len(rows)] = allowed[rows]
    return best


def _best(line: Scores, k: int) -> Rows:
    """The k best places of one line, best first, ties by smaller place."""
    if k == 0:
        return np.zeros(0, dtype=np.int64)
    if k < len(line):
        edge = np.partition(line, len(line) - k)[len(line) - k]
        # All that ties with the last place is kept until the stable sort has ordered it.
        places = np.flatnonzero(line >= edge)
    else:
        places = np.arange(len(line))
    order = np.argsort(-line[places], kind="stable")
    return places[order][:k].astype(np.int64)
