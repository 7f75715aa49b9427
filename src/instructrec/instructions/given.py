"""Texts that somebody already has, instead of a teacher's."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from instructrec.errors import DataError, UsageError
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, WRITTEN_SCHEMA


def read_annotations(path: Path) -> pl.DataFrame:
    """Read a Parquet file of texts.

    Args:
        path: Columns of `ANNOTATION_SCHEMA`; others are left aside.

    Raises:
        UsageError: There is no such file.
        DataError: It cannot be read or lacks a column.
    """
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", "Check the path") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())})", "Name a Parquet file"
        ) from None
    missing = [name for name in ANNOTATION_SCHEMA if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r}",
            f"A file of texts has {', '.join(ANNOTATION_SCHEMA)}",
        )
    if "teacher" not in frame.columns:
        frame = frame.with_columns(teacher=pl.lit("given"))
    return frame.select(pl.col(name).cast(kind) for name, kind in WRITTEN_SCHEMA.items())
