"""Item neighbours: what others took close to the things this user took (item-kNN)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.errors import FolderError
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Filters, Rows, Scores
from instructrec.retrieval._top import top_rows

MATRIX = "neighbours.safetensors"
ITEMS = "neighbours.parquet"
WINDOW = 5
"""Two items are neighbours in a sequence when at most so many positions lie between them."""
DECAY = 0.9
"""What an item of the history weighs against the one taken after it."""
_TIE_BREAK = 0.05
"""The most that popularity may add: less than the faintest co-occurrence, .9 to the 19th."""
_CHUNK = 512
_FLOATS = 2**24
"""Scores over the whole catalogue that are held at once."""
_EVENTS = 2**19
"""Interactions whose pairs are counted at once."""


class ItemNeighbours:
    """Scores an item by how often it was taken near the user's items.

    ``score(i) = Σ_j .9^age(j) · cooccurrence(j, i)`` over the history j, age 0 for the latest,
    where co-occurrence counts the times both stand within 5 positions in somebody's sequence.
    Popularity decides between equals, so that an item without neighbours is not at the bottom
    by accident. A request without history scores zero everywhere.

    Source: the item-kNN rival of docs/paper.md §7 (Video Games, HR@1 .558).

    Args:
        catalogue: The items.
        matrix: (items, items) symmetric co-occurrence counts, float32, rows by catalogue.
        counts: (items,) interactions of each catalogue row.
    """

    def __init__(
        self, catalogue: Catalogue, matrix: sparse.csr_matrix, counts: NDArray[np.int64]
    ) -> None:
        self.name = "neighbours"
        self.catalogue = catalogue
        self.matrix = matrix
        self.counts = counts

    @classmethod
    def fit(
        cls, sequences: Sequences, catalogue: Catalogue, window: int = WINDOW
    ) -> ItemNeighbours:
        """Count co-occurrences within ``window`` positions."""
        items = len(catalogue)
        users = np.repeat(np.arange(len(sequences)), sequences.lengths)
        matrix = sparse.csr_matrix((items, items), dtype=np.float32)
        for start in range(0, len(users), _EVENTS):
            matrix = matrix + _pairs(users, sequences.rows, start, window, items)
        matrix = sparse.csr_matrix(matrix + matrix.T)
        matrix.sort_indices()
        return cls(catalogue, matrix, sequences.counts(items))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; reads ``preference.history_ids``."""
        scores = np.empty(candidates.shape, dtype=np.float32)
        for start in range(0, len(instructions), _CHUNK):
            chunk = slice(start, min(start + _CHUNK, len(instructions)))
            found, extra = self._near(instructions[chunk])
            rows = np.maximum(candidates[chunk], 0)
            lines = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
            near = np.asarray(found[lines.ravel(), rows.ravel()]).reshape(rows.shape)
            more = np.where(extra[:, None], self._tie_break[rows], np.float32(0))
            scores[chunk] = np.where(candidates[chunk] < 0, np.float32("-inf"), near + more)
        return scores

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`."""
        best = np.full((len(instructions), k), -1, dtype=np.int64)
        for chunk, everything in self._chunks(instructions):
            allowed = None if filters is None else filters[chunk]
            best[chunk] = top_rows(everything, k, self.catalogue, allowed)
        return best

    def _chunks(self, instructions: Sequence[Instruction]) -> Iterator[tuple[slice, Scores]]:
        """(requests, items) scores, so many requests at a time that memory stays small."""
        size = max(min(_CHUNK, _FLOATS // max(len(self.catalogue), 1)), 1)
        for start in range(0, len(instructions), size):
            chunk = slice(start, min(start + size, len(instructions)))
            found, extra = self._near(instructions[chunk])
            scores = np.asarray(found.toarray(), dtype=np.float32)
            scores += np.where(extra[:, None], self._tie_break, np.float32(0))
            yield chunk, scores

    def _near(
        self, instructions: Sequence[Instruction]
    ) -> tuple[sparse.csr_matrix, NDArray[np.bool_]]:
        """(requests, items) what neighbours count, and which requests have a known history."""
        history = self._history(instructions)
        found = sparse.csr_matrix(history @ self.matrix, dtype=np.float32)
        return found, np.diff(history.indptr) > 0

    @cached_property
    def _tie_break(self) -> Scores:
        """(items,) what popularity adds."""
        share = _TIE_BREAK / max(int(self.counts.max(initial=0)), 1)
        return np.asarray(self.counts * share, dtype=np.float32)

    def _history(self, instructions: Sequence[Instruction]) -> sparse.csr_matrix:
        """(requests, items): what each known item of a history weighs."""
        weights: list[NDArray[np.float32]] = []
        rows: list[Rows] = []
        for instruction in instructions:
            known = self.catalogue.rows(instruction.preference.history_ids)
            age = np.arange(len(known), dtype=np.float32)[::-1]
            weights.append((DECAY**age)[known >= 0].astype(np.float32))
            rows.append(known[known >= 0])
        starts = np.concatenate([[0], np.cumsum([len(known) for known in rows])])
        columns = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        values = np.concatenate(weights) if weights else np.zeros(0, dtype=np.float32)
        return sparse.csr_matrix(
            (values, columns, starts), shape=(len(instructions), len(self.catalogue))
        )

    def save(self, folder: Path) -> None:
        """Write the matrix to ``neighbours.safetensors``, item ids and counts beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        matrix = self.matrix.tocsr()
        matrix.sort_indices()
        arrays = {
            "data": matrix.data.astype(np.float32),
            "indices": matrix.indices.astype(np.int32),
            "indptr": matrix.indptr.astype(np.int64),
        }
        save_file(arrays, folder / MATRIX)
        frame = pl.DataFrame({"item_id": self.catalogue.item_ids, "count": self.counts})
        frame.write_parquet(folder / ITEMS, compression="zstd")

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> ItemNeighbours:
        """Read what `save` wrote; an item that is new in the catalogue has no neighbours.

        Raises:
            FolderError: A file is missing.
        """
        for name in (MATRIX, ITEMS):
            if not (folder / name).is_file():
                raise FolderError(f"{folder / name} is missing", "Fit the retrievers again")
        arrays, frame = load_file(folder / MATRIX), pl.read_parquet(folder / ITEMS)
        saved = sparse.csr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]),
            shape=(frame.height, frame.height),
        ).tocoo()
        rows = catalogue.rows(frame["item_id"].to_list())
        left, right = rows[saved.row], rows[saved.col]
        kept = (left >= 0) & (right >= 0)
        items = len(catalogue)
        matrix = sparse.csr_matrix(
            (saved.data[kept], (left[kept], right[kept])), shape=(items, items)
        )
        counts = np.zeros(items, dtype=np.int64)
        counts[rows[rows >= 0]] = frame["count"].to_numpy()[rows >= 0]
        return cls(catalogue, matrix, counts)


def _pairs(
    users: NDArray[np.int64], rows: Rows, start: int, window: int, items: int
) -> sparse.csr_matrix:
    """(items, items) how often the second came within the window after the first.

    Args:
        users: (events,) whose each is, ascending.
        rows: (events,) catalogue rows, oldest first within a user.
        start: The first of the events whose followers are counted.
        window: At most so many positions lie between them.
        items: Of the catalogue.
    """
    lefts, rights = [], []
    for distance in range(1, window + 1):
        stop = min(start + _EVENTS, len(rows) - distance)
        if stop <= start:
            break
        left, right = rows[start:stop], rows[start + distance : stop + distance]
        kept = (users[start:stop] == users[start + distance : stop + distance]) & (left != right)
        lefts.append(left[kept])
        rights.append(right[kept])
    none = np.zeros(0, dtype=np.int64)
    left, right = np.concatenate([none, *lefts]), np.concatenate([none, *rights])
    ones = np.ones(len(left), dtype=np.float32)
    return sparse.csr_matrix((ones, (left, right)), shape=(items, items))
