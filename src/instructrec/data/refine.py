"""What is kept of checked rows: known items, repeats, ratings, k-core, the last of each user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.cleaning import LINE, NO_TITLE
from instructrec.data.readers.base import Batch, Table
from instructrec.data.rejected import SAMPLES, Tally

REPEATED_ITEM = "repeats an item_id (the first is kept)"
REPEATED_USER = "repeats a user_id (the first is kept)"
REPEATED_JUDGEMENT = "repeats a query and item (the first is kept)"
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


def refine_items(frame: pl.DataFrame, tally: Tally) -> tuple[pl.DataFrame, pl.Series]:
    """Items with a title, each id once, and the ids of those that have none.

    Args:
        frame: Checked rows with their lines.
        tally: Where what is left out is counted.
    """
    titled = frame.filter(pl.col("title").is_not_null())
    items = titled.unique("item_id", keep="first", maintain_order=True)
    blank = frame.filter(pl.col("title").is_null())
    note(tally, "items", NO_TITLE, blank)
    note(tally, "items", REPEATED_ITEM, _others(titled, items))
    known = items["item_id"].implode()
    untitled = blank.filter(~pl.col("item_id").is_in(known))["item_id"]
    return items.drop(LINE), untitled.unique(maintain_order=True)


def distinct_items(batch: Batch) -> Batch:
    """A batch with each item once, with its title if any of its rows has one."""
    frame = batch.frame.with_columns(pl.Series(LINE, batch.lines, dtype=pl.Int64))
    frame = frame.sort(pl.col("title").is_null(), maintain_order=True)
    frame = frame.unique("item_id", keep="first", maintain_order=True).sort(LINE)
    return Batch(frame.drop(LINE), frame[LINE].to_numpy(), batch.faults)


def _others(frame: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    return frame.join(kept.select(LINE), on=LINE, how="anti", maintain_order="left")


def refine_rows(
    frame: pl.DataFrame, table: Table, keys: list[str], why: str, tally: Tally
) -> pl.DataFrame:
    """Rows with each key once."""
    kept = frame.unique(keys, keep="first", maintain_order=True)
    note(tally, table, why, _others(frame, kept))
    return kept


def in_core(frame: pl.DataFrame, items: pl.Series, table: Table, tally: Tally) -> pl.DataFrame:
    """Rows whose item is left after the k-core."""
    left = frame["item_id"].is_in(items.implode())
    note(tally, table, SMALL_CORE, frame.filter(~left))
    return frame.filter(left)


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
        events: user_id, item_id, timestamp, rating?, their lines and whatever else; in the order
            of the file.
        keep: The rules.
        tally: Where what is left out is counted.

    Returns:
        What is kept, sorted by user and time; the file's order decides between equal times. The
        ids are enumerations.
    """
    events = events.with_columns(_coded(events["user_id"]), _coded(events["item_id"]))
    if keep.min_rating is not None and "rating" in events.columns:
        low = (events["rating"] < keep.min_rating).fill_null(False)
        events = _without(events, low, LOW_RATING, tally)
    events = events.sort("user_id", "timestamp", maintain_order=True)
    if keep.repeats == "drop":
        users, items = _numbers(events["user_id"]), _numbers(events["item_id"])
        pairs = pl.Series(users * (items.max(initial=0) + 1) + items)
        events = _without(events, ~pairs.is_first_distinct(), REPEAT, tally)
    if keep.k_core > 1:
        events = _without(events, ~_in_core(events, keep.k_core), SMALL_CORE, tally)
    if keep.max_per_user is not None:
        lengths = events["user_id"].rle().struct.field("len").to_numpy()
        age = np.repeat(np.cumsum(lengths), lengths) - np.arange(events.height)
        events = _without(events, pl.Series(age > keep.max_per_user), OLD, tally)
    return events


def _in_core(events: pl.DataFrame, k: int) -> pl.Series:
    """Which rows are in the k-core: rows of small users and items go until none is left."""
    users, items = _numbers(events["user_id"]), _numbers(events["item_id"])
    inside = np.ones(events.height, dtype=bool)
    while True:
        rows = np.flatnonzero(inside)
        by_user, by_item = np.bincount(users[rows]), np.bincount(items[rows])
        small = (by_user[users[rows]] < k) | (by_item[items[rows]] < k)
        if not small.any():
            return pl.Series(inside)
        inside[rows[small]] = False


def _coded(ids: pl.Series) -> pl.Series:
    """Ids as small numbers that sort as the ids do: far quicker to sort, join and keep."""
    return ids.cast(pl.Enum(ids.unique().sort()))


def _numbers(ids: pl.Series) -> NDArray[np.int64]:
    return ids.to_physical().to_numpy().astype(np.int64)


def _without(events: pl.DataFrame, gone: pl.Series, why: str, tally: Tally) -> pl.DataFrame:
    if not gone.any():
        return events
    note(tally, "interactions", why, events.filter(gone))
    return events.filter(~gone)


def note(tally: Tally, table: Table, why: str, rows: pl.DataFrame, *, bad: bool = False) -> None:
    """Count rows that are left out; what a rule drops by the thousand is sampled."""
    if rows.is_empty():
        return
    lines = rows[LINE].bottom_k(SAMPLES).sort().to_list()
    tally.leave_out(table, why, lines, bad=bad, count=rows.height)
