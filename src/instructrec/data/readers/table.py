"""Reads any CSV, TSV, Parquet or JSON-lines file, plain or gzip, by a column map."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from instructrec.data.readers.base import Clock, Parser, Reader, ReadOptions, Table
from instructrec.data.readers.columnar import Columnar
from instructrec.data.readers.columns import ORDER_NAMES, Mapped, listed, resolve
from instructrec.data.readers.delimited import Delimited, fields_of, find_delimiter
from instructrec.data.readers.files import first_lines, is_parquet
from instructrec.data.readers.records import Records
from instructrec.errors import DataError, UsageError

NAME = "table"
FURTHER: tuple[Table, ...] = ("items", "users")
"""Tables whose further columns are kept."""


def parser_of(path: Path, options: ReadOptions) -> Parser:
    """The parser for a file, by what its first bytes are.

    Raises:
        DataError: The file is blank or of a kind that is not read.
    """
    if is_parquet(path):
        return Columnar(path)
    lines = first_lines(path)
    if not lines:
        raise DataError(f"{path} has only blank lines", "Give a file with rows in it")
    text = lines[0][1].decode("utf-8", errors="replace")
    if text.lstrip().startswith("["):
        raise DataError(f"{path} is one JSON array", "Write one JSON object a line")
    if text.lstrip().startswith("{"):
        return Records(path)
    delimiter = options.delimiter or find_delimiter(text)
    if len(delimiter) != 1:
        raise UsageError(
            f"--delimiter {delimiter!r} is not one character", "Give one, such as ',' or ';'"
        )
    names = None
    if not options.header:
        names = [str(number + 1) for number in range(len(fields_of(text, delimiter)))]
    return Delimited(path, delimiter, names=names)


def open_table(
    path: Path, table: Table, options: ReadOptions, *, optional_time: bool = False
) -> Reader:
    """A reader of a file by its column map.

    Args:
        path: The file.
        table: What it holds.
        options: Holds the column map.
        optional_time: Whether the order of lines may stand for a missing timestamp.

    Raises:
        UsageError: A column that the table must have is not there.
        DataError: The file cannot be read.
    """
    parser = parser_of(path, options)
    names = parser.columns()
    mapped = resolve(path, table, names, options.columns, optional=optional_time)
    if table in FURTHER:
        renamed = {parts[0] for parts in mapped.values() if len(parts) == 1}
        for name in names:
            if name not in renamed and name not in mapped:
                mapped[name] = [name]
    needs = [name for name in names if any(name in parts for parts in mapped.values())]
    return Reader(
        table,
        NAME,
        parser,
        needs,
        lambda frame: _shape(frame, mapped),
        {target: "+".join(parts) for target, parts in mapped.items()},
        clock=_clock(table, mapped),
    )


def _clock(table: Table, mapped: Mapped) -> Clock:
    source = mapped.get("timestamp", ["position"])[0].lower()
    return "order" if table == "interactions" and source in ORDER_NAMES else "ms"


def _shape(frame: pl.DataFrame, mapped: Mapped) -> pl.DataFrame:
    return frame.select(
        (pl.col(parts[0]) if len(parts) == 1 else listed(parts, frame.schema)).alias(target)
        for target, parts in mapped.items()
    )
