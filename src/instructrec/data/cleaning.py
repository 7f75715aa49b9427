"""Checks the rows of raw tables and gives them their types; what fails is named with its line."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from instructrec.data.dataset import EVENTS, ITEM_COLUMNS
from instructrec.data.readers.base import Batch, Clock, Fault, TimeUnit
from instructrec.data.values import (
    POSITIONS_BELOW,
    SECONDS_BELOW,
    flags,
    key,
    lists,
    missing,
    number,
    prices,
    text,
    times,
)
from instructrec.errors import DataError

LINE = "_line"
"""The column that says which line a row came from."""

NO_TITLE = "no title"
NO_USER = "no user_id"
NO_ITEM = "no item_id"
NO_TEXT = "no text"
NO_TIME = "no timestamp"
BAD_TIME = "timestamp is neither a number nor an ISO date"
EARLY_TIME = "timestamp is zero or negative"
LATE_TIME = "timestamp lies in the future"
BAD_RATING = "rating is not a number"
BAD_EVENT = f"event is none of {', '.join(EVENTS)}"
BAD_RELEVANCE = "relevance is not a number"

_EVENT_NAMES = {
    "click": "view",
    "pv": "view",
    "addtocart": "cart",
    "add_to_cart": "cart",
    "transaction": "purchase",
    "buy": "purchase",
    "order": "purchase",
    "fav": "like",
}


@dataclass
class Times:
    """How the times of one file of interactions are understood.

    Attributes:
        clock: ``ms`` (a calendar) or ``order``.
        unit: Of numbers, where there is a calendar; found out from the first batch if ``auto``.
        latest: No time under ``ms`` may lie after this, in milliseconds.
    """

    clock: Clock
    unit: TimeUnit
    latest: int
    path: str = "the file"

    def clean(self, batch: Batch) -> Batch:
        """Type and check rows of user_id, item_id, timestamp and what else there is.

        Raises:
            DataError: The first batch's numbers are too small for times.
        """
        frame = _with_line(batch)
        if "timestamp" not in frame.columns:
            frame = frame.with_columns(pl.col(LINE).alias("timestamp"))
        raw = frame["timestamp"]
        found = times(raw)
        if self.clock == "ms" and raw.len() > raw.null_count():
            self.unit = find_unit(self.path, found, self.unit)
            found = _to_ms(raw, found) if self.unit == "s" else found
        frame = frame.with_columns(found.alias(_TIME))
        reasons = [
            (NO_USER, key(pl.col("user_id")).is_null()),
            (NO_ITEM, key(pl.col("item_id")).is_null()),
            (NO_TIME, missing(pl.col("timestamp"))),
            (BAD_TIME, pl.col(_TIME).is_null()),
        ]
        if self.clock == "ms":
            reasons.append((EARLY_TIME, pl.col(_TIME) <= 0))
            reasons.append((LATE_TIME, pl.col(_TIME) > self.latest))
        columns = {
            "user_id": key(pl.col("user_id")),
            "item_id": key(pl.col("item_id")),
            "timestamp": pl.col(_TIME),
        }
        _add_optional(frame, columns, reasons)
        return _checked(frame, reasons, columns, batch.faults)


_TIME = "_time"


def _add_optional(
    frame: pl.DataFrame, columns: dict[str, pl.Expr], reasons: list[tuple[str, pl.Expr]]
) -> None:
    """Add the columns that interactions may have, in the order of `INTERACTION_COLUMNS`."""
    if "rating" in frame.columns:
        columns["rating"] = number(pl.col("rating")).cast(pl.Float32)
        reasons.append((BAD_RATING, ~missing(pl.col("rating")) & columns["rating"].is_null()))
    for name in ("review", "review_title"):
        if name in frame.columns:
            columns[name] = key(pl.col(name))
    if "event" in frame.columns:
        word = pl.col("event").cast(pl.String).str.strip_chars().str.to_lowercase()
        columns["event"] = word.replace(_EVENT_NAMES)
        reasons.append((BAD_EVENT, ~columns["event"].is_in(EVENTS)))
    if "weight" in frame.columns:
        columns["weight"] = number(pl.col("weight")).cast(pl.Float32)


def find_unit(path: str, found: pl.Series, unit: TimeUnit) -> TimeUnit:
    """Whether a calendar's numbers are seconds or milliseconds, by their middle.

    Args:
        path: The file, for the error.
        found: Times as they stand there; dates are in milliseconds.
        unit: What is said about it; only ``auto`` is looked into.

    Raises:
        DataError: They are too small to be either.
    """
    middle = found.median()
    if unit != "auto" or not isinstance(middle, int | float) or middle >= SECONDS_BELOW:
        return "ms" if unit == "auto" else unit
    if 0 < middle < POSITIONS_BELOW:
        raise DataError(
            f"{path} has timestamps such as {middle:.0f}, which are no times",
            "Give --clock order if they are positions, or map another column to timestamp",
        )
    return "s" if middle > 0 else "ms"


def _to_ms(raw: pl.Series, found: pl.Series) -> pl.Series:
    """Seconds as milliseconds; dates are in milliseconds already."""
    if raw.dtype != pl.String:
        return found if isinstance(raw.dtype, pl.Date | pl.Datetime) else found * 1000
    exact = raw.str.strip_chars().cast(pl.Float64, strict=False)
    whole = (exact * 1000).round().cast(pl.Int64, strict=False)
    return whole.zip_with(exact.is_not_null() & exact.is_finite().fill_null(False), found)


def clean_items(batch: Batch, currency: str | None) -> Batch:
    """Type and check rows of item_id, title and what else there is; further columns stay.

    Rows without a title stay too, with null: their ids say which interactions go with them.
    """
    frame = _with_line(batch)
    columns: dict[str, pl.Expr] = {"item_id": key(pl.col("item_id"))}
    for name in frame.columns:
        if name == "categories":
            columns[name] = pl.lit(lists(frame[name]))
        elif name == "price":
            price, said = prices(frame[name])
            if currency:
                said = said.fill_null(currency).zip_with(price.is_not_null(), said)
            columns |= {name: pl.lit(price), "currency": pl.lit(said)}
        elif name == "added_at":
            columns[name] = pl.lit(_added_at(frame[name]))
        elif name == "in_stock":
            columns[name] = flags(pl.col(name))
        elif name in ITEM_COLUMNS or frame.schema[name] == pl.String:
            columns.setdefault(name, text(pl.col(name)))
        elif name != LINE:
            columns[name] = pl.col(name)
    if "currency" in frame.columns:
        columns["currency"] = text(pl.col("currency"))
    known = [name for name in ITEM_COLUMNS if name in columns]
    further = [name for name in columns if name not in ITEM_COLUMNS]
    ordered = {name: columns[name] for name in (*known, *further)}
    return _checked(frame, [(NO_ITEM, columns["item_id"].is_null())], ordered, batch.faults)


def _added_at(raw: pl.Series) -> pl.Series:
    found = times(raw)
    middle = found.median()
    small = isinstance(middle, int | float) and middle < SECONDS_BELOW
    return found * 1000 if small and not isinstance(raw.dtype, pl.Date | pl.Datetime) else found


def clean_queries(batch: Batch) -> Batch:
    """Type and check rows of query_id?, text, item_id, relevance?."""
    frame = _with_line(batch)
    said = text(pl.col("text"))
    query_id = key(pl.col("query_id")).fill_null(said) if "query_id" in frame.columns else said
    relevance: pl.Expr = pl.lit(1.0, pl.Float32)
    reasons = [(NO_TEXT, said.is_null()), (NO_ITEM, key(pl.col("item_id")).is_null())]
    if "relevance" in frame.columns:
        relevance = number(pl.col("relevance")).cast(pl.Float32)
        reasons.append((BAD_RELEVANCE, relevance.is_null()))
    columns = {
        "query_id": query_id,
        "text": said,
        "item_id": key(pl.col("item_id")),
        "relevance": relevance,
    }
    return _checked(frame, reasons, columns, batch.faults)


def clean_users(batch: Batch) -> Batch:
    """Type and check rows of user_id and profile facts."""
    frame = _with_line(batch)
    columns = {
        name: text(pl.col(name)) if frame.schema[name] == pl.String else pl.col(name)
        for name in frame.columns
        if name != LINE
    }
    columns["user_id"] = key(pl.col("user_id"))
    return _checked(frame, [(NO_USER, columns["user_id"].is_null())], columns, batch.faults)


def _with_line(batch: Batch) -> pl.DataFrame:
    return batch.frame.with_columns(pl.Series(LINE, batch.lines, dtype=pl.Int64))


def _checked(
    frame: pl.DataFrame,
    reasons: list[tuple[str, pl.Expr]],
    columns: dict[str, pl.Expr],
    faults: list[Fault],
) -> Batch:
    """Rows that pass, typed, and the faults of those that do not: the first reason counts."""
    reason = pl.coalesce(pl.when(test.fill_null(False)).then(pl.lit(why)) for why, test in reasons)
    made = frame.select(
        *(value.alias(name) for name, value in columns.items()), LINE, reason.alias("_reason")
    )
    good = made["_reason"].is_null()
    if not good.all():
        bad = made.filter(~good).select(LINE, "_reason")
        faults = faults + [Fault(line, why) for line, why in bad.iter_rows()]
        made = made.filter(good)
    return Batch(made.drop(LINE, "_reason"), made[LINE].to_numpy(), faults)
