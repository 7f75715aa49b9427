"""Reads RecBole's atomic files: ``.inter``, ``.item``, ``.user`` with ``name:type`` headers.

Source: Zhao et al. 2021, "RecBole", the documentation of its atomic files.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from instructrec.data.readers.base import Reader, Table
from instructrec.data.readers.columns import COLUMNS, ORDER_NAMES, resolve
from instructrec.data.readers.delimited import Delimited
from instructrec.errors import UsageError

NAME = "recbole"
_HEADER = re.compile(r"[^\t:]+:(token|token_seq|float|float_seq)(\t|\s*$)")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_FURTHER_ALIASES = {"categories": ("class", "genre", "categories", "category")}


def detect(first: str) -> str | None:
    """`NAME` if a file's first line is such a header, else none."""
    return NAME if _HEADER.match(first) else None


def open_recbole(path: Path, table: Table, *, optional_time: bool = False) -> Reader:
    """A reader of one atomic file.

    Raises:
        UsageError: Its header has no types, or a needed column is not there.
        DataError: The file cannot be read.
    """
    parser = Delimited(path, "\t", quotes=False)
    kinds = {}
    for column in parser.columns():
        name, sign, kind = column.rpartition(":")
        if not sign:
            raise UsageError(
                f"{path} is no RecBole file: its column {column!r} names no type",
                "Write the header as user_id:token, or give --format auto",
            )
        kinds[name] = kind
    mapped = resolve(path, table, list(kinds), _wanted(table, kinds), optional=optional_time)
    mapping = {target: names[0] for target, names in mapped.items()}
    if table in ("items", "users"):
        taken = set(mapping.values())
        mapping |= {name: name for name in kinds if name not in taken and name not in mapping}
    chosen = {target: f"{name}:{kinds[name]}" for target, name in mapping.items()}
    by_order = mapping.get("timestamp", "position").lower() in ORDER_NAMES
    return Reader(
        table,
        NAME,
        parser,
        list(dict.fromkeys(chosen.values())),
        lambda frame: _shape(frame, chosen),
        mapping,
        clock="order" if table == "interactions" and by_order else "ms",
    )


def _wanted(table: Table, names: dict[str, str]) -> dict[str, str]:
    """Names of columns that RecBole's published sets have beside the usual ones."""
    if table != "items":
        return {}
    return {
        target: name
        for target, known in _FURTHER_ALIASES.items()
        for name in reversed(known)
        if name in names
    }


def _shape(frame: pl.DataFrame, chosen: dict[str, str]) -> pl.DataFrame:
    columns = []
    for target, source in chosen.items():
        values = frame[source].alias(target)
        kind = source.rpartition(":")[2]
        if kind.endswith("_seq") and (target == "categories" or target not in COLUMNS["items"]):
            values = pl.Series(target, [_sequence(raw) for raw in values], pl.List(pl.String))
        elif kind == "float" and target not in (*COLUMNS["interactions"], *COLUMNS["items"]):
            values = values.cast(pl.Float64, strict=False)
        columns.append(values)
    return pl.DataFrame(columns)


def _sequence(raw: str | None) -> list[str] | None:
    """The parts of a sequence: quoted, or between commas where there are any, or between spaces."""
    if raw is None:
        return None
    if quoted := _QUOTED.findall(raw):
        return [one or other for one, other in quoted]
    return [part.strip() for part in (raw.split(",") if ", " in raw else raw.split(" "))]
