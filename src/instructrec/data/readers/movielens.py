"""Reads MovieLens: 100k (``u.data``, ``u.item``, ``u.user``), 1m and 10m (``::``), latest (CSV).

Source: Harper & Konstan 2015; the README of each set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from instructrec.data.readers.base import Reader, Table
from instructrec.data.readers.delimited import Delimited, Recode
from instructrec.errors import UsageError

_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance"),
    *("Sci-Fi", "Thriller", "War", "Western"),
)
_AGES = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56 or older",
}
_JOBS = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student"),
    *("customer service", "doctor/health care", "executive/managerial", "farmer", "homemaker"),
    *("K-12 student", "lawyer", "programmer", "retired", "sales/marketing", "scientist"),
    *("self-employed", "technician/engineer", "tradesman/craftsman", "unemployed", "writer"),
)
_SEPARATOR = "\x1f"
"""Stands for ``::``, which is more than the one character a parser takes."""


def _utf8(block: bytes) -> bytes:
    """A block of lines as UTF-8; the older sets are Latin-1."""
    try:
        block.decode()
    except UnicodeDecodeError:
        return b"".join(_utf8_line(line) for line in block.splitlines(keepends=True))
    return block


def _utf8_line(line: bytes) -> bytes:
    try:
        line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1").encode()
    return line


def _one_separator(block: bytes) -> bytes:
    return _utf8(block).replace(b"::", _SEPARATOR.encode())


@dataclass(frozen=True)
class _Layout:
    """One file of one set: how its first line looks, and its columns."""

    telling: str
    delimiter: str
    names: tuple[str, ...] | None
    mapping: dict[str, str]
    recode: Recode | None = _utf8
    quotes: bool = False


_RATINGS = {name: name for name in ("user_id", "item_id", "rating", "timestamp")}
_LAYOUTS: dict[str, dict[Table, _Layout]] = {
    "movielens-100k": {
        "interactions": _Layout(r"\d+\t\d+\t\d\t\d+$", "\t", tuple(_RATINGS), _RATINGS),
        "items": _Layout(
            r"\d+\|[^|]*\|[^|]*\|[^|]*\|[^|]*(\|[01]){19}$",
            "|",
            ("item_id", "title", "released", "video", "url", *_GENRES),
            {"item_id": "item_id", "title": "title", "url": "url", "categories": "genre flags"},
        ),
        "users": _Layout(
            r"\d+\|\d+\|[MF]\|",
            "|",
            ("user_id", "age", "gender", "occupation", "zip"),
            {name: name for name in ("user_id", "age", "gender", "occupation")},
        ),
    },
    "movielens-1m": {
        "interactions": _Layout(
            r"\d+::\d+::[\d.]+::\d+$", _SEPARATOR, tuple(_RATINGS), _RATINGS, _one_separator
        ),
        "items": _Layout(
            r"\d+::.+::[^:]*$",
            _SEPARATOR,
            ("item_id", "title", "genres"),
            {"item_id": "item_id", "title": "title", "categories": "genres"},
            _one_separator,
        ),
        "users": _Layout(
            r"\d+::[MF]::\d+::\d+::",
            _SEPARATOR,
            ("user_id", "gender", "age", "occupation", "zip"),
            {name: name for name in ("user_id", "gender", "age", "occupation")},
            _one_separator,
        ),
    },
    "movielens-latest": {
        "interactions": _Layout(
            r"userId,movieId,rating,timestamp\s*$",
            ",",
            None,
            {
                "user_id": "userId",
                "item_id": "movieId",
                "rating": "rating",
                "timestamp": "timestamp",
            },
            None,
            quotes=True,
        ),
        "items": _Layout(
            r"movieId,title,genres\s*$",
            ",",
            None,
            {"item_id": "movieId", "title": "title", "categories": "genres"},
            None,
            quotes=True,
        ),
    },
}
FORMATS: tuple[str, ...] = tuple(_LAYOUTS)


def detect(table: Table, first: str) -> str | None:
    """The set that a file is of, by its first line; none if it is no such file."""
    for name, tables in _LAYOUTS.items():
        if table in tables and re.match(tables[table].telling, first):
            return name
    return None


def open_movielens(path: Path, table: Table, name: str) -> Reader:
    """A reader of ratings, movies or users of one set.

    Raises:
        UsageError: The set has no such table, or the file is of another.
        DataError: The file cannot be read.
    """
    layout = _LAYOUTS[name].get(table)
    if layout is None:
        raise UsageError(f"{name} has no {table}", "Give that file as a table: --format auto")
    parser = Delimited(path, layout.delimiter, layout.names, layout.quotes, layout.recode)
    columns = parser.columns()
    lacking = [
        theirs
        for ours, theirs in layout.mapping.items()
        if theirs not in columns and ours != "categories"
    ]
    if lacking:
        raise UsageError(
            f"{path} holds no {name} {table}: it has no column {lacking[0]!r}",
            "Give another --format, or --format auto",
        )
    shapes = {"items": _items, "users": _users, "interactions": _renamed}
    shape = shapes[table]
    return Reader(
        table,
        name,
        parser,
        columns,
        lambda frame: shape(frame, layout),
        layout.mapping,
        time_unit="s",
    )


def _renamed(frame: pl.DataFrame, layout: _Layout) -> pl.DataFrame:
    return frame.select(
        pl.col(theirs).alias(ours)
        for ours, theirs in layout.mapping.items()
        if theirs in frame.columns
    )


def _items(frame: pl.DataFrame, layout: _Layout) -> pl.DataFrame:
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int64, strict=False)
    if _GENRES[1] in frame.columns:
        categories = _flagged(frame, _GENRES)
    else:
        genres = pl.col(layout.mapping["categories"])
        categories = pl.when(genres != "(no genres listed)").then(genres.str.split("|"))
    return _renamed(frame, layout).with_columns(
        frame.select(categories.alias("categories")).to_series(), year.alias("year")
    )


def _flagged(frame: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    said = [name for name in names if name != "unknown"]
    named = pl.concat_list(pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in said)
    return named.list.drop_nulls()


def _users(frame: pl.DataFrame, layout: _Layout) -> pl.DataFrame:
    frame = _renamed(frame, layout).with_columns(
        pl.col("gender").replace({"M": "male", "F": "female"})
    )
    if layout.delimiter == _SEPARATOR:
        jobs = {str(number): job for number, job in enumerate(_JOBS)}
        frame = frame.with_columns(pl.col("age").replace(_AGES), pl.col("occupation").replace(jobs))
    return frame
