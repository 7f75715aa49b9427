"""The items of a Dataset as arrays: row numbers stand for items wherever scores are computed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from instructrec.protocols import Rows

LONGEST_ATTRIBUTE = 40
"""Characters that the values of an attribute have, nineteen times out of twenty at most."""
_TOLD_APART = ("item_id", "title", "brand", "currency", "description")
_NO_FACT = re.compile(
    r"(?:^|_)(?:ids?|urls?|uri|links?|slug|hash|asin|isbn|ean|upc|gtin|sku|image|images|img|photo)"
    r"(?:_|$|\d)",
    re.IGNORECASE,
)


def _is_short_fact(values: pl.Series) -> bool:
    """Whether values are short and shared by items: no texts, no addresses, no codes."""
    if values.is_empty():
        return False
    lengths = values.str.len_chars()
    return bool(
        (lengths.quantile(0.95) or 0) <= LONGEST_ATTRIBUTE
        and not values.str.contains("://", literal=True).any()
        and (len(values) < 20 or values.n_unique() < 0.9 * len(values))
    )


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items in order of item_id, so that a smaller row number wins a tie.

    Attributes:
        items: The items table, sorted by item_id (see `instructrec.data.dataset`).
    """

    items: pl.DataFrame

    def __len__(self) -> int:
        return self.items.height

    @cached_property
    def item_ids(self) -> list[str]:
        """Item ids by row."""
        return self.items["item_id"].to_list()

    @cached_property
    def titles(self) -> list[str]:
        """Titles by row; different items may share one."""
        return self.items["title"].to_list()

    @cached_property
    def index(self) -> dict[str, int]:
        """Row number by item id."""
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    @cached_property
    def texts(self) -> list[str]:
        """What lexical, dense and sequential models read of an item: title, brand, categories."""
        parts = [pl.col("title")]
        if "brand" in self.items.columns:
            parts.append(pl.col("brand"))
        if "categories" in self.items.columns:
            parts.append(pl.col("categories").list.join(", "))
        text = pl.concat_str(parts, separator=". ", ignore_nulls=True)
        return self.items.select(text.str.strip_chars(" .,").alias("text"))["text"].to_list()

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Further columns that say something short of an item: platform, kind, colour."""
        columns = (
            column
            for column in self.items.select(pl.col(pl.String)).iter_columns()
            if column.name not in _TOLD_APART and not _NO_FACT.search(column.name)
        )
        return tuple(column.name for column in columns if _is_short_fact(column.drop_nulls()))

    def rows(self, item_ids: Iterable[str]) -> Rows:
        """Row numbers of item ids, -1 for an id that is not in the catalogue."""
        return np.fromiter((self.index.get(item, -1) for item in item_ids), dtype=np.int64)

    def padded_rows(self, lists: Sequence[Sequence[str]]) -> Rows:
        """Row numbers of many lists of ids: (lists, longest), filled with -1."""
        width = max((len(ids) for ids in lists), default=0)
        rows = np.full((len(lists), width), -1, dtype=np.int64)
        for line, ids in zip(rows, lists, strict=True):
            line[: len(ids)] = self.rows(ids)
        return rows
