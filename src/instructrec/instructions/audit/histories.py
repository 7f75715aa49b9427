"""Leaks of time: items that lie after the split point, and targets of another split."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.instructions.audit.base import Finding, RowCheck, findings


class Histories(RowCheck):
    """A history lies before its target, and the target belongs to the row's split.

    Args:
        dataset: What the corpus was made from; read user by user, never as a whole.
        protocol: The corpus's.
    """

    name = "future"
    asks = "no history holds an item from after the split point, and every target is its split's"

    def __init__(self, dataset: Dataset, protocol: Protocol) -> None:
        self.dataset = dataset
        self.protocol = protocol

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """See `Check.look`."""
        rows = rows.filter(pl.col("user_id").is_not_null()).select(
            "row", "user_id", "item_id", "history_ids"
        )
        if rows.is_empty():
            return
        # The file is sorted by user, so that a range of them is read, not all of it.
        users = pl.col("user_id").is_between(
            pl.lit(rows["user_id"].min()), pl.lit(rows["user_id"].max())
        )
        events = events_of(self.dataset, self.protocol, users)
        pair = ["user_id", "item_id"]
        when = pl.col("position")
        at = (when.max() if split == "train" else when.min()).alias("at")
        targets = events.filter(pl.col("split") == split).group_by(pair).agg(at)
        rows = rows.join(targets, on=pair, how="left")
        told = pl.format("its target {} is no {} item of its user", "item_id", pl.lit(split))
        yield from findings(split, rows.filter(pl.col("at").is_null()).with_columns(reason=told))
        known = events.group_by(pair).agg(first=when.min(), of=pl.col("split").first())
        seen = (
            rows.filter(pl.col("at").is_not_null()).explode("history_ids").drop_nulls("history_ids")
        )
        seen = seen.join(known, left_on=["user_id", "history_ids"], right_on=pair, how="left")
        held_out = (
            pl.col("of") != "train" if self.protocol is Protocol.ITEMS else pl.lit(value=False)
        )
        wrong = seen.filter(
            pl.col("first").is_null() | (pl.col("first") >= pl.col("at")) | held_out
        )
        reason = (
            pl.when(pl.col("first").is_null())
            .then(pl.format("its history holds {}, which its user never had", "history_ids"))
            .otherwise(pl.format("its history holds {}, from after the split point", "history_ids"))
        )
        named = wrong.with_columns(reason=reason).unique("row", keep="first", maintain_order=True)
        yield from findings(split, named)


def events_of(dataset: Dataset, protocol: Protocol, users: pl.Expr) -> pl.DataFrame:
    """What some users did under a protocol: user_id, item_id, position, split.

    Args:
        dataset: Where they did it.
        protocol: Decides the splits; under ``items`` an event's split is its item's.
        users: Which, as a condition on ``user_id``.
    """
    table = pl.scan_parquet(dataset.folder / "splits.parquet")
    by_item = protocol is Protocol.ITEMS
    kept = Protocol.LEAVE_ONE_OUT if by_item else protocol
    events = table.filter(pl.col("protocol") == kept.value, users)
    found = events.select("user_id", "item_id", "position", "split").collect()
    if not by_item:
        return found
    alone = pl.col("user_id").is_null() & pl.col("query_id").is_null()
    items = table.filter(pl.col("protocol") == protocol.value, alone)
    return found.drop("split").join(items.select("item_id", "split").collect(), on="item_id")
