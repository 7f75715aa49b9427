"""Leaks of place: where the target stands among candidates, and what orders them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import factorial, sqrt
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.dataset import Dataset
from instructrec.instructions.audit.base import MOST_NAMED, Finding, RowCheck, findings

LISTING = ("T1", "T3")
UNLIKELY = 1e-4
"""Places are uneven where chance would do this so rarely (chi-square)."""
UNEVEN = 1.5
"""And the fullest place has so many times its share."""
FEWEST = 10
"""Lists of one length that a verdict needs."""
ORDERED = 0.1
"""Lists follow an order where their mean rank correlation with it exceeds this"""
DEVIATIONS = 6.0
"""and chance by so many standard errors."""
Key = tuple[str, str, int]
Table = NDArray[np.int64]


def _lists(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that list candidates to choose from."""
    return rows.filter(pl.col("strategy") == "direct", pl.col("task").is_in(LISTING))


class Lists(RowCheck):
    """Every list holds its target, and nothing twice."""

    name = "candidates"
    asks = "every list of candidates holds the target once, and no item twice"

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """See `Check.look`."""
        ids = pl.col("candidate_ids")
        reason = (
            pl.when(~ids.list.contains(pl.col("item_id")))
            .then(pl.lit("the target is not among the candidates"))
            .when(ids.list.n_unique() < ids.list.len())
            .then(pl.lit("a candidate is listed twice"))
        )
        told = _lists(rows).with_columns(reason=reason)
        yield from findings(split, told.filter(pl.col("reason").is_not_null()))


class Places:
    """The target stands at every place of a list about equally often.

    A chi-square test against equal shares, for each split, task form and length of list with at
    least `FEWEST` lists; it fails where p < `UNLIKELY` and the fullest place has more than `UNEVEN`
    times its share.
    """

    name = "place"
    asks = "the target stands at every place of the list about equally often"

    def __init__(self) -> None:
        self._counts: dict[Key, NDArray[np.int64]] = {}
        self._rows: dict[Key, list[list[int]]] = {}

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """See `Check.look`."""
        table = _lists(rows).select(
            "row", "task", "item_id", "candidate_ids", size=pl.col("candidate_ids").list.len()
        )
        table = table.with_columns(place=pl.int_ranges(0, pl.col("size")))
        table = table.explode("candidate_ids", "place", empty_as_null=True).filter(
            pl.col("candidate_ids") == pl.col("item_id")
        )
        for (task, size), part in table.group_by("task", "size", maintain_order=True):
            key = (split, str(task), int(str(size)))
            counts = self._counts.setdefault(key, np.zeros(key[2], dtype=np.int64))
            counts += np.bincount(part["place"].to_numpy(), minlength=key[2])
            kept = self._rows.setdefault(key, [[] for _ in range(key[2])])
            for row, place in part.select("row", "place").iter_rows():
                if len(kept[place]) < MOST_NAMED:
                    kept[place].append(row)
        return iter(())

    def close(self) -> Iterator[Finding]:
        """See `Check.close`."""
        for key, counts in self._counts.items():
            split, task, _ = key
            p, share = _evenness(counts)
            if p < UNLIKELY and share * len(counts) > UNEVEN:
                place = int(counts.argmax())
                told = (
                    f"in {task} lists of {len(counts)} the target stands at place {place + 1} in "
                    f"{share:.0%} of {counts.sum():,} rows, as here"
                )
                for row in self._rows[key][place]:
                    yield Finding(split, row, told)

    def facts(self) -> dict[str, Any]:
        """See `Check.facts`."""
        told = []
        for (split, task, size), counts in sorted(self._counts.items()):
            p, share = _evenness(counts)
            told.append(
                {
                    "split": split,
                    "task": task,
                    "length": size,
                    "lists": int(counts.sum()),
                    "largest_share": round(share, 4),
                    "p": p,
                }
            )
        return {"places": told}


def _evenness(counts: NDArray[np.int64]) -> tuple[float, float]:
    """p of a chi-square test against equal shares, and the largest share."""
    from scipy.stats import chisquare

    total = int(counts.sum())
    if total < FEWEST or len(counts) < 2:
        return 1.0, float(counts.max() / max(total, 1))
    return float(chisquare(counts).pvalue), float(counts.max() / total)


