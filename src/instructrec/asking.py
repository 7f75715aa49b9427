"""What a caller gives, as an instruction over the catalogue and the limits on its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Dataset
from instructrec.errors import UsageError
from instructrec.folders import MANIFEST, read_manifest
from instructrec.instructions.requests import MAX_HISTORY, user_profiles
from instructrec.instructions.schema import Context, Instruction, Preference
from instructrec.instructions.wishes import Vocabulary, parse_request
from instructrec.protocols import Condition, Filters, Rows


@dataclass(frozen=True)
class Asked:
    """One request, understood.

    Attributes:
        instruction: Its values.
        limits: The conditions to keep, for people to read.
        filters: The conditions, and the items that may not be answered.
        notes: What the person should know.
    """

    instruction: Instruction
    limits: tuple[str, ...]
    filters: Filters
    notes: tuple[str, ...] = ()


class Understanding:
    """Reads requests against one dataset.

    Args:
        dataset: Whose users and items.
        max_history: Items of a history the model is told at most, one place kept for the answer.
    """

    def __init__(self, dataset: Dataset, max_history: int = MAX_HISTORY) -> None:
        self._dataset = dataset
        self._catalogue: Catalogue = dataset.catalogue
        self._recent = max_history - 1

    @cached_property
    def _profiles(self) -> dict[str, str]:
        return user_profiles(self._dataset)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self._catalogue)

    @cached_property
    def _by_title(self) -> dict[str, int]:
        """Row by title in lower case; the smallest row where several items share one."""
        found: dict[str, int] = {}
        for row, title in enumerate(self._catalogue.titles):
            found.setdefault(_folded(title), row)
        return found

    def ask(
        self,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        recent: Sequence[str] = (),
        preference: str = "",
        wish: str = "",
        context: Context | None = None,
        filters: Filters | None = None,
        owned: bool = False,
    ) -> Asked:
        """Understand one request (arguments as in `instructrec.questions.Question`).

        Raises:
            UsageError: A filter names a column that the items do not have, or compares it with
                what it cannot be compared with.
        """
        notes: list[str] = []
        rows, told, known_user = self._history(user, history, recent, notes)
        intention, said = parse_request(wish, self._vocabulary)
        given = filters or Filters()
        for condition in given.conditions:
            _check(condition, self._catalogue.items)
        conditions = tuple(dict.fromkeys((*given.conditions, *said.conditions)))
        ids = self._catalogue.item_ids
        exclude = given.exclude | said.exclude
        if not owned:
            exclude |= {ids[row] for row in rows if row >= 0}
        instruction = Instruction(
            self._preference(rows, told, preference, known_user),
            intention,
            context=context or Context(),
            user_id=known_user,
        )
        limits = tuple(str(condition) for condition in conditions)
        return Asked(instruction, limits, Filters(conditions, exclude), tuple(notes))

    def _history(
        self,
        user: str | None,
        history: Sequence[str] | None,
        recent: Sequence[str],
        notes: list[str],
    ) -> tuple[Rows, list[str], str | None]:
        """Rows (-1 for what the catalogue does not have), titles, and the user if known."""
        sequences = self._dataset.sequences
        known = user if user is not None and user in sequences.index else None
        if history is not None:
            rows = np.array([self.find(text) for text in history], dtype=np.int64)
            foreign = [text for text, row in zip(history, rows, strict=True) if row < 0]
            if foreign:
                notes.append(f"not in the catalogue, read as words only: {', '.join(foreign)}")
            titles = self._catalogue.titles
            told = [
                titles[row] if row >= 0 else text for text, row in zip(history, rows, strict=True)
            ]
            return rows, told, known
        later = self._catalogue.rows(recent)
        later = later[later >= 0]
        if known is None:
            if user is not None and not len(later):
                notes.append(f"user {user} is not in the dataset: answered as a stranger")
            rows = later
        else:
            own = sequences[sequences.index[known]]
            # One place an item, as in the dataset: what is taken again was known before.
            rows = np.concatenate([own, later[~np.isin(later, own)]])
        return rows, [self._catalogue.titles[row] for row in rows], known

    def _preference(self, rows: Rows, titles: list[str], text: str, user: str | None) -> Preference:
        ids = self._catalogue.item_ids
        recent = rows[-self._recent :]
        return Preference(
            tuple(titles[-self._recent :]),
            tuple(ids[row] if row >= 0 else "" for row in recent),
            self._profiles.get(user, "") if user is not None else "",
            " ".join(text.split()),
        )

    def find(self, text: str) -> int:
        """The row of an item id or a title in any case, -1 where there is none."""
        row = self._catalogue.index.get(text)
        return row if row is not None else self._by_title.get(_folded(text), -1)

    def rows(self, candidates: Sequence[str]) -> Rows:
        """Rows of titles or item ids, each once, in the order given.

        Raises:
            UsageError: One of them is not in the catalogue.
        """
        found = []
        for text in candidates:
            row = self.find(text)
            if row < 0:
                near = get_close_matches(_folded(text), self._by_title, n=1, cutoff=0.5)
                title = self._catalogue.titles[self._by_title[near[0]]] if near else ""
                cure = f"Did you mean {title!r}?" if title else "Give a title or an item id"
                raise UsageError(f"the catalogue has no item {text!r}", cure)
            found.append(row)
        return np.array(list(dict.fromkeys(found)), dtype=np.int64)


def longest_history(corpus: Path) -> int:
    """How long sequences were in training; the usual length where the corpus is gone."""
    if not (corpus / MANIFEST).is_file():
        return MAX_HISTORY
    return int(read_manifest(corpus, "corpus")["settings"].get("max_history", MAX_HISTORY))


def _check(condition: Condition, items: pl.DataFrame) -> None:
    """Refuse a condition that cannot be looked at.

    Raises:
        UsageError: There is no such column, or its values are of a kind that does not fit.
    """
    expression = condition.expression(items.schema)
    try:
        items.head(1).select(expression)
    except pl.exceptions.PolarsError:
        raise UsageError(
            f"{condition} does not fit the values of {condition.column}",
            "Compare numbers with numbers and texts with texts; lists have values",
        ) from None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
