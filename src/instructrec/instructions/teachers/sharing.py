"""Answers of a cache as a file that another team can take over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from instructrec.errors import DataError, UsageError
from instructrec.instructions.teachers.cache import COLUMNS, AnswerCache, compact_json

ENDINGS = (".jsonl", ".parquet")
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in COLUMNS[:6]),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("at", pa.float64()),
    ]
)
_AT_ONCE = 4096


def export_answers(cache: AnswerCache, path: Path) -> int:
    """Write all answers to a file, complete or not at all.

    Args:
        cache: Of answers.
        path: JSON lines (``.jsonl``) or Parquet (``.parquet``); what is there gives way.

    Returns:
        How many there are.

    Raises:
        UsageError: The file's ending is another.
    """
    _check_ending(path)
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    write = _write_lines if path.suffix == ".jsonl" else _write_table
    count = write(part, cache.rows())
    part.replace(path)
    return count


def import_answers(cache: AnswerCache, path: Path) -> tuple[int, int]:
    """Take the answers of a file over, all or none; those that are here stay.

    Returns:
        How many are new, and how many the file holds.

    Raises:
        UsageError: There is no such file, or its ending is another.
        DataError: A row is not as `export_answers` wrote it.
    """
    check_file(path)
    count = 0

    def counted() -> Iterator[Mapping[str, Any]]:
        nonlocal count
        rows = _read_lines(path) if path.suffix == ".jsonl" else _read_table(path)
        for row in rows:
            count += 1
            yield _checked(row, path, count)

    new = cache.add(counted())
    return new, count


def check_file(path: Path) -> None:
    """See that a file to import is there.

    Raises:
        UsageError: It is not, or its ending is another.
    """
    _check_ending(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "Check the path")


def _check_ending(path: Path) -> None:
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path} is of no kind known here", f"End it in {' or '.join(ENDINGS)}")


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_table(path: Path, rows: Iterator[Mapping[str, Any]]) -> int:
    count = 0
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        while batch := list(islice(rows, _AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(batch, schema=_SCHEMA))
            count += len(batch)
    return count


def _read_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise DataError(f"{path}, line {number} is not JSON", "Export it again") from None


def _read_table(path: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_AT_ONCE):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no Parquet file ({line})", "Export it again") from None


def _checked(row: Any, path: Path, number: int) -> Mapping[str, Any]:
    """A row whose key is the hash of what it says it answers."""
    whole = isinstance(row, dict) and all(
        isinstance(row.get(name), int | float if name in COLUMNS[6:] else str) for name in COLUMNS
    )
    if whole:
        parts = [row["model"], row["version"], row["parameters"], row["prompt"]]
        whole = hashlib.sha256(compact_json(parts).encode()).hexdigest() == row["key"]
    if not whole:
        raise DataError(
            f"{path}, row {number} is not an answer as `teacher cache export` wrote it",
            "Export the file again",
        )
    checked: Mapping[str, Any] = row
    return checked
