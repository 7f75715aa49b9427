"""Popularity: what everybody takes, whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.errors import FolderError
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Filters, Rows, Scores
from instructrec.retrieval._top import gather, top_rows

FILE = "popularity.parquet"


class Popularity:
    """Scores an item by how many interactions it has; the same for every instruction.

    Args:
        catalogue: The items.
        counts: (items,) interactions of each catalogue row.
    """

    def __init__(self, catalogue: Catalogue, counts: NDArray[np.int64]) -> None:
        self.name = "popularity"
        self.catalogue = catalogue
        self.counts = counts

    @classmethod
    def fit(cls, sequences: Sequences, catalogue: Catalogue) -> Popularity:
        """Count the interactions of each item."""
        return cls(catalogue, sequences.counts(len(catalogue)))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; the score is the number of interactions."""
        return gather(self.counts.astype(np.float32)[None, :], candidates)

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`."""
        everybody = np.broadcast_to(
            self.counts.astype(np.float32), (len(instructions), len(self.catalogue))
        )
        return top_rows(everybody, k, self.catalogue, filters)

    def save(self, folder: Path) -> None:
        """Write item_id and count to ``popularity.parquet``."""
        folder.mkdir(parents=True, exist_ok=True)
        frame = pl.DataFrame({"item_id": self.catalogue.item_ids, "count": self.counts})
        frame.write_parquet(folder / FILE, compression="zstd")

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> Popularity:
        """Read what `save` wrote; an item that is new in the catalogue has count 0.

        Raises:
            FolderError: The file is missing.
        """
        if not (folder / FILE).is_file():
            raise FolderError(f"{folder / FILE} is missing", "Fit the retrievers again")
        frame = pl.read_parquet(folder / FILE)
        rows = catalogue.rows(frame["item_id"].to_list())
        counts = np.zeros(len(catalogue), dtype=np.int64)
        counts[rows[rows >= 0]] = frame["count"].to_numpy()[rows >= 0]
        return cls(catalogue, counts)
