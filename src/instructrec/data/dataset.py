"""A Dataset: items, interactions, queries, users and splits as one folder of Parquet files."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Protocol, Split, make_splits
from instructrec.errors import DataError, UsageError
from instructrec.folders import Draft, read_manifest

ITEM_COLUMNS = pl.Schema(
    {
        "item_id": pl.String(),
        "title": pl.String(),
        "categories": pl.List(pl.String()),
        "brand": pl.String(),
        "price": pl.Float64(),
        "currency": pl.String(),
        "description": pl.String(),
        "in_stock": pl.Boolean(),
        "added_at": pl.Int64(),
        "url": pl.String(),
    }
)
"""Columns of items.parquet; all but item_id and title may be missing, further ones are kept."""

INTERACTION_COLUMNS = pl.Schema(
    {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "timestamp": pl.Int64(),
        "rating": pl.Float32(),
        "review": pl.String(),
        "review_title": pl.String(),
        "event": pl.String(),
        "weight": pl.Float32(),
    }
)
"""Columns of interactions.parquet; all but the first three may be missing."""

QUERY_COLUMNS = pl.Schema(
    {
        "query_id": pl.String(),
        "text": pl.String(),
        "item_id": pl.String(),
        "relevance": pl.Float32(),
    }
)
EVENTS = ("view", "cart", "purchase", "like", "dislike")
CLOCKS = ("ms", "order")
ROW_GROUP = 2**16
"""Rows of a row group of the tables: what is read at least for the events of a few users."""


@dataclass
class Tables:
    """The tables of a dataset before they are written.

    Attributes:
        items: Columns of `ITEM_COLUMNS` and further ones; item_id unique, title never empty.
        interactions: Columns of `INTERACTION_COLUMNS`; every item_id is in items.
        queries: Columns of `QUERY_COLUMNS`, or none.
        users: user_id and profile columns, or none.
        clock: ``ms`` when timestamps are milliseconds, ``order`` when they are positions.
    """

    items: pl.LazyFrame
    interactions: pl.LazyFrame
    queries: pl.LazyFrame | None = None
    users: pl.LazyFrame | None = None
    clock: str = "ms"


def write_tables(draft: Draft, tables: Tables, *, seed: int = 0) -> None:
    """Sort, split and write the tables into a folder draft of kind ``dataset``.

    Args:
        draft: From `instructrec.folders.new_folder`.
        tables: Clean tables; interactions hold what is to be kept of repeats.
        seed: Seeds the item split.

    Raises:
        DataError: There is no item left, or neither an interaction nor a query.
    """
    items = tables.items.sort("item_id").collect()
    events = _in_order(tables.interactions.collect())
    queries = (
        None if tables.queries is None else tables.queries.sort("query_id", "item_id").collect()
    )
    # A catalogue with queries alone is enough for product search.
    if items.is_empty() or (events.is_empty() and (queries is None or queries.is_empty())):
        raise DataError(
            f"nothing is left to write: {items.height} items, {events.height} interactions",
            "Loosen --k-core, --min-rating or the column map",
        )
    splits = make_splits(events, items, queries, clock=tables.clock, seed=seed)
    frames = {"items": items, "interactions": events, "splits": splits}
    if queries is not None:
        frames["queries"] = queries
    if tables.users is not None:
        frames["users"] = tables.users.sort("user_id").collect()
    for name, frame in frames.items():
        frame.write_parquet(
            draft.path / f"{name}.parquet", compression="zstd", row_group_size=ROW_GROUP
        )
        draft.rows[name] = frame.height
    draft.facts["clock"] = tables.clock


def _in_order(events: pl.DataFrame) -> pl.DataFrame:
    """Sorted by user and time; a look whether they are costs far less than sorting again."""
    user, time = pl.col("user_id"), pl.col("timestamp")
    before = user.shift() < user
    good = before | ((user.shift() == user) & (time.shift() <= time))
    if events.select(good.fill_null(True).all()).item():
        return events
    return events.sort("user_id", "timestamp", maintain_order=True)


class Span(NamedTuple):
    """Ids from ``first`` on, up to but without ``stop``; to the end where that is none."""

    first: str
    stop: str | None

    def holds(self, column: str) -> pl.Expr:
        """Whether the ids of a column lie in it."""
        inside = pl.col(column) >= self.first
        return inside if self.stop is None else inside & (pl.col(column) < self.stop)


NOBODY = Span("", "")


class Dataset:
    """A dataset folder, read when asked for.

    Args:
        folder: A complete folder of kind ``dataset``.

    Raises:
        FolderError: The folder is absent, incomplete or of another kind.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(self.folder, "dataset")
        self._spans: dict[str, Span] = {}

    def part(self, *, users: Span = NOBODY, queries: Span = NOBODY) -> Dataset:
        """This dataset as if it had these users and queries alone, with the whole catalogue.

        Memory is bounded by their number: what is read is theirs and little more.
        """
        shared = self.catalogue  # Read once, however many parts there are.
        narrowed = copy(self)
        for name in ("queries", "users", "sequences"):
            narrowed.__dict__.pop(name, None)
        narrowed.__dict__["catalogue"] = shared
        narrowed._spans = {"user_id": users, "query_id": queries}
        return narrowed

    def _scan(self, name: str, column: str) -> pl.LazyFrame:
        """A table, those rows alone whose ids are wanted."""
        table = pl.scan_parquet(self.folder / f"{name}.parquet")
        return table.filter(self._spans[column].holds(column)) if column in self._spans else table

    @property
    def clock(self) -> str:
        """``ms`` or ``order``."""
        return str(self.manifest["clock"])

    @cached_property
    def catalogue(self) -> Catalogue:
        """The items, in order of item_id."""
        return Catalogue(pl.read_parquet(self.folder / "items.parquet"))

    @property
    def interactions(self) -> pl.LazyFrame:
        """All interactions, sorted by user and time."""
        return self._scan("interactions", "user_id")

    @cached_property
    def queries(self) -> pl.DataFrame | None:
        """Search queries with the items they are for, or none."""
        return self._optional("queries", "query_id")

    @cached_property
    def users(self) -> pl.DataFrame | None:
        """Facts about users, or none."""
        return self._optional("users", "user_id")

    def _optional(self, name: str, column: str) -> pl.DataFrame | None:
        if not (self.folder / f"{name}.parquet").is_file():
            return None
        return self._scan(name, column).collect()

    @property
    def has_reviews(self) -> bool:
        """Whether any interaction has a review (without them there is no I1)."""
        if "review" not in self.interactions.collect_schema():
            return False
        return bool(self.interactions.select(pl.col("review").is_not_null().any()).collect().item())

    @cached_property
    def sequences(self) -> Sequences:
        """Everybody's whole history without dislikes; for serving, never for evaluation."""
        events = self.interactions
        if "event" in events.collect_schema():
            events = events.filter(pl.col("event").ne_missing("dislike"))
        return Sequences.of(events.select("user_id", "item_id").collect(), self.catalogue)

    def check_protocol(self, protocol: Protocol | str) -> Protocol:
        """Whether the dataset can be split so.

        Raises:
            UsageError: The protocol needs a calendar and the dataset's clock is ``order``.
        """
        protocol = Protocol.parse(protocol)
        if protocol is Protocol.TIME and self.clock != "ms":
            raise UsageError(
                f"{self.folder} has no calendar (clock: order), so it has no time split",
                "Use --protocol leave-one-out",
            )
        return protocol

    def split(self, protocol: Protocol | str) -> Split:
        """What is train, validation and test under a protocol.

        Raises:
            UsageError: The protocol needs a calendar and the dataset's clock is ``order``.
        """
        protocol = self.check_protocol(protocol)
        table = pl.scan_parquet(self.folder / "splits.parquet")
        items = table.filter(
            pl.col("protocol") == protocol.value,
            pl.col("user_id").is_null() & pl.col("query_id").is_null(),
        )
        item_split = items.select("item_id", "split").collect()
        by_item = protocol is Protocol.ITEMS
        events = self._scan("splits", "user_id").filter(
            pl.col("protocol") == (Protocol.LEAVE_ONE_OUT.value if by_item else protocol.value),
            pl.col("user_id").is_not_null(),
        )
        if by_item:
            events = events.drop("split").join(item_split.lazy(), on="item_id")
        events = events.select("user_id", "item_id", "position", "split")
        ordered = events.sort("user_id", "position").collect()
        return Split(protocol, ordered, item_split, self.catalogue)
