"""Asks a teacher for everybody's preferences and intentions (paper §3.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import polars as pl

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol, Targets
from instructrec.hashing import stable_hash
from instructrec.instructions.annotations import (
    PREFERENCE_VIEWS,
    QUERY_VIEW,
    SPECIFIC_VIEW,
    VAGUE_VIEWS,
    WRITTEN_SCHEMA,
)
from instructrec.instructions.requests import MAX_HISTORY
from instructrec.instructions.teachers.base import Ask, ItemFacts, Teacher, Written
from instructrec.instructions.titles import copied
from instructrec.protocols import SILENT, Progress, Rows

TEXT_KINDS = ("P2", "I1", "I2")
"""What a teacher writes, as scenarios name it."""
BATCH = 4096
"""Texts that are asked for at once, or a few more."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """What came of an annotation.

    Attributes:
        frame: Texts of `WRITTEN_SCHEMA`, in the order asked.
        asked: How many texts were asked for.
        leaked: How many answers named the target and were dropped.
        silent: How many answers were empty.
    """

    frame: pl.DataFrame
    asked: int
    leaked: int
    silent: int


def annotate(
    dataset: Dataset,
    protocol: Protocol | str,
    teacher: Teacher,
    *,
    max_history: int = MAX_HISTORY,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Annotated:
    """Write P2, I1, I1* and I2 for a dataset under a protocol.

    Preferences come from what lies before a target only: those of training targets know less than
    those of validation, which serve test as well, so that none knows a held-out item. Intentions
    come from the target's own review, I2 from its categories. An answer that gives the title of
    the item it is about away, or nearly, is dropped and counted.

    Args:
        dataset: With reviews for I1, with categories for I2.
        protocol: How targets are set apart.
        teacher: Who writes.
        max_history: Items a sequence has at most, target included.
        seed: Handed to the teacher with every ask.
        progress: Told how far it is.

    Source: paper §3.2; docs/paper.md §2 for the views of preferences and intentions.
    """
    everything = chain(
        asks_of_users(dataset, protocol, max_history, teacher, seed),
        asks_of_items(dataset, range(len(dataset.catalogue)), teacher, seed),
    )
    return answered(everything, teacher, progress)


def answered(
    asks: Iterable[Sequence[Ask]], teacher: Teacher, progress: Progress = SILENT
) -> Annotated:
    """Ask a teacher and keep what may be kept.

    Args:
        asks: What belongs together comes together and is never asked apart: the views of one
            preference, of one review, of one item.
        teacher: Who writes.
        progress: Told how far it is.
    """
    columns: dict[str, list[str | None]] = {name: [] for name in WRITTEN_SCHEMA}
    asked = leaked = silent = 0
    for batch in progress.track(batches(asks), f"annotating with {teacher.name}"):
        for ask, written in zip(batch, teacher.write(batch), strict=True):
            asked += 1
            if not written.text.strip():
                silent += 1
            elif ask.item is not None and copied(written.text, ask.item.title):
                leaked += 1
            else:
                for name, value in zip(columns, _row(ask, written), strict=True):
                    columns[name].append(value)
    return Annotated(pl.DataFrame(columns, schema=WRITTEN_SCHEMA), asked, leaked, silent)


def _row(ask: Ask, written: Written) -> tuple[str | None, ...]:
    text = " ".join(written.text.split())
    return (ask.user_id, ask.item_id, ask.kind, ask.view, ask.split, text, written.by)


def batches(asks: Iterable[Sequence[Ask]]) -> Iterator[list[Ask]]:
    """Asks by about `BATCH`, what belongs together in one."""
    batch: list[Ask] = []
    for group in asks:
        batch += group
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def asks_of_users(
    dataset: Dataset,
    protocol: Protocol | str,
    max_history: int,
    teacher: Teacher,
    seed: int,
    kinds: Collection[str] = TEXT_KINDS,
) -> Iterator[list[Ask]]:
    """What is asked of a dataset's users: three views a preference, two a review of a target.

    A teacher that has texts already (``has_texts``) is asked where there is no review as well.
    Only texts of ``kinds`` (of `TEXT_KINDS`) are asked for.
    """
    has_texts = getattr(teacher, "has_texts", False)
    split = dataset.split(protocol)
    events = _Events(dataset)
    facts = item_facts(dataset, np.unique(dataset.sequences.rows))
    for name in ("train", "validation", "test"):
        targets = split.targets(name)
        if name != "test" and "P2" in kinds:
            yield from _preference_asks(targets, name, facts, events, max_history, seed)
        if "I1" in kinds and (events.reviews is not None or has_texts):
            for group in _intention_asks(targets, name, facts, events, dataset, seed):
                if has_texts or group[0].review:
                    yield group


def asks_of_items(
    dataset: Dataset,
    rows: Sequence[int],
    teacher: Teacher,
    seed: int,
    kinds: Collection[str] = TEXT_KINDS,
) -> Iterator[list[Ask]]:
    """What is asked of items alone: labels of those that have any, and a query where the teacher
    writes queries; both of all items of a teacher that has texts already (``has_texts``). Nothing
    where I2 is not among ``kinds``.
    """
    if "I2" not in kinds:
        return
    ids = dataset.catalogue.item_ids
    writes_queries = getattr(teacher, "writes_queries", False)
    has_texts = getattr(teacher, "has_texts", False)
    for row, item in item_facts(dataset, np.array(rows, dtype=np.int64)).items():
        views = [SPECIFIC_VIEW] * (bool(item.categories or item.attributes) or has_texts)
        views += [QUERY_VIEW] * writes_queries
        if views:
            yield [
                Ask(
                    kind="intention",
                    view=view,
                    item_id=ids[row],
                    item=item,
                    seed=stable_hash(seed, ids[row], view),
                )
                for view in views
            ]


def _preference_asks(
    targets: Targets,
    split: str,
    facts: Mapping[int, ItemFacts],
    events: _Events,
    max_history: int,
    seed: int,
) -> Iterator[list[Ask]]:
    for user_id, history, places in zip(
        targets.user_ids, targets.histories, targets.places, strict=True
    ):
        recent, at = history[-(max_history - 1) :], places[-(max_history - 1) :]
        items = tuple(
            events.dealt_with(facts[row], user_id, place)
            for row, place in zip(recent.tolist(), at.tolist(), strict=True)
        )
        group = []
        for view in PREFERENCE_VIEWS:
            number = stable_hash(seed, user_id, split, view)
            group.append(Ask("preference", view, user_id, None, split, items, None, "", number))
        yield group


def _intention_asks(
    targets: Targets,
    split: str,
    facts: Mapping[int, ItemFacts],
    events: _Events,
    dataset: Dataset,
    seed: int,
) -> Iterator[list[Ask]]:
    ids = dataset.catalogue.item_ids
    for user_id, row, position in zip(
        targets.user_ids, targets.rows.tolist(), targets.positions.tolist(), strict=True
    ):
        review = events.review(user_id, position)
        item = replace(facts[row], review=review)
        group = []
        for view in VAGUE_VIEWS:
            number = stable_hash(seed, user_id, ids[row], view)
            group.append(Ask("intention", view, user_id, ids[row], split, (), item, review, number))
        yield group


class _Events:
    """Ratings and reviews by user and position; positions count dislikes too, as in the splits."""

    def __init__(self, dataset: Dataset) -> None:
        frame = dataset.interactions
        names = frame.collect_schema().names()
        kept = [name for name in ("rating", "review") if name in names]
        table = frame.select("user_id", *kept).collect()
        users = table["user_id"].rle().struct.unnest()
        starts = users["len"].cum_sum() - users["len"]
        self.starts = dict(zip(users["value"].to_list(), starts.to_list(), strict=True))
        has_ratings = "rating" in kept and bool(table["rating"].is_not_null().any())
        self.ratings = table["rating"].to_numpy() if has_ratings else None
        has_reviews = "review" in kept and bool(table["review"].is_not_null().any())
        self.reviews = table["review"] if has_reviews else None

    def dealt_with(self, item: ItemFacts, user_id: str, position: int) -> ItemFacts:
        """An item with what the user said of it, as far as known."""
        rating, review = self.rating(user_id, position), self.review(user_id, position)
        if rating is None and not review:
            return item
        return replace(item, rating=rating, review=review)

    def rating(self, user_id: str, position: int) -> float | None:
        """The rating of one event, none where there is none."""
        if self.ratings is None:
            return None
        rating = self.ratings[self.starts[user_id] + position]
        return None if np.isnan(rating) else float(rating)

    def review(self, user_id: str, position: int) -> str:
        """The review of one event, ``""`` where there is none."""
        if self.reviews is None:
            return ""
        return self.reviews[self.starts[user_id] + position] or ""


def item_facts(dataset: Dataset, rows: Rows) -> dict[int, ItemFacts]:
    """What a teacher may know of items, by catalogue row."""
    catalogue = dataset.catalogue
    attributes = catalogue.attributes
    wanted = ("title", "categories", "brand", "price", "description", *attributes)
    columns = [name for name in wanted if name in catalogue.items.columns]
    found = catalogue.items[rows].select(columns).iter_rows(named=True)
    return {
        number: ItemFacts(
            title=row["title"],
            categories=tuple(row.get("categories") or ()),
            brand=row.get("brand") or "",
            description=row.get("description") or "",
            attributes=tuple((name, row[name]) for name in attributes if row[name]),
            price=row.get("price"),
        )
        for number, row in zip(rows.tolist(), found, strict=True)
    }
