"""What every reader gives and is given: batches of rows with their lines, faults, options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

Table = Literal["interactions", "items", "queries", "users"]
TABLES: tuple[Table, ...] = ("interactions", "items", "queries", "users")

Clock = Literal["ms", "order"]
TimeUnit = Literal["auto", "s", "ms"]

BLOCK = 8 << 20
"""Bytes of a file that are held at once, about."""

WRONG_WIDTH = "another number of fields than the header"
BROKEN_TEXT = "not valid UTF-8"
NOT_A_RECORD = "not a JSON object"


@dataclass(frozen=True)
class Fault:
    """A line that gave no row.

    Attributes:
        line: Its number in the file, from 1 (in a Parquet file: the row's number, from 1).
        reason: Why, one of few texts, so that they can be counted.
    """

    line: int
    reason: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a file.

    Attributes:
        frame: (rows, columns).
        lines: (rows,) int64, the line that each row starts on, from 1.
        faults: Lines among these that gave no row.
    """

    frame: pl.DataFrame
    lines: NDArray[np.int64]
    faults: list[Fault] = field(default_factory=list)


class Parser(Protocol):
    """Turns a file into batches of its own columns."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def columns(self) -> list[str]:
        """The file's column names, as they stand there."""
        ...

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Read the file from its start; frames have just ``columns``, null where absent."""
        ...

    def texts(self, lines: Sequence[int]) -> dict[int, str]:
        """The text of some lines (of Parquet rows: as JSON), to show people."""
        ...


@dataclass(frozen=True)
class ReadOptions:
    """How a person says a file is to be read; formats that know better ignore it.

    Attributes:
        columns: House column → what it is made of in the file, ``a`` or ``a+b``; the house column
            may have its table in front (``items.item_id``).
        delimiter: What separates fields; found out when left out.
        header: Whether the first line names the columns; else they are called 1, 2, 3, ….
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    header: bool = True


@dataclass(frozen=True, eq=False)
class Reader:
    """One file of one table in the house's columns.

    Attributes:
        table: Which table the file holds.
        format: The format's name.
        parser: Reads the file.
        needs: The file's columns that are read.
        shape: Turns a frame of those into one of the house's columns, row by row.
        mapping: House column → what it is made of, for people to read.
        clock: ``ms`` where the file has a calendar, ``order`` where positions stand for it.
        time_unit: The unit of numbers in timestamp; ``auto`` when only their size can tell.
        currency: The currency of prices that name none, where the source has just one.
    """

    table: Table
    format: str
    parser: Parser
    needs: Sequence[str]
    shape: Callable[[pl.DataFrame], pl.DataFrame]
    mapping: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = "ms"
    time_unit: TimeUnit = "auto"
    currency: str | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.parser.path

    def batches(self) -> Iterator[Batch]:
        """Read the file from its start.

        Raises:
            DataError: The file cannot be read.
        """
        for batch in self.parser.batches(self.needs):
            yield Batch(self.shape(batch.frame), batch.lines, batch.faults)

    def texts(self, lines: Sequence[int]) -> dict[int, str]:
        """The text of some lines."""
        return self.parser.texts(lines)


def text_of(value: Any) -> str | None:
    """A scalar as a line of a text file would have it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
