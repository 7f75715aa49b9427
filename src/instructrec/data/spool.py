"""Reads files batch by batch into Parquet files of their checked rows, beside the draft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from instructrec.data.cleaning import LINE
from instructrec.data.readers import Batch, Reader
from instructrec.data.rejected import Tally
from instructrec.errors import DataError
from instructrec.protocols import Progress


@dataclass(frozen=True)
class Spool:
    """Where checked rows go.

    Attributes:
        folder: Holds one file a table.
        tally: Told of what was read and what was bad.
        progress: Told of each file.
    """

    folder: Path
    tally: Tally
    progress: Progress

    def with_tally(self, tally: Tally) -> Spool:
        """The same with another tally."""
        return replace(self, tally=tally)

    def read(self, reader: Reader, clean: Callable[[Batch], Batch]) -> pl.LazyFrame:
        """Read a file whole; memory holds a batch of it at a time.

        Args:
            reader: The file.
            clean: Checks a batch and gives it types.

        Returns:
            The checked rows with `LINE`.

        Raises:
            DataError: The file cannot be read or has no row.
        """
        path = self.folder / f"{reader.table}.parquet"
        writer: parquet.ParquetWriter | None = None
        schema: pl.Schema | None = None
        try:
            for batch in self.progress.track(reader.batches(), f"reading {reader.path.name}"):
                checked = clean(batch)
                self.tally.saw(reader.table, batch.frame.height + len(batch.faults))
                self.tally.add(reader.table, checked.faults)
                frame = checked.frame.with_columns(pl.Series(LINE, checked.lines, dtype=pl.Int64))
                frame = frame if schema is None else _conform(frame, schema)
                schema = frame.schema
                arrow: pa.Table = frame.to_arrow()
                writer = writer or parquet.ParquetWriter(path, arrow.schema, compression="lz4")
                writer.write_table(arrow)
        except pl.exceptions.PolarsError as error:
            first = str(error).splitlines()[0]
            raise DataError(
                f"{reader.path} has a column of a kind that cannot be read ({first})",
                "Map other columns with --columns",
            ) from error
        finally:
            if writer is not None:
                writer.close()
        if writer is None or not self.tally.read.get(reader.table):
            raise DataError(f"{reader.path} has no rows", "Give a file with rows below its header")
        return pl.scan_parquet(path)


def _conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """A batch in the kinds of the first one; JSON need not keep to one kind."""
    columns = []
    for name, kind in schema.items():
        column, own = pl.col(name), frame.schema[name]
        if isinstance(own, pl.List) and kind == pl.String:
            column = column.list.join("|")
        elif own == pl.String and isinstance(kind, pl.List):
            column = pl.concat_list(column)
        columns.append(column.cast(kind, strict=False))
    return frame.select(columns)
