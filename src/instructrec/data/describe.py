"""Describes a dataset in figures and pictures: size, sparsity, lengths, skew, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.dataset import Dataset
from instructrec.data.splits import MIN_EVENTS
from instructrec.folders import Draft, new_folder, write_json

PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
Counts = NDArray[np.int64]

_NEEDS = {
    "interactions": "no history (P1, P2): product search only",
    "reviews": "no vague intentions (I1, I1*) out of reviews",
    "categories": "no specific intentions (I2)",
    "calendar": "no time split and no time of day or season as context",
    "ratings": "no likes and dislikes told apart in preferences (P2)",
    "queries": "no search queries that people wrote; intentions stand for them",
    "profiles": "no facts about users beside their history",
    "brand": "no filter or wish by brand",
    "price": "no filter or wish by price",
    "description": "no item text beyond title, brand and categories",
}
"""What a dataset may lack → what it then cannot give."""


@dataclass(frozen=True, eq=False)
class Description:
    """A dataset in figures, and the counts that its pictures are drawn from.

    Attributes:
        figures: Plain JSON values.
        lengths: (users,) interactions of each.
        popularity: (items,) interactions of each.
        title_words: (items,) words of each title.
    """

    figures: dict[str, Any]
    lengths: Counts
    popularity: Counts
    title_words: Counts


def gini(counts: Counts) -> float:
    """How unequal counts are: 0 when all are the same, towards 1 when one has everything."""
    ordered = np.sort(counts.astype(np.float64))
    total = ordered.sum()
    if total == 0:
        return 0.0
    places = np.arange(1, len(ordered) + 1)
    return float((2 * places - len(ordered) - 1) @ ordered / (len(ordered) * total))


def top_share(counts: Counts, share: float) -> float:
    """The part of everything that the largest ``share`` of the counts have (at least one)."""
    if not counts.sum():
        return 0.0
    top = max(1, round(len(counts) * share))
    return float(np.sort(counts)[::-1][:top].sum() / counts.sum())


def percentiles(counts: Counts) -> dict[str, float]:
    """Mean, least, greatest and `PERCENTILES` of some counts."""
    if not len(counts):
        return {}
    found = {f"p{q}": float(value) for q, value in zip(PERCENTILES, _at(counts), strict=True)}
    return {
        "mean": round(float(counts.mean()), 3),
        "min": float(counts.min()),
        **found,
        "max": float(counts.max()),
    }


def _at(counts: Counts) -> NDArray[np.float64]:
    # Whole numbers that occur, not means of two of them.
    return np.percentile(counts, PERCENTILES, method="lower")


def describe(dataset: Dataset) -> Description:
    """Count what is there and name what is missing.

    Args:
        dataset: Any dataset.

    Returns:
        Figures by group: ``counts``, ``lengths``, ``titles``, ``popularity``, ``ratings``,
        ``time``, ``filled`` (share of rows that have a column), ``missing`` (with what follows).
    """
    items = dataset.catalogue.items
    events = dataset.interactions
    lengths = events.group_by("user_id").len().sort("user_id").collect()["len"].to_numpy()
    by_item = events.group_by("item_id").len().collect()
    popularity = (
        items.select("item_id")
        .join(by_item, on="item_id", how="left", maintain_order="left")["len"]
        .fill_null(0)
        .to_numpy()
        .astype(np.int64)
    )
    words = items["title"].str.count_matches(r"\S+").to_numpy().astype(np.int64)
    filled = _filled(dataset)
    figures = {
        "dataset": dataset.folder.name,
        "clock": dataset.clock,
        "counts": _counts(dataset, lengths.astype(np.int64), popularity),
        "lengths": percentiles(lengths.astype(np.int64)),
        "titles": {**percentiles(words), "distinct": items["title"].n_unique()},
        "popularity": {
            "gini": round(gini(popularity), 4),
            "top_1_percent": round(top_share(popularity, 0.01), 4),
            "top_10_percent": round(top_share(popularity, 0.1), 4),
            "items_without_interactions": int((popularity == 0).sum()),
        },
        "ratings": _ratings(dataset),
        "events": _events(dataset),
        "time": _time(dataset),
        "queries": _queries(dataset),
        "filled": filled,
        "missing": _missing(dataset, filled),
    }
    return Description(figures, lengths.astype(np.int64), popularity, words)


def _counts(dataset: Dataset, lengths: Counts, popularity: Counts) -> dict[str, Any]:
    users, items, events = len(lengths), len(popularity), int(lengths.sum())
    pairs = dataset.interactions.select(pl.struct("user_id", "item_id").n_unique()).collect().item()
    density = pairs / (users * items) if users and items else 0.0
    return {
        "users": users,
        "items": items,
        "interactions": events,
        "users_with_targets": int((lengths >= MIN_EVENTS).sum()),
        "repeats": events - int(pairs),
        "density": float(f"{density:.4g}"),
        "sparsity": round(1 - density, 6),
    }


def _ratings(dataset: Dataset) -> dict[str, int]:
    if "rating" not in dataset.interactions.collect_schema():
        return {}
    rating = pl.col("rating")
    table = dataset.interactions.group_by(rating).len().sort("rating").collect()
    return {f"{value:g}": count for value, count in table.drop_nulls().iter_rows()}


def _events(dataset: Dataset) -> dict[str, int]:
    if "event" not in dataset.interactions.collect_schema():
        return {}
    table = dataset.interactions.group_by("event").len().sort("event").collect()
    return {str(name): count for name, count in table.drop_nulls().iter_rows()}


def _time(dataset: Dataset) -> dict[str, str]:
    time = pl.col("timestamp")
    first, last = dataset.interactions.select(time.min().alias("a"), time.max()).collect().row(0)
    if dataset.clock != "ms" or first is None:
        return {}
    return {"first": _day(first), "last": _day(last)}


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).date().isoformat()


def _queries(dataset: Dataset) -> dict[str, Any]:
    table = dataset.queries
    if table is None:
        return {}
    distinct = table.unique("query_id")
    words = distinct["text"].str.count_matches(r"\S+").to_numpy().astype(np.int64)
    return {
        "queries": distinct.height,
        "judgements": table.height,
        "relevant": int((table["relevance"] > 0).sum()),
        "words": percentiles(words),
    }


def _filled(dataset: Dataset) -> dict[str, dict[str, float]]:
    """Table → column → the share of rows that say something in it."""
    tables = {"items": dataset.catalogue.items.lazy(), "interactions": dataset.interactions}
    if dataset.users is not None:
        tables["users"] = dataset.users.lazy()
    filled = {}
    for name, table in tables.items():
        parts = [_says(column, kind).mean() for column, kind in table.collect_schema().items()]
        row = table.select(parts).collect().row(0, named=True)
        filled[name] = {column: round(share, 4) for column, share in row.items() if share}
    return filled


def _says(column: str, kind: pl.DataType) -> pl.Expr:
    value = pl.col(column)
    said = value.list.len() > 0 if isinstance(kind, pl.List) else value.is_not_null()
    return said.fill_null(False).alias(column)


def _missing(dataset: Dataset, filled: dict[str, dict[str, float]]) -> dict[str, str]:
    there = {
        "interactions": bool(filled["interactions"].get("user_id")),
        "reviews": bool(filled["interactions"].get("review")),
        "categories": bool(filled["items"].get("categories")),
        "calendar": dataset.clock == "ms",
        "ratings": bool(filled["interactions"].get("rating")),
        "queries": dataset.queries is not None,
        "profiles": dataset.users is not None,
        **{name: bool(filled["items"].get(name)) for name in ("brand", "price", "description")},
    }
    return {name: _NEEDS[name] for name, found in there.items() if not found}


def write_description(
    description: Description, dataset: Dataset, out: Path, *, replace: bool
) -> None:
    """Write description.json and its pictures into a folder of kind ``description``.

    Raises:
        FolderError: The folder exists already.
    """
    with new_folder(
        out,
        "description",
        command="instructrec data describe",
        inputs={"dataset": dataset.folder},
        replace=replace,
    ) as draft:
        write_json(draft.path / "description.json", description.figures)
        _draw(description, draft)


def _draw(description: Description, draft: Draft) -> None:
    lengths, popularity = description.lengths, description.popularity
    ranked = np.sort(popularity[popularity > 0])[::-1]
    _histogram(draft.path / "lengths.png", lengths, "interactions of a user", "users")
    _histogram(draft.path / "title_words.png", description.title_words, "words of a title", "items")
    figure, axes = _figure("rank of the item", "interactions")
    axes.loglog(np.arange(1, len(ranked) + 1), ranked)
    shown = description.figures["popularity"]
    axes.set_title(f"Gini {shown['gini']:.2f}, top 1 % of items: {shown['top_1_percent']:.0%}")
    _save(figure, draft.path / "popularity.png")


def _histogram(path: Path, counts: Counts, across: str, up: str) -> None:
    figure, axes = _figure(across, up)
    # The last hundredth would squeeze all others into the first bars.
    top = int(np.percentile(counts, 99)) if len(counts) else 1
    axes.hist(counts.clip(max=top), bins=_bins(counts, top))
    axes.set_title(f"the greatest hundredth stands at {top}")
    _save(figure, path)


def _bins(counts: Counts, top: int) -> Sequence[float]:
    first = int(counts.min()) if len(counts) else 0
    step = max(1, -(-(top - first + 1) // 40))
    return [edge - 0.5 for edge in range(first, top + step + 1, step)]


def _figure(across: str, up: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    # The program's version in the picture would make its bytes depend on it.
    figure.savefig(path, dpi=120, metadata={"Software": None})
