"""The formats by name, and how a file's format is found out."""

from __future__ import annotations

from pathlib import Path

from instructrec.data.readers import table as _table
from instructrec.data.readers.base import Reader, ReadOptions, Table
from instructrec.data.readers.files import check_file
from instructrec.errors import UsageError

FORMATS: tuple[str, ...] = ("auto", _table.NAME)


def detect(path: Path, table: Table) -> str:
    """The name of a file's format.

    Raises:
        UsageError: There is no such file.
        DataError: The file cannot be read.
    """
    check_file(path)
    return _table.NAME


def open_reader(
    path: Path,
    table: Table,
    options: ReadOptions | None = None,
    *,
    format: str = "auto",
    optional_time: bool = False,
) -> Reader:
    """A reader of one file.

    Args:
        path: The file.
        table: What it holds.
        options: How it is to be read.
        format: One of `FORMATS`.
        optional_time: Whether the order of lines may stand for a missing timestamp.

    Raises:
        UsageError: There is no such file or format, or a needed column is not there.
        DataError: The file cannot be read.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", f"Use one of {', '.join(FORMATS)}")
    check_file(path)
    return _table.open_table(path, table, options or ReadOptions(), optional_time=optional_time)
