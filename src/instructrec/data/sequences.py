"""Everybody's interactions in time order, as three flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.catalogue import Catalogue


@dataclass(frozen=True, eq=False)
class Sequences:
    """Item sequences of many users (compressed sparse rows).

    Attributes:
        user_ids: Users, in order of user_id.
        offsets: (users + 1,) int64; user u's events are ``offsets[u]:offsets[u + 1]``.
        rows: (events,) int64 rows of the catalogue, oldest first within a user.
    """

    user_ids: Sequence[str]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, interactions: pl.DataFrame, catalogue: Catalogue) -> Sequences:
        """Gather a frame that has user_id and item_id and is sorted by user and time."""
        numbers = catalogue.items.select("item_id").with_row_index("row")
        rows = interactions.select("item_id").join(
            numbers, on="item_id", how="left", maintain_order="left"
        )["row"]
        users = interactions["user_id"].rle()
        lengths = users.struct.field("len").to_numpy()
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(users.struct.field("value").to_list(), offsets, rows.to_numpy().astype(np.int64))

    def __len__(self) -> int:
        return len(self.user_ids)

    def __getitem__(self, user: int) -> NDArray[np.int64]:
        """Rows of the user with this number, oldest first."""
        return self.rows[self.offsets[user] : self.offsets[user + 1]]

    @cached_property
    def index(self) -> dict[str, int]:
        """User number by user id."""
        return {user_id: number for number, user_id in enumerate(self.user_ids)}

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(users,) events of each."""
        return np.diff(self.offsets)

    def counts(self, items: int) -> NDArray[np.int64]:
        """(items,) events of each catalogue row."""
        return np.bincount(self.rows, minlength=items).astype(np.int64)
