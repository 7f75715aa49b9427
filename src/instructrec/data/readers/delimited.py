"""Parses delimited text (CSV, TSV, ``::``, RecBole) block by block, keeping line numbers."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from instructrec.data.readers.base import BLOCK, BROKEN_TEXT, WRONG_WIDTH, Batch, Fault
from instructrec.data.readers.files import first_lines, open_raw, texts_of_lines
from instructrec.errors import DataError

DELIMITERS = (",", "\t", ";", "|")
Recode = Callable[[bytes], bytes]

BROKEN = "\ufdd0"
"""Stands for bytes that are no UTF-8; Unicode has reserved it for never being text."""
_MARK = "instructrec.broken"


def _mark(error: UnicodeError) -> tuple[str, int]:
    return BROKEN, error.end if isinstance(error, UnicodeDecodeError) else 0


codecs.register_error(_MARK, _mark)


def find_delimiter(line: str) -> str:
    """The delimiter that splits a line into the most fields; a comma where none does."""
    return max(DELIMITERS, key=lambda delimiter: len(fields_of(line, delimiter)))


def fields_of(line: str, delimiter: str, *, quotes: bool = True) -> list[str]:
    """The fields of one line."""
    if not quotes:
        return [name.strip() for name in line.split(delimiter)]
    return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]


@dataclass(eq=False)
class Delimited:
    """A `Parser` of delimited text; every column is text, an empty field is null.

    Attributes:
        path: The file, plain or gzip.
        delimiter: One character.
        names: Column names of a file without a header; read from the first line when left out.
        quotes: Whether ``"`` encloses fields that hold delimiters or line ends.
        recode: Turns each block of whole lines into UTF-8 text with that delimiter.
    """

    path: Path
    delimiter: str = ","
    names: Sequence[str] | None = None
    quotes: bool = True
    recode: Recode | None = None
    _header: list[str] = field(default_factory=list, init=False)
    _header_line: int = field(default=0, init=False)

    def columns(self) -> list[str]:
        """The column names.

        Raises:
            DataError: The header is broken, has a name twice, or the file is blank.
        """
        if self.names is not None:
            return list(self.names)
        if not self._header:
            self._header = self._read_header()
        return self._header

    def _read_header(self) -> list[str]:
        lines = first_lines(self.path)
        if not lines:
            raise DataError(f"{self.path} has only blank lines", "Give a file with rows in it")
        self._header_line, first = lines[0]
        try:
            line = (self.recode(first) if self.recode else first).decode()
        except UnicodeDecodeError:
            raise DataError(f"{self.path} line 1 is not valid UTF-8", "Save it as UTF-8") from None
        names = fields_of(line, self.delimiter, quotes=self.quotes)
        for name in names:
            if names.count(name) > 1:
                raise DataError(
                    f"{self.path} has the column {name!r} twice", "Rename one in the first line"
                )
        return names

    def batches(self, columns: Sequence[str]) -> Iterator[Batch]:
        """See `Parser.batches`.

        Raises:
            DataError: A quotation mark is never closed, or the file cannot be read.
        """
        names = self.columns()
        invalid: dict[int, int] = {}
        with open_raw(self.path) as file:
            source = _Blocks(file, self.recode)
            place = _Place(self._header_line + 1)
            try:
                stream = self._open(source, names, invalid, skip=self._header_line)
                for arrow in stream:
                    yield self._batch(arrow, place, invalid, columns)
            except pa.ArrowInvalid as error:
                raise self._explain(error, place.line) from None
            if invalid:
                _, faults = place.advance(0, None, invalid, end=True)
                yield Batch(_empty(columns), np.zeros(0, np.int64), faults)
            if self.quotes and source.quotes % 2 and place.open_record:
                raise self._unclosed(place.last)

    def _open(
        self, source: _Blocks, names: list[str], invalid: dict[int, int], *, skip: int
    ) -> arrow_csv.CSVStreamingReader:
        def note(row: arrow_csv.InvalidRow) -> str:
            invalid[row.number] = row.text.count("\n")
            return "skip"

        return arrow_csv.open_csv(
            pa.PythonFile(source, mode="r"),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=BLOCK, column_names=names, skip_rows=skip
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char='"' if self.quotes else False,
                newlines_in_values=self.quotes,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                check_utf8=False,
                null_values=["", "\\N"],
                strings_can_be_null=True,
            ),
        )

    def _batch(
        self, arrow: pa.RecordBatch, place: _Place, invalid: dict[int, int], columns: Sequence[str]
    ) -> Batch:
        extra = _line_ends(arrow) if self.quotes else None
        lines, faults = place.advance(arrow.num_rows, extra, invalid)
        blank = _blank(arrow)
        wanted = {name: arrow.column(name) for name in columns if name in arrow.schema.names}
        broken = _broken_rows(wanted.values(), arrow.num_rows)
        faults += [Fault(int(line), BROKEN_TEXT) for line in lines[broken & ~blank]]
        keep = ~(blank | broken)
        if not keep.all():
            mask = pa.array(keep)
            wanted = {name: column.filter(mask) for name, column in wanted.items()}
            lines = lines[keep]
        texts = {name: pl.Series(name, column) for name, column in wanted.items()}
        frame = pl.DataFrame(
            [texts.get(name, pl.Series(name, [None] * len(lines), pl.String)) for name in columns]
        )
        return Batch(frame, lines, sorted(faults, key=lambda fault: fault.line))

    def _explain(self, error: Exception, line: int) -> DataError:
        if "straddling" in str(error):
            return self._unclosed(line)
        return DataError(
            f"{self.path} cannot be read after line {line - 1} ({error})", "Mend that line"
        )

    def _unclosed(self, line: int) -> DataError:
        return DataError(
            f"{self.path} has a quotation mark at or after line {line} that is never closed",
            "Close it, or double quotation marks inside a field",
        )

    def texts(self, lines: Sequence[int]) -> dict[int, str]:
        """See `Parser.texts`."""
        return texts_of_lines(self.path, lines)


class _Place:
    """Which line of the file the next row is on; rows are counted as pyarrow counts them."""

    def __init__(self, first: int) -> None:
        self.row = first
        self.line = first
        self.last = first
        self.open_record = False

    def advance(
        self,
        rows: int,
        extra: NDArray[np.int64] | None,
        invalid: dict[int, int],
        *,
        end: bool = False,
    ) -> tuple[NDArray[np.int64], list[Fault]]:
        """Lines of the next rows, and the faults among and right before them.

        Args:
            rows: How many.
            extra: (rows,) line ends inside each row's fields; none when left out.
            invalid: Number of each row that the parser has skipped → line ends inside it; emptied
                as they pass.
            end: Whether the file is at its end.
        """
        numbers = np.arange(self.row, self.row + rows + len(invalid), dtype=np.int64)
        skipped = np.isin(numbers, np.array(list(invalid), dtype=np.int64))
        if not end:
            # The parser may be a block ahead: of its skipped rows only those that lie among these
            # rows have passed.
            stop = int(np.searchsorted(np.cumsum(~skipped), rows)) + 1 if rows else 0
            numbers, skipped = numbers[:stop], skipped[:stop]
        height = np.ones(len(numbers), dtype=np.int64)
        inside = [invalid.pop(int(number)) for number in numbers[skipped]]
        height[skipped] += np.array(inside, dtype=np.int64)
        if extra is not None:
            height[~skipped] += extra
        lines = self.line + np.cumsum(height) - height
        if len(numbers):
            self.row = int(numbers[-1]) + 1
            self.line += int(height.sum())
            self.last = int(lines[-1])
            self.open_record = bool(height[-1] > 1)
        faults = [Fault(int(line), WRONG_WIDTH) for line in lines[skipped]]
        return lines[~skipped], faults


class _Blocks(io.RawIOBase):
    """A file as pyarrow reads it: UTF-8 always, recoded at line ends, quotation marks counted."""

    def __init__(self, file: BinaryIO, recode: Recode | None) -> None:
        self._file = file
        self._recode = recode
        self._tail = b""
        self._ready = b""
        self.quotes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; only the file's end gives none."""
        if not self._ready:
            self._ready = self._next(size)
            self.quotes += self._ready.count(b'"')
        block, self._ready = self._ready[:size], self._ready[size:]
        return block

    def _next(self, size: int) -> bytes:
        if self._recode is not None:
            return self._recode(b"".join(self._file.readlines(BLOCK)))
        raw = self._file.read(size)
        block = self._tail + raw
        try:
            _, used = codecs.utf_8_decode(block, "strict", not raw)
        except UnicodeDecodeError:
            text, used = codecs.utf_8_decode(block, _MARK, not raw)
            self._tail = block[used:]
            return text.encode()
        self._tail = block[used:]
        return block[:used]


def _empty(columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(columns, pl.String()))


def _line_ends(arrow: pa.RecordBatch) -> NDArray[np.int64] | None:
    """(rows,) line ends inside the fields of each row, or none where there are none at all."""
    total: NDArray[np.int64] | None = None
    for column in arrow.columns:
        if pc.any(pc.match_substring(column, "\n")).as_py():
            ends = pc.fill_null(pc.count_substring(column, "\n"), 0).to_numpy(zero_copy_only=False)
            total = ends.astype(np.int64) if total is None else total + ends
    return total


def _blank(arrow: pa.RecordBatch) -> NDArray[np.bool_]:
    blank = np.ones(arrow.num_rows, dtype=bool)
    for column in arrow.columns:
        if not blank.any():
            break
        blank &= pc.is_null(column).to_numpy(zero_copy_only=False)
    return blank


def _broken_rows(columns: Iterable[pa.Array], rows: int) -> NDArray[np.bool_]:
    broken = np.zeros(rows, dtype=bool)
    for column in columns:
        found = pc.match_substring(column, BROKEN)
        if pc.any(found).as_py():
            broken |= pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    return broken
