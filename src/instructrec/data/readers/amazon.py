"""Reads Amazon's reviews and metadata of 2014, 2018 and 2023: one record a line, plain or gzip.

Counts that come with the items (average rating, number of ratings, sales rank) are left out: they
were taken after the last interaction and would tell of the test targets.

Source: He & McAuley 2016 (2014), Ni et al. 2019 (2018), Hou et al. 2024 (2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from instructrec.data.readers.base import Reader, Table, TimeUnit
from instructrec.data.readers.records import Records, json_record, literal_record
from instructrec.data.values import unescape
from instructrec.errors import UsageError

LOOKED_AT = 50
"""Lines of a file from which its edition is told."""

_OLD_REVIEWS = {
    "user_id": "reviewerID",
    "item_id": "asin",
    "timestamp": "unixReviewTime",
    "rating": "overall",
    "review": "reviewText",
    "review_title": "summary",
}
_NEW_REVIEWS = {
    "user_id": "user_id",
    "item_id": "parent_asin",
    "timestamp": "timestamp",
    "rating": "rating",
    "review": "text",
    "review_title": "title",
}
_ITEMS = {
    "amazon-2014": {
        "item_id": "asin",
        "title": "title",
        "categories": "categories",
        "brand": "brand",
        "price": "price",
        "description": "description",
    },
    "amazon-2018": {
        "item_id": "asin",
        "title": "title",
        "categories": "category",
        "brand": "brand",
        "price": "price",
        "description": "description",
        "features": "feature",
        "main_category": "main_cat",
    },
    "amazon-2023": {
        "item_id": "parent_asin",
        "title": "title",
        "categories": "categories",
        "brand": "store",
        "price": "price",
        "description": "description",
        "features": "features",
        "main_category": "main_category",
    },
}


@dataclass(frozen=True)
class _Edition:
    reviews: dict[str, str]
    items: dict[str, str]
    unit: TimeUnit
    telling: dict[Table, tuple[frozenset[str], frozenset[str]]]
    """By table: keys that records of this edition have, and keys of which they have one."""


def _keys(all_of: str, one_of: str = "") -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(all_of.split()), frozenset(one_of.split())


_EDITIONS = {
    "amazon-2014": _Edition(
        _OLD_REVIEWS,
        _ITEMS["amazon-2014"],
        "s",
        {
            "interactions": _keys("reviewerID asin helpful"),
            "items": _keys("asin", "categories imUrl related salesRank"),
        },
    ),
    "amazon-2018": _Edition(
        _OLD_REVIEWS,
        _ITEMS["amazon-2018"],
        "s",
        {
            "interactions": _keys("reviewerID asin unixReviewTime"),
            "items": _keys("asin", "category main_cat also_buy also_view feature"),
        },
    ),
    "amazon-2023": _Edition(
        _NEW_REVIEWS,
        _ITEMS["amazon-2023"],
        "ms",
        {
            "interactions": _keys("user_id parent_asin timestamp rating"),
            "items": _keys("parent_asin", "store main_category categories details"),
        },
    ),
}
FORMATS: tuple[str, ...] = tuple(_EDITIONS)


def detect(path: Path, table: Table, first: str) -> str | None:
    """The edition that a file is of, by the keys on its first lines; none if it is no such file."""
    if not first.lstrip().startswith("{"):
        return None
    keys = set(Records(path, literal_record, looked_at=LOOKED_AT).columns())
    for name, edition in _EDITIONS.items():
        all_of, one_of = edition.telling.get(table, (None, None))
        if all_of is not None and all_of <= keys and (not one_of or one_of & keys):
            return name
    return None


def open_amazon(path: Path, table: Table, name: str) -> Reader:
    """A reader of reviews (``interactions``) or metadata (``items``) of one edition.

    Raises:
        UsageError: The edition has no such table, or the file lacks what it must have.
        DataError: The file cannot be read.
    """
    edition = _EDITIONS[name]
    if table not in ("interactions", "items"):
        raise UsageError(f"{name} has no {table}", "Give that file as a table: --format auto")
    columns = edition.reviews if table == "interactions" else edition.items
    # Only the metadata of 2014 are Python literals, and JSON is far quicker to read.
    literal = table == "items" and name == "amazon-2014"
    parser = Records(path, literal_record if literal else json_record)
    keys = parser.columns()
    needed = (
        ("user_id", "item_id", "timestamp") if table == "interactions" else ("item_id", "title")
    )
    for target in needed:
        if columns[target] not in keys:
            raise UsageError(
                f"{path} holds no {name} {table}: its records have no {columns[target]!r}",
                "Give another --format, or --format auto",
            )
    shape: Callable[[pl.DataFrame], pl.DataFrame] = _reviews if table == "interactions" else _items
    return Reader(
        table,
        name,
        parser,
        list(columns.values()),
        lambda frame: shape(frame.select(**{ours: theirs for ours, theirs in columns.items()})),
        columns,
        time_unit=edition.unit,
        currency="USD",
    )


def _reviews(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(_plain(frame[name]) for name in ("review", "review_title"))


def _items(frame: pl.DataFrame) -> pl.DataFrame:
    named = {name: _plain(frame[name]) for name in ("brand", "description")}
    named["title"] = pl.Series("title", [_title(raw) for raw in frame["title"].cast(pl.String)])
    named["categories"] = _categories(frame["categories"])
    frame = frame.with_columns(named.values())
    if "main_category" in frame.columns:
        # In 2018 some are the HTML of a picture.
        main = pl.when(~pl.col("main_category").str.contains("<")).then("main_category")
        frame = frame.with_columns(main.cast(pl.String), _plain(frame["features"]))
        path = pl.col("categories")
        frame = frame.with_columns(
            pl.when(path.list.len().fill_null(0) > 0)
            .then(path)
            .otherwise(pl.concat_list(pl.col("main_category").str.replace_all("&amp;", "&")))
            .alias("categories"),
            pl.coalesce(pl.when(pl.col("description") != "").then("description"), "features").alias(
                "description"
            ),
        ).drop("features")
    return frame


def _plain(values: pl.Series) -> pl.Series:
    """Text without HTML; lists of paragraphs are joined."""
    if isinstance(values.dtype, pl.List):
        values = values.list.join(" ")
    return pl.Series(values.name, [unescape(raw) for raw in values.cast(pl.String)], pl.String)


def _title(raw: str | None) -> str | None:
    # Some titles of 2018 are the scripts of the page they were taken from.
    return None if raw is None or "getTime" in raw else unescape(raw)


def _categories(values: pl.Series) -> pl.Series:
    """Lists of categories without HTML; text stands for a list of one."""
    lists = values if isinstance(values.dtype, pl.List) else values.cast(pl.String).reshape((-1, 1))
    parts = [
        None if raw is None else [unescape(part) for part in raw if part and "</" not in part]
        for raw in lists.to_list()
    ]
    return pl.Series(values.name, parts, pl.List(pl.String))
