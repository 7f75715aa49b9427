"""Opening raw files, plain or gzip, with one clear line for all that can be wrong with them."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from instructrec.data.readers.base import BLOCK
from instructrec.errors import DataError, UsageError

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_FOREIGN = {
    b"\xff\xfe": ("UTF-16 text", "Save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "Save it as UTF-8"),
    b"PK\x03\x04": ("a zip archive or an Excel file", "Unpack it, or save it as CSV"),
    b"BZh": ("packed by bzip2", "Unpack it, or pack it by gzip"),
    b"\xfd7zXZ": ("packed by xz", "Unpack it, or pack it by gzip"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "Unpack it, or pack it by gzip"),
}
"""First bytes of files that are often given and never read."""
HEAD = 1 << 20


def check_file(path: Path) -> None:
    """Make sure that ``path`` is a file with something in it.

    Raises:
        UsageError: It is absent or a folder.
        DataError: It is empty.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file", "Name the file in it")
    if not path.exists():
        raise UsageError(f"there is no file {path}", "Check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty", "Give a file with rows in it")


@contextlib.contextmanager
def open_raw(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; what gzip packed comes out unpacked.

    Raises:
        UsageError: See `check_file`.
        DataError: The file is empty, its gzip data are cut off or broken, or it is of a kind that
            is not read.
    """
    check_file(path)
    try:
        with path.open("rb") as plain:
            start = plain.read(8)
            plain.seek(0)
            for first, (kind, cure) in _FOREIGN.items():
                if start.startswith(first):
                    raise DataError(f"{path} is {kind}", cure)
            if not start.startswith(_GZIP):
                yield plain
                return
            with gzip.GzipFile(fileobj=plain) as packed:
                yield cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, packed), 1 << 18))
    except EOFError:
        raise DataError(f"{path} is cut off: its gzip data have no end", "Fetch it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} has broken gzip data ({error})", "Fetch it again") from None


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet files do."""
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def first_lines(path: Path, count: int = 1) -> list[tuple[int, bytes]]:
    """Number and text of the first lines that are not blank, of a text file's first megabyte."""
    with open_raw(path) as file:
        start = file.read(HEAD)
    lines = start.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()][:count]


def line_batches(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Read a text file some lines at a time: the number of the first one, and the lines."""
    with open_raw(path) as file:
        number = 1
        while lines := file.readlines(BLOCK):
            yield number, lines
            number += len(lines)


def texts_of_lines(path: Path, wanted: Sequence[int]) -> dict[int, str]:
    """The text of some lines of a text file; what is not UTF-8 is shown escaped."""
    left = sorted(set(wanted), reverse=True)
    found: dict[int, str] = {}
    for number, lines in line_batches(path):
        while left and left[-1] < number + len(lines):
            line = left.pop()
            text = lines[line - number].decode("utf-8", errors="backslashreplace")
            found[line] = text.rstrip("\r\n")
        if not left:
            break
    return found
