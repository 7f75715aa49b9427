"""The formats by name, and how a file's format is found out."""

from __future__ import annotations

from pathlib import Path

from instructrec.data.readers import amazon, movielens, recbole, table
from instructrec.data.readers.base import Reader, ReadOptions, Table
from instructrec.data.readers.columns import for_table
from instructrec.data.readers.files import check_file, first_lines, is_parquet
from instructrec.errors import UsageError

FORMATS: tuple[str, ...] = (
    "auto",
    table.NAME,
    *amazon.FORMATS,
    *movielens.FORMATS,
    recbole.NAME,
)


def detect(path: Path, kind: Table) -> str:
    """The name of a file's format, by its first lines; ``table`` where no other fits.

    Raises:
        UsageError: There is no such file.
        DataError: The file cannot be read.
    """
    check_file(path)
    if is_parquet(path):
        return table.NAME
    lines = first_lines(path)
    first = lines[0][1].decode("utf-8", errors="replace") if lines else ""
    found = (
        recbole.detect(first) or movielens.detect(kind, first) or amazon.detect(path, kind, first)
    )
    return found or table.NAME


def open_reader(
    path: Path,
    kind: Table,
    options: ReadOptions | None = None,
    *,
    format: str = "auto",
    optional_time: bool = False,
) -> Reader:
    """A reader of one file.

    Args:
        path: The file.
        kind: Which table it holds.
        options: How it is to be read; a column map that speaks of this table makes it a ``table``.
        format: One of `FORMATS`.
        optional_time: Whether the order of lines may stand for a missing timestamp.

    Raises:
        UsageError: There is no such file or format, or a needed column is not there.
        DataError: The file cannot be read.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", f"Use one of {', '.join(FORMATS)}")
    check_file(path)
    options = options or ReadOptions()
    mapped = for_table(kind, options.columns)
    if format == "auto":
        format = table.NAME if mapped or not options.header else detect(path, kind)
    if format != table.NAME and mapped:
        raise UsageError(
            f"the format {format} knows its columns, so --columns cannot change them",
            f"Leave --columns out, or give --format {table.NAME}",
        )
    if format in amazon.FORMATS:
        return amazon.open_amazon(path, kind, format)
    if format in movielens.FORMATS:
        return movielens.open_movielens(path, kind, format)
    if format == recbole.NAME:
        return recbole.open_recbole(path, kind, optional_time=optional_time)
    return table.open_table(path, kind, options, optional_time=optional_time)
