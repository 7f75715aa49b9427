"""Texts drawn from a corpus at random, each with what it was made from and what it leads to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol, Split
from instructrec.instructions.annotate import item_facts
from instructrec.instructions.annotations import PREFERENCE_VIEWS, VAGUE_VIEWS
from instructrec.instructions.audit.histories import events_of
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.requests import MAX_HISTORY
from instructrec.instructions.teachers.base import ItemFacts

VIEWS = {"preference": PREFERENCE_VIEWS, "intention": VAGUE_VIEWS}


@dataclass(frozen=True)
class Sample:
    """One text with its grounds.

    Attributes:
        kind: ``preference`` or ``intention``.
        view: See `instructrec.instructions.teachers.base.Ask`.
        user_id: Whose text it is.
        item_id: The target: for a preference what its user took next in its split, for an
            intention the item it is about.
        split: The split it was written for.
        text: The text.
        teacher: Whose words it is.
        history: What a preference was made from, oldest first.
        review: What an intention was made from; empty where the dataset has none.
        target: The target; none where it is not known.
    """

    kind: str
    view: str
    user_id: str
    item_id: str
    split: str
    text: str
    teacher: str
    history: tuple[ItemFacts, ...] = ()
    review: str = ""
    target: ItemFacts | None = None

    @property
    def key(self) -> str:
        """What it is known by when it is judged again: a digest of the text and whose it is."""
        about = self.item_id if self.kind == "intention" else ""
        parts = (self.kind, self.view, self.user_id, about, self.split, self.text)
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]

    @property
    def own(self) -> str:
        """What the user did or wrote, for reading."""
        if self.kind == "intention":
            return self.review
        return "\n".join(f"{n}. {_line(item)}" for n, item in enumerate(self.history, 1))

    @property
    def about(self) -> str:
        """The target, for reading."""
        return _line(self.target) if self.target else ""


def _line(item: ItemFacts) -> str:
    labels = f" [{', '.join(item.categories)}]" if item.categories else ""
    rated = "" if item.rating is None else f", rated {item.rating:g} of 5"
    return f"{' '.join(item.title.split())}{labels}{rated}"


def draw_samples(corpus: Corpus, dataset: Dataset, count: int, seed: int) -> list[Sample]:
    """At most ``count`` preferences and ``count`` vague intentions, drawn without replacement.

    Every text of the corpus is as likely as any other, whatever its view and split.

    Args:
        corpus: Where texts are drawn.
        dataset: What the corpus was made from.
        count: How many of each kind.
        seed: Same seed, same corpus, same samples.
    """
    samples = []
    for number, (kind, views) in enumerate(VIEWS.items()):
        texts = corpus.scan("annotations").filter(
            pl.col("kind") == kind, pl.col("view").is_in(views), pl.col("user_id").is_not_null()
        )
        total = texts.select(pl.len()).collect().item()
        rng = np.random.default_rng([seed, number])
        chosen = np.sort(rng.choice(total, min(count, total), replace=False)).tolist()
        drawn = texts.with_row_index("place").filter(pl.col("place").is_in(chosen)).collect()
        columns = ("kind", "view", "user_id", "item_id", "split", "text", "teacher")
        for row in drawn.select(pl.col(columns).fill_null("")).iter_rows():
            samples.append(Sample(*row))
    return with_grounds(dataset, corpus.protocol, samples)


def with_grounds(dataset: Dataset, protocol: Protocol, samples: Sequence[Sample]) -> list[Sample]:
    """Samples with history, review and target, as the dataset has them."""
    return _Grounds(dataset, protocol, samples).completed() if samples else []


class _Grounds:
    """What the dataset knows of the users of some samples."""

    def __init__(self, dataset: Dataset, protocol: Protocol, samples: Sequence[Sample]) -> None:
        self.samples, self.dataset = samples, dataset
        self.catalogue = dataset.catalogue
        users = sorted({one.user_id for one in samples})
        events = events_of(dataset, protocol, pl.col("user_id").is_in(users))
        split = Split(protocol, events.sort("user_id", "position"), pl.DataFrame(), self.catalogue)
        self.next: dict[tuple[str, str], tuple[int, list[int]]] = {}
        for name in sorted({one.split or "train" for one in samples}):
            found = split.targets(name)
            for user, row, history in zip(
                found.user_ids, found.rows.tolist(), found.histories, strict=True
            ):
                self.next[user, name] = (row, history[-(MAX_HISTORY - 1) :].tolist())
        self.said = _said(dataset, users)

    def completed(self) -> list[Sample]:
        """The samples with their grounds."""
        wanted: set[int] = set(self.catalogue.rows(one.item_id for one in self.samples).tolist())
        for row, history in self.next.values():
            wanted |= {row, *history}
        rows = np.array(sorted(wanted - {-1}), dtype=np.int64)
        self.facts = item_facts(self.dataset, rows)
        return [self._complete(one) for one in self.samples]

    def _complete(self, one: Sample) -> Sample:
        if one.kind == "intention":
            _, review = self.said.get((one.user_id, one.item_id), (None, ""))
            row = self.catalogue.index.get(one.item_id, -1)
            return replace(one, review=review, target=self.facts.get(row))
        row, history = self.next.get((one.user_id, one.split or "train"), (-1, []))
        items = tuple(self._had(one.user_id, at) for at in history)
        item_id = self.catalogue.item_ids[row] if row >= 0 else ""
        return replace(one, item_id=item_id, history=items, target=self.facts.get(row))

    def _had(self, user_id: str, row: int) -> ItemFacts:
        rating, review = self.said.get((user_id, self.catalogue.item_ids[row]), (None, ""))
        return replace(self.facts[row], rating=rating, review=review)


def _said(dataset: Dataset, users: list[str]) -> dict[tuple[str, str], tuple[float | None, str]]:
    """Rating and review of what these users had, as far as there are any."""
    names = dataset.interactions.collect_schema().names()
    columns = [
        pl.col(name) if name in names else pl.lit(None).alias(name) for name in ("rating", "review")
    ]
    mine = dataset.interactions.filter(pl.col("user_id").is_in(users))
    rows = mine.select("user_id", "item_id", *columns).collect()
    return {(user, item): (rating, review or "") for user, item, rating, review in rows.iter_rows()}
