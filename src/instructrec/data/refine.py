"""What is kept of checked rows: known items, repeats, ratings, k-core, the last of each user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from instructrec.data.cleaning import LINE, NO_TITLE
from instructrec.data.readers.base import Table
from instructrec.data.rejected import SAMPLES, Tally

DUPLICATE_ITEM = "repeats an item_id (the first is kept)"
DUPLICATE_USER = "repeats a user_id (the first is kept)"
DUPLICATE_JUDGEMENT = "repeats a query and item (the first is kept)"
UNKNOWN_ITEM = "item_id is not in the items"
UNTITLED_ITEM = "its item has no title"
LOW_RATING = "rating is below --min-rating"
REPEAT = "repeats a user and item (the first is kept)"
SMALL_CORE = "outside the k-core"
OLD = "older than the user's last --max-per-user"


@dataclass(frozen=True)
class Keep:
    """What is kept of an import's rows.

    Attributes:
        repeats: ``drop`` keeps a user's first interaction with an item, ``keep`` all of them.
        min_rating: Interactions rated lower go; those without a rating stay.
        k_core: Every user and item left has at least so many interactions; 0 for no such rule.
        max_per_user: A user's last so many interactions stay; all when left out.
    """

    repeats: Literal["drop", "keep"] = "drop"
    min_rating: float | None = None
    k_core: int = 0
    max_per_user: int | None = None


def refine_items(raw: pl.LazyFrame, tally: Tally, *, count: bool) -> tuple[pl.DataFrame, pl.Series]:
    """Items with a title, each id once, and the ids of those that have none.

    Args:
        raw: Checked rows with their lines.
        tally: Where what is left out is counted.
        count: Whether rows are items (not interactions that tell of their item by the way).
    """
    frame = raw.collect()
    titled = frame.filter(pl.col("title").is_not_null())
    items = titled.unique("item_id", keep="first", maintain_order=True)
    known = items["item_id"].implode()
    untitled = frame.filter(pl.col("title").is_null() & ~pl.col("item_id").is_in(known))
    if count:
        note(tally, "items", NO_TITLE, frame.filter(pl.col("title").is_null()))
        repeated = titled.join(items.select(LINE), on=LINE, how="anti", maintain_order="left")
        note(tally, "items", DUPLICATE_ITEM, repeated)
    return items.drop(LINE), untitled["item_id"].unique(maintain_order=True)


def refine_rows(
    raw: pl.LazyFrame, table: Table, keys: list[str], why: str, tally: Tally
) -> pl.DataFrame:
    """Rows with each key once."""
    frame = raw.collect()
    kept = frame.unique(keys, keep="first", maintain_order=True)
    note(
        tally, table, why, frame.join(kept.select(LINE), on=LINE, how="anti", maintain_order="left")
    )
    return kept


def known_items(
    frame: pl.DataFrame, items: pl.Series, untitled: pl.Series, table: Table, tally: Tally
) -> pl.DataFrame:
    """Rows whose item is in the catalogue; the others are bad, or dropped with a known reason."""
    known = frame["item_id"].is_in(items.implode())
    if known.all():
        return frame
    lost = frame.filter(~known)
    dropped = lost["item_id"].is_in(untitled.implode())
    note(tally, table, UNTITLED_ITEM, lost.filter(dropped))
    note(tally, table, UNKNOWN_ITEM, lost.filter(~dropped), bad=True)
    return frame.filter(known)


def refine_interactions(events: pl.DataFrame, keep: Keep, tally: Tally) -> pl.DataFrame:
    """Apply the rules in this order: rating, repeats, k-core, cap.

    Args:
        events: user_id, item_id, timestamp, rating?, line; in the order of the file.
        keep: The rules.
        tally: Where what is left out is counted.

    Returns:
        What is kept, sorted by user and time; the file's order decides between equal times.
    """
    if keep.min_rating is not None and "rating" in events.columns:
        low = (events["rating"] < keep.min_rating).fill_null(False)
        events = _without(events, low, LOW_RATING, tally)
    events = events.sort("user_id", "timestamp", maintain_order=True)
    if keep.repeats == "drop":
        first = events.select(pl.struct("user_id", "item_id").is_first_distinct()).to_series()
        events = _without(events, ~first, REPEAT, tally)
    if keep.k_core > 1:
        events = _without(events, ~_in_core(events, keep.k_core), SMALL_CORE, tally)
    if keep.max_per_user is not None:
        age = events.select(
            pl.len().over("user_id") - pl.int_range(pl.len()).over("user_id")
        ).to_series()
        events = _without(events, age > keep.max_per_user, OLD, tally)
    return events


def _in_core(events: pl.DataFrame, k: int) -> pl.Series:
    """Which rows are in the k-core: rows of small users and items go until none is left."""
    users = events["user_id"].rank("dense").to_numpy() - 1
    items = events["item_id"].rank("dense").to_numpy() - 1
    inside = np.ones(events.height, dtype=bool)
    while True:
        rows = np.flatnonzero(inside)
        by_user, by_item = np.bincount(users[rows]), np.bincount(items[rows])
        small = (by_user[users[rows]] < k) | (by_item[items[rows]] < k)
        if not small.any():
            return pl.Series(inside)
        inside[rows[small]] = False


def _without(events: pl.DataFrame, gone: pl.Series, why: str, tally: Tally) -> pl.DataFrame:
    if not gone.any():
        return events
    note(tally, "interactions", why, events.filter(gone))
    return events.filter(~gone)


def note(tally: Tally, table: Table, why: str, rows: pl.DataFrame, *, bad: bool = False) -> None:
    """Count rows that are left out; what a rule drops by the thousand is sampled."""
    lines = rows[LINE].bottom_k(SAMPLES).sort().to_list()
    tally.leave_out(table, why, lines, bad=bad, count=rows.height)
