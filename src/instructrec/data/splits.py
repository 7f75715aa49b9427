"""What is train, validation and test: leave-one-out, by item, by time.

``splits.parquet`` is the one place that says it: protocol, user_id?, query_id?, item_id, position?,
split. ``position`` counts a user's interactions from 0, so that a repeated item stays unambiguous.
Dislikes are in no split: they are never a target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.errors import UsageError
from instructrec.protocols import Rows

SPLIT_SCHEMA = pl.Schema(
    {
        "protocol": pl.String(),
        "user_id": pl.String(),
        "query_id": pl.String(),
        "item_id": pl.String(),
        "position": pl.Int64(),
        "split": pl.String(),
    }
)
MIN_EVENTS = 3
"""A user with fewer interactions has no validation and no test target."""


class Protocol(StrEnum):
    """How test targets are set apart."""

    LEAVE_ONE_OUT = "leave-one-out"
    ITEMS = "items"
    TIME = "time"

    @classmethod
    def parse(cls, text: str) -> Protocol:
        """Read a protocol's name.

        Raises:
            UsageError: There is none of that name.
        """
        try:
            return cls(text)
        except ValueError:
            names = ", ".join(cls)
            raise UsageError(f"{text!r} is not a protocol", f"Use one of {names}") from None


def make_splits(
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    queries: pl.DataFrame | None,
    *,
    clock: str,
    seed: int,
) -> pl.DataFrame:
    """Split a dataset under every protocol that its clock allows.

    - leave-one-out (paper §4.1): a user's last interaction is test, the one before validation.
    - items: items 80/10/10 at random, their queries with them (paper's product search).
    - time: the last tenth of all events is test, the tenth before it validation (``ms`` only).

    Args:
        interactions: user_id, item_id, timestamp, event?; sorted by user and time.
        items: item_id.
        queries: query_id, item_id, relevance; or none.
        clock: ``ms`` or ``order``.
        seed: Seeds the item split.

    Returns:
        A frame of `SPLIT_SCHEMA`.
    """
    events = interactions.select(
        name
        for name in ("user_id", "item_id", "timestamp", "event")
        if name in interactions.columns
    ).with_columns(position=_place(interactions["user_id"])[0])
    if "event" in events.columns:
        events = events.filter(pl.col("event").ne_missing("dislike")).drop("event")
    tables = [_leave_one_out(events), *_by_item(items, queries, seed)]
    if clock == "ms" and not events.is_empty():
        tables.append(_by_time(events))
    return pl.concat([_complete(table) for table in tables])


def _place(users: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Each row's place among its user's, from 0, and how many those are; users lie together."""
    lengths = users.rle().struct.field("len").to_numpy().astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(users), dtype=np.int64) - np.repeat(starts, lengths)
    return pl.Series(place), pl.Series(np.repeat(lengths, lengths))


def _leave_one_out(events: pl.DataFrame) -> pl.DataFrame:
    place, size = (pl.lit(values) for values in _place(events["user_id"]))
    from_end = size - 1 - place
    held_out = size >= MIN_EVENTS
    split = (
        pl.when(held_out & (from_end == 0))
        .then(pl.lit("test"))
        .when(held_out & (from_end == 1))
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    return events.with_columns(split=split, protocol=pl.lit(Protocol.LEAVE_ONE_OUT.value))


def _by_time(events: pl.DataFrame) -> pl.DataFrame:
    times = events["timestamp"].sort()
    first_validation, first_test = times[int(0.8 * len(times))], times[int(0.9 * len(times))]
    split = (
        pl.when(pl.col("timestamp") >= first_test)
        .then(pl.lit("test"))
        .when(pl.col("timestamp") >= first_validation)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    return events.with_columns(split=split, protocol=pl.lit(Protocol.TIME.value))


def _by_item(items: pl.DataFrame, queries: pl.DataFrame | None, seed: int) -> list[pl.DataFrame]:
    ids = items["item_id"].sort()
    share = np.random.default_rng(seed).permutation(len(ids)) / max(len(ids), 1)
    names = np.where(share < 0.8, "train", np.where(share < 0.9, "validation", "test"))
    table = pl.DataFrame({"item_id": ids, "split": names}).with_columns(
        protocol=pl.lit(Protocol.ITEMS.value)
    )
    if queries is None:
        return [table]
    return [
        table,
        queries.select("query_id", "item_id")
        .unique()
        .sort("query_id", "item_id")
        .join(table, on="item_id", maintain_order="left"),
    ]


def _complete(table: pl.DataFrame) -> pl.DataFrame:
    columns = [
        (pl.col(name) if name in table.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in SPLIT_SCHEMA.items()
    ]
    return table.select(columns)


@dataclass(frozen=True, eq=False)
class Targets:
    """What is to be predicted in one split: one target a user.

    Attributes:
        user_ids: n users, in order of user_id.
        rows: (n,) catalogue rows of the targets.
        positions: (n,) place of the target among the user's interactions.
        histories: n arrays of catalogue rows: all that the user did before, oldest first.
        places: n arrays: the place of each item of a history among the user's interactions.
    """

    user_ids: list[str]
    rows: Rows
    positions: NDArray[np.int64]
    histories: list[NDArray[np.int64]]
    places: list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.user_ids)


@dataclass(frozen=True, eq=False)
class Split:
    """One protocol's view of a dataset.

    Attributes:
        protocol: Which.
        events: user_id, item_id, position, split of every interaction, sorted by user and time.
        items: item_id, split (protocol ``items`` only; else empty).
        catalogue: The items.
    """

    protocol: Protocol
    events: pl.DataFrame
    items: pl.DataFrame
    catalogue: Catalogue

    def train(self) -> Sequences:
        """Everybody's training interactions; under ``items`` those with training items."""
        return Sequences.of(self.events.filter(pl.col("split") == "train"), self.catalogue)

    def before_test(self) -> Sequences:
        """Everybody's training and validation interactions: what is known when the test is made.

        Choices (weights, early stopping) must have been made before, on what `train` alone gives.
        """
        return Sequences.of(self.events.filter(pl.col("split") != "test"), self.catalogue)

    def targets(self, split: str) -> Targets:
        """The users' targets in ``validation`` or ``test``.

        Under leave-one-out the one interaction held out; under time and items the user's first
        interaction of that split that has something before it. The history is what lies before
        the target; under items only training items are in it.

        Args:
            split: ``train`` (the last training interaction), ``validation`` or ``test``.
        """
        everything = Sequences.of(self.events, self.catalogue)
        kinds = self.events["split"].to_numpy()
        positions = self.events["position"].to_numpy()
        found = Targets([], np.zeros(0, np.int64), np.zeros(0, np.int64), [], [])
        chosen: list[int] = []
        for number, user_id in enumerate(everything.user_ids):
            start, stop = everything.offsets[number], everything.offsets[number + 1]
            places = np.flatnonzero(kinds[start:stop] == split)
            if split == "train":
                places = places[::-1]
            if not len(places):
                continue
            before = np.arange(start, start + places[0])
            if self.protocol is Protocol.ITEMS:
                before = before[kinds[before] == "train"]
            if len(before):
                found.user_ids.append(user_id)
                found.histories.append(everything.rows[before])
                found.places.append(positions[before])
                chosen.append(start + int(places[0]))
        return replace(found, rows=everything.rows[chosen], positions=positions[chosen])
