"""Parses files with one record a line: JSON, or the Python literals of Amazon's 2014 metadata."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from instructrec.data.readers.base import BROKEN_TEXT, NOT_A_RECORD, Batch, Fault, text_of
from instructrec.data.readers.files import first_lines, line_batches, texts_of_lines
from instructrec.errors import DataError

Record = dict[str, Any]
LOOKED_AT = 1000
"""So many lines at the start of a file tell its columns, unless said otherwise."""


def json_record(line: str) -> Record | None:
    """The JSON object on a line, or none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def literal_record(line: str) -> Record | None:
    """The JSON object or Python dictionary on a line, or none; nothing on it is run."""
    found = json_record(line)
    if found is not None:
        return found
    try:
        value = ast.literal_eval(line)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, eq=False)
class Records:
    """A `Parser` of one record a line; values keep their kind, mixed ones become text.

    Attributes:
        path: The file, plain or gzip.
        parse: Turns a line into a record, or into none if it holds none.
        looked_at: Lines at the start whose keys are the file's columns.
    """

    path: Path
    parse: Callable[[str], Record | None] = json_record
    looked_at: int = LOOKED_AT

    def columns(self) -> list[str]:
        """Keys of the first lines, in order of appearance.

        Raises:
            DataError: None of those lines holds a record.
        """
        keys: dict[str, None] = {}
        for _, line in first_lines(self.path, self.looked_at):
            record = self.parse(line.decode("utf-8", errors="replace"))
            keys.update(dict.fromkeys(record or ()))
        if not keys:
            raise DataError(
                f"{self.path} has no JSON object on its first lines",
                "Give a file with one JSON object a line",
            )
        return list(keys)

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """See `Parser.batches`."""
        for first, lines in line_batches(self.path):
            rows: list[Record] = []
            numbers: list[int] = []
            faults: list[Fault] = []
            for number, line in enumerate(lines, first):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901
                try:
                    text = line.decode().strip()
                except UnicodeDecodeError:
                    faults.append(Fault(number, BROKEN_TEXT))
                    continue
                if not text:
                    continue
                record = self.parse(text)
                if record is None:
                    faults.append(Fault(number, NOT_A_RECORD))
                else:
                    rows.append(record)
                    numbers.append(number)
            frame = pl.DataFrame(
                [_series(name, [row.get(name) for row in rows]) for name in columns]
            )
            yield Batch(frame, np.array(numbers, dtype=np.int64), faults)

    def texts(self, lines: Sequence[int]) -> dict[int, str]:
        """See `Parser.texts`."""
        return texts_of_lines(self.path, lines)


def _series(name: str, values: list[Any]) -> pl.Series:
    """A column of records' values: text, numbers or lists of text, whatever holds them all."""
    for kind in (pl.String(), pl.Int64(), pl.Float64()):
        try:
            return pl.Series(name, values, dtype=kind, strict=True)
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            continue
    if any(isinstance(value, list) for value in values):
        return pl.Series(name, [_texts(value) for value in values], dtype=pl.List(pl.String))
    return pl.Series(name, [_text(value) for value in values], dtype=pl.String)


def _texts(value: Any) -> list[str] | None:
    if value is None:
        return None
    found: list[str] = []
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, list):
            found += _texts(part) or []
        elif (text := _text(part)) is not None:
            found.append(text)
    return found


def _text(value: Any) -> str | None:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    text = text_of(value)
    # A lone surrogate ("\ud83d") is legal JSON but no text.
    return text if text is None else text.encode("utf-8", "replace").decode()
