"""The order in which sequences are learnt: cut to length, batched with others as long."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from instructrec.data.sequences import Sequences
from instructrec.protocols import Rows

_BLOCK = 64
"""Batches that are sorted by length together: enough to save padding, few enough to mix."""


class Batches:
    """Training sequences as batches of nearly equal length, in another order each epoch.

    A sequence of more than ``longest`` targets is cut into pieces that overlap by one item, so
    that every item but a user's first is a target exactly once.

    Args:
        sequences: Rows from 0; users with fewer than two items teach nothing.
        longest: Targets of a piece at most.
        size: Pieces of a batch.
        seed: Seeds the order.
    """

    def __init__(self, sequences: Sequences, longest: int, size: int, seed: int) -> None:
        self._rows, self._size, self._seed = sequences.rows, size, seed
        starts, lengths = [], []
        for first, last in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
            # From the end, so that the latest items have the longest history before them.
            for stop in range(int(last), int(first) + 1, -longest):
                begin = max(stop - longest - 1, int(first))
                starts.append(begin)
                lengths.append(stop - begin)
        self._starts = np.array(starts, dtype=np.int64)
        self._lengths = np.array(lengths, dtype=np.int64)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self._starts) / self._size)

    @property
    def targets(self) -> int:
        """Targets of an epoch."""
        return int((self._lengths - 1).sum())

    def epoch(self, number: int) -> list[NDArray[np.int64]]:
        """Numbers of the pieces of each batch of an epoch."""
        rng = np.random.default_rng((self._seed, number))
        order = rng.permutation(len(self._starts))
        block = _BLOCK * self._size
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), block):
            pieces = order[start : start + block]
            pieces = pieces[np.argsort(self._lengths[pieces], kind="stable")]
            batches += [pieces[at : at + self._size] for at in range(0, len(pieces), self._size)]
        return [batches[at] for at in rng.permutation(len(batches))]

    def rows(self, pieces: NDArray[np.int64]) -> Rows:
        """(pieces, longest of them) rows, -1 behind the end of a piece."""
        places = np.arange(int(self._lengths[pieces].max()))
        there = places < self._lengths[pieces][:, None]
        found = self._rows[np.where(there, self._starts[pieces][:, None] + places, 0)]
        return np.where(there, found, -1)


def latest(histories: Sequence[NDArray[np.int64]], longest: int) -> Rows:
    """(histories, longest of them) the latest rows of each, -1 behind its end."""
    kept = [rows[-longest:] for rows in histories]
    width = max((len(rows) for rows in kept), default=0)
    padded = np.full((len(kept), width), -1, dtype=np.int64)
    for line, rows in zip(padded, kept, strict=True):
        line[: len(rows)] = rows
    return padded
