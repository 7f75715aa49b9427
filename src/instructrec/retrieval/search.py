"""The nearest of many vectors: exactly, block by block, or through an index; filters inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from instructrec.data.catalogue import Catalogue
from instructrec.protocols import Filters, Rows, Scores
from instructrec.retrieval._allowed import Group, Known, groups
from instructrec.retrieval._top import _best
from instructrec.retrieval.ann import VectorIndex
from instructrec.retrieval.encoder import Vectors

_REQUESTS = 256
"""Requests that are compared with a block of items at once."""
_FLOATS = 2**24
"""Floats of scores, or of copied vectors, that are held at once."""
_EXACT = 2**16
"""So few allowed items are compared one by one, even where there is an index."""
_SLACK = 16
"""So many more than k are kept until they are compared in a way that lets equal vectors tie."""
_MORE = 4
"""The index is asked for so many times k items, which are then compared exactly."""


class VectorSearch:
    """Finds the items whose vectors have the greatest dot product with a request's vector.

    Without an index every allowed item is compared, block by block, so that memory stays small
    however many items there are. With one, the items it names are compared exactly again; where it
    finds fewer than k, more of it is looked through, in the end all, so that k items come back
    wherever k are allowed. Ties go to the smaller row.

    Args:
        catalogue: The items that filters look at.
        vectors: (items, dimensions) float32, rows by catalogue; may be memory-mapped.
        index: Of these vectors, for catalogues that are too large to compare with all.
    """

    def __init__(
        self, catalogue: Catalogue, vectors: Vectors, index: VectorIndex | None = None
    ) -> None:
        self.catalogue = catalogue
        self.vectors = vectors
        self.index = index
        self._known: Known = {}

    def top(self, wanted: Vectors, k: int, filters: Sequence[Filters] | None = None) -> Rows:
        """The k nearest items of each request.

        Args:
            wanted: (requests, dimensions) float32; one that is zero asks for nothing.
            k: Items each gets.
            filters: One a request; all of the catalogue when left out.

        Returns:
            (requests, k) rows of the catalogue, best first, -1 where fewer are allowed.
        """
        # Of another type, the product would copy all vectors to that type first.
        wanted = np.asarray(wanted, dtype=np.float32)
        best = np.full((len(wanted), k), -1, dtype=np.int64)
        asks = np.any(wanted, axis=1)
        for group in groups(self.catalogue, len(wanted), filters, self._known):
            for part in _parts(group):
                asked = asks[part.requests]
                if not asked.any():
                    continue
                found = self._top(wanted[part.requests], k, part)
                best[part.requests] = np.where(asked[:, None], found, -1)
        return best

    def _top(self, wanted: Vectors, k: int, group: Group) -> Rows:
        allowed = len(self.vectors) if group.rows is None else len(group.rows)
        if self.index is None or allowed <= _EXACT:
            return self._exact(wanted, k, group)
        return self._indexed(wanted, k, group, self.index)

    def _exact(self, wanted: Vectors, k: int, group: Group) -> Rows:
        """Compare with every allowed item."""
        width = k + _SLACK
        rows = np.full((len(wanted), width), -1, dtype=np.int64)
        scores = np.full((len(wanted), width), -np.inf, dtype=np.float32)
        for there, items in self._blocks(len(wanted), group.rows):
            found = np.asarray(wanted @ items.T, dtype=np.float32)
            for line, taken in enumerate(group.excluded):
                found[line, _places(taken, there)] = -np.inf
            # A later row never drives out an equal one: rows ascend from block to block.
            better = found > scores[:, -1:]
            for line in np.flatnonzero(better.any(axis=1)).tolist():
                places = np.flatnonzero(better[line])
                places = places[_best(found[line, places], min(width, len(places)))]
                _merge(rows[line], scores[line], there.start, places, found[line, places])
        if group.rows is not None and len(group.rows):
            rows = np.where(rows < 0, -1, group.rows[np.maximum(rows, 0)])
        none = np.zeros(0, dtype=np.int64)
        lines = [self._closest(*pair, k, none) for pair in zip(wanted, rows, strict=True)]
        return np.array(lines, dtype=np.int64).reshape(len(wanted), k)

    def _blocks(self, requests: int, rows: Rows | None) -> Iterator[tuple[_Block, Vectors]]:
        """The allowed items' vectors, so many at a time that scores and copies stay small."""
        count = len(self.vectors) if rows is None else len(rows)
        size = max(_FLOATS // max(requests, 1), 1)
        if rows is not None:
            size = min(size, max(_FLOATS // self.vectors.shape[1], 1))
        for start in range(0, count, size):
            stop = min(start + size, count)
            items = self.vectors[start:stop] if rows is None else self.vectors[rows[start:stop]]
            yield _Block(start, stop, rows), items

    def _indexed(self, wanted: Vectors, k: int, group: Group, index: VectorIndex) -> Rows:
        """Let the index name items, and compare with those."""
        most = max((len(rows) for rows in group.excluded), default=0)
        due = np.minimum(group.room(len(self.vectors)), k)
        best = np.full((len(wanted), k), -1, dtype=np.int64)
        left = np.arange(len(wanted))
        for probes in index.widening(group.rows):
            named = index.named(wanted[left], _MORE * k + most, group.rows, probes)
            for line, candidates in zip(left.tolist(), named, strict=True):
                best[line] = self._closest(wanted[line], candidates, k, group.excluded[line])
            left = left[(best[left] >= 0).sum(axis=1) < due[left]]
            if not len(left):
                return best
        rest = Group(left, group.rows, [group.excluded[line] for line in left.tolist()])
        best[left] = self._exact(wanted[left], k, rest)
        return best

    def _closest(self, wanted: Vectors, candidates: Rows, k: int, excluded: Rows) -> Rows:
        """(k,) the best of some candidates, -1 behind the last.

        The product of two vectors is summed in the same order wherever they stand, which a
        product of matrices does not promise, so that equal vectors tie.
        """
        kept = np.unique(candidates[candidates >= 0])
        kept = kept[~np.isin(kept, excluded)]
        scores = np.einsum("nd,d->n", np.asarray(self.vectors[kept]), wanted)
        line = np.full(k, -1, dtype=np.int64)
        order = _best(scores, min(k, len(kept)))
        line[: len(order)] = kept[order]
        return line


@dataclass(frozen=True, eq=False)
class _Block:
    """A run of allowed items.

    Attributes:
        start: Place of the first among the allowed ones.
        stop: Place behind the last.
        rows: Catalogue rows of all allowed ones, ascending; none for all.
    """

    start: int
    stop: int
    rows: Rows | None


def _places(taken: Rows, block: _Block) -> Rows:
    """Where in a block some rows (ascending) lie, those elsewhere left out."""
    places = taken
    if block.rows is not None:
        places = np.searchsorted(block.rows, taken)
        inside = places < len(block.rows)
        places, taken = places[inside], taken[inside]
        places = places[block.rows[places] == taken]
    return places[(places >= block.start) & (places < block.stop)] - block.start


def _merge(rows: Rows, scores: Scores, start: int, places: Rows, found: Scores) -> None:
    """Put new places into a line of the best, in place; equal ones stay in order of place."""
    all_scores = np.concatenate([scores, found])
    order = np.argsort(-all_scores, kind="stable")[: len(rows)]
    rows[:] = np.concatenate([rows, places + start])[order]
    scores[:] = all_scores[order]


def _parts(group: Group) -> Iterator[Group]:
    """A group so many requests at a time that their scores stay small."""
    for start in range(0, len(group.requests), _REQUESTS):
        part = slice(start, start + _REQUESTS)
        yield Group(group.requests[part], group.rows, group.excluded[part])
