"""The same recommender over a catalogue that has changed: new items, new facts of old ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import ITEM_COLUMNS, Dataset
from instructrec.errors import UsageError
from instructrec.recommender import Recommender
from instructrec.retrieval import load_retrievers

RETRIEVERS = "retrievers-serving"
"""Where a run has what finds candidates in use."""


def with_items(
    recommender: Recommender, run: Path, changes: Sequence[Mapping[str, Any]]
) -> Recommender:
    """A recommender that knows changed items as well; the old one stays as it is.

    An item that nobody took yet has its text: words, vectors and the language model speak for it.

    Args:
        recommender: Over the run's own catalogue, or over one changed before.
        run: Where its retrievers lie.
        changes: Each an ``item_id`` with the columns that are new or have changed.

    Raises:
        UsageError: A new item has no title, a column is not known, or a value is of another type.
    """
    known = recommender.catalogue
    catalogue = Catalogue(changed_items(known.items, changes))
    return Recommender(
        _over(recommender.dataset, catalogue),
        load_retrievers(run / RETRIEVERS, catalogue),
        recommender.lm.over(catalogue),
        recommender.fusion_file,
        recommender.max_history,
    )


def changed_items(items: pl.DataFrame, changes: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """An items table with changes applied, in order of item_id.

    Args:
        items: See `instructrec.data.dataset`.
        changes: See `with_items`; a later change of an item goes before an earlier one.

    Raises:
        UsageError: See `with_items`.
    """
    schema = {**ITEM_COLUMNS, **items.schema}
    touched = [str(change["item_id"]) for change in changes]
    is_touched = pl.col("item_id").is_in(touched)
    rows = {row["item_id"]: row for row in items.filter(is_touched).to_dicts()}
    for item_id, change in zip(touched, changes, strict=True):
        for column in change:
            if column not in schema:
                raise UsageError(
                    f"item {item_id}: there is no column {column!r}", f"Use {', '.join(schema)}"
                )
        rows[item_id] = {**rows.get(item_id, {}), **change}
        if not str(rows[item_id].get("title") or "").strip():
            raise UsageError(f"item {item_id} is new and has no title", "Give it a title")
    used = [name for name in schema if name in items.columns or _is_told(rows.values(), name)]
    try:
        wanted = {name: schema[name] for name in used}
        fresh = pl.DataFrame(list(rows.values()), schema=wanted, strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        raise UsageError("a value is not of its column's type", "See the items table") from None
    return pl.concat([items.filter(~is_touched), fresh], how="diagonal").sort("item_id")


def _is_told(rows: Any, column: str) -> bool:
    return any(row.get(column) is not None for row in rows)


def _over(dataset: Dataset, catalogue: Catalogue) -> Dataset:
    """A dataset whose items are those of a catalogue that has all of its own and more."""
    before = dataset.catalogue.item_ids
    sequences = dataset.sequences
    rows = catalogue.rows(before)[sequences.rows]
    changed = copy(dataset)
    changed.__dict__["catalogue"] = catalogue
    changed.__dict__["sequences"] = replace(sequences, rows=rows)
    return changed