class Orders:
    """Candidates are in no order: neither by id nor by the time their items came.

    For each order, split and length of list: lists that are sorted outright must not be more than
    chance makes (2 of length! lists), and the mean rank correlation of place and order must not
    exceed `ORDERED` by more than chance. An item's time is ``added_at`` where the dataset has it,
    else its first interaction; without a calendar only ids are looked at.
    """

    name = "order"
    asks = "no list of candidates is sorted by id or by time"

    def __init__(self, dataset: Dataset) -> None:
        keys = pl.DataFrame({"item_id": dataset.catalogue.item_ids}).with_row_index("by_id")
        self._orders = ["id"]
        times = _times(dataset)
        if times is not None:
            keys = keys.join(times, on="item_id", how="left")
            self._orders.append("time")
        self._keys = keys.with_columns(pl.col("by_id").cast(pl.Int64))
        self._lists: dict[tuple[str, str, int], int] = defaultdict(int)
        self._sums: dict[tuple[str, str, int], float] = defaultdict(float)
        self._sorted: dict[tuple[str, str, int], int] = defaultdict(int)
        self._named: dict[tuple[str, str, int], list[int]] = defaultdict(list)
        self._bent: dict[tuple[str, str, int], list[tuple[int, float]]] = defaultdict(list)

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """See `Check.look`."""
        table = _lists(rows).select("row", "candidate_ids", size=pl.col("candidate_ids").list.len())
        for (size,), part in table.filter(pl.col("size") > 2).group_by("size", maintain_order=True):
            width = int(str(size))
            flat = part.explode("candidate_ids").rename({"candidate_ids": "item_id"})
            keys = flat.join(self._keys, on="item_id", how="left", maintain_order="left")
            numbers = part["row"].to_numpy()
            for order in self._orders:
                values = keys[f"by_{order}"].fill_null(-1).to_numpy().reshape(-1, width)
                whole = (values >= 0).all(axis=1)
                self._add((split, order, width), values[whole], numbers[whole])
        return iter(())

    def _add(self, key: tuple[str, str, int], values: Table, rows: Table) -> None:
        if not len(values):
            return
        steps = np.diff(values, axis=1)
        is_sorted = (steps >= 0).all(axis=1) | (steps <= 0).all(axis=1)
        is_sorted &= values.min(axis=1) < values.max(axis=1)
        ranks = values.argsort(axis=1, kind="stable").argsort(axis=1).astype(np.float64)
        ranks -= ranks.mean(axis=1, keepdims=True)
        places = np.arange(key[2]) - (key[2] - 1) / 2
        correlations = ranks @ places / float(places @ places)
        self._lists[key] += len(values)
        self._sums[key] += float(correlations.sum())
        self._sorted[key] += int(is_sorted.sum())
        named = self._named[key]
        named += rows[is_sorted].tolist()[: MOST_NAMED - len(named)]
        strong = np.abs(correlations) > 0.5
        bent = self._bent[key]
        if len(bent) < MOST_NAMED:
            bent += zip(rows[strong].tolist(), correlations[strong].tolist(), strict=True)

    def close(self) -> Iterator[Finding]:
        """See `Check.close`."""
        for key, total in self._lists.items():
            split, order, size = key
            chance = total * 2 / factorial(size)
            if self._sorted[key] > chance + DEVIATIONS * sqrt(chance) + 2:
                for row in self._named[key]:
                    yield Finding(split, row, f"its candidates are sorted by {order}")
                continue
            mean = self._sums[key] / total
            if abs(mean) > ORDERED and abs(mean) * sqrt(total * (size - 1)) > DEVIATIONS:
                told = f"candidates follow {order} (mean rank correlation {mean:.2f}), as here"
                for row, own in self._bent[key]:
                    if own * mean > 0:
                        yield Finding(split, row, told)

    def facts(self) -> dict[str, Any]:
        """See `Check.facts`."""
        told = [
            {
                "split": split,
                "order": order,
                "length": size,
                "lists": total,
                "sorted": self._sorted[split, order, size],
                "mean_rank_correlation": round(self._sums[split, order, size] / total, 4),
            }
            for (split, order, size), total in sorted(self._lists.items())
        ]
        return {"orders": told}


def _times(dataset: Dataset) -> pl.DataFrame | None:
    """When each item came: item_id, by_time; none without a calendar."""
    items = dataset.catalogue.items
    if "added_at" in items.columns and items["added_at"].is_not_null().any():
        return items.select("item_id", by_time="added_at")
    if dataset.clock != "ms":
        return None
    first = dataset.interactions.group_by("item_id").agg(by_time=pl.col("timestamp").min())
    return first.collect(engine="streaming")
