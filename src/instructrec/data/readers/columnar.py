"""Parses Parquet files batch by batch; a row's number stands for its line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import parquet

from instructrec.data.readers.base import Batch
from instructrec.data.readers.files import check_file
from instructrec.errors import DataError

ROWS = 1 << 17
"""Rows of a batch at most."""


@dataclass(frozen=True, eq=False)
class Columnar:
    """A `Parser` of Parquet; columns keep their kind.

    Attributes:
        path: The file.
    """

    path: Path

    def _open(self) -> parquet.ParquetFile:
        check_file(self.path)
        try:
            return parquet.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path} is not a whole Parquet file ({error})", "Write or fetch it again"
        )

    def columns(self) -> list[str]:
        """The column names.

        Raises:
            DataError: The file is broken.
        """
        with self._open() as file:
            return list(file.schema_arrow.names)

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """See `Parser.batches`.

        Raises:
            DataError: The file is broken.
        """
        with self._open() as file:
            first = 1
            try:
                for arrow in file.iter_batches(ROWS, columns=list(columns)):
                    frame = pl.DataFrame(pl.from_arrow(arrow)).select(columns)
                    yield Batch(frame, np.arange(first, first + frame.height, dtype=np.int64))
                    first += frame.height
            except (pa.ArrowException, OSError) as error:
                raise self._broken(error) from None

    def texts(self, lines: Sequence[int]) -> dict[int, str]:
        """See `Parser.texts`."""
        found: dict[int, str] = {}
        left = set(lines)
        for batch in self.batches(self.columns()):
            places = [place for place, line in enumerate(batch.lines) if int(line) in left]
            for place in places:
                row = batch.frame.row(place, named=True)
                found[int(batch.lines[place])] = json.dumps(row, ensure_ascii=False, default=str)
        return found
