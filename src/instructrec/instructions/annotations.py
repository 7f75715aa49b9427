"""The texts a teacher wrote: preferences and intentions, looked up by user and item."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

ANNOTATION_SCHEMA = pl.Schema(
    {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "kind": pl.String(),
        "view": pl.String(),
        "split": pl.String(),
        "text": pl.String(),
    }
)
"""One text a row; preferences have no item_id, intentions of an item alone have no user_id."""

WRITTEN_SCHEMA = pl.Schema({**ANNOTATION_SCHEMA, "teacher": pl.String()})
"""Columns of a corpus's annotations: texts, and whose words they are (see `Written`)."""

PREFERENCE_VIEWS = ("overall", "long_term", "short_term")
VAGUE_VIEWS = ("what_i_want", "what_it_is_like")
"""I1 and I1*: what the reviewer wants, and what the item is like (paper's "vague intention*")."""
SPECIFIC_VIEW = "specific"
QUERY_VIEW = "query"
SPECIFIC_VIEWS = (SPECIFIC_VIEW, QUERY_VIEW)
"""I2 as labels and limits, and as what one would type into a search box."""

_EARLIER = {
    "train": ("train",),
    "validation": ("validation", "train"),
    "test": ("test", "validation", "train"),
}
"""A preference made for an earlier split may serve a later one, never the other way round."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """Texts by what they are about.

    Attributes:
        preferences: (user_id, split) → view → P2 text.
        intentions: (user_id, item_id) → view → I1 or I2 text.
        items: item_id → view → text that holds for whoever asks.
    """

    preferences: Mapping[tuple[str, str], Mapping[str, str]]
    intentions: Mapping[tuple[str, str], Mapping[str, str]]
    items: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Annotations:
        """Index a frame of `ANNOTATION_SCHEMA`; empty texts are as good as absent."""
        preferences: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        intentions: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        items: dict[str, dict[str, str]] = defaultdict(dict)
        rows = frame.select(ANNOTATION_SCHEMA.names()).filter(pl.col("text").str.len_chars() > 0)
        for user_id, item_id, kind, view, split, text in rows.iter_rows():
            if kind == "preference":
                preferences[user_id, split or "train"][view] = text
            elif user_id is None:
                items[item_id][view] = text
            else:
                intentions[user_id, item_id][view] = text
        return cls(dict(preferences), dict(intentions), dict(items))

    def preference(self, user_id: str, split: str) -> Mapping[str, str]:
        """P2 texts by view that a request of this split may know; empty when there are none."""
        for made_for in _EARLIER[split]:
            if found := self.preferences.get((user_id, made_for)):
                return found
        return {}

    def vague(self, user_id: str, item_id: str) -> list[str]:
        """I1 and then I1*, as far as they exist."""
        views = self.intentions.get((user_id, item_id), {})
        return [views[view] for view in VAGUE_VIEWS if view in views]

    def specific(self, user_id: str | None, item_id: str) -> str:
        """I2 of a user for an item, else of the item for anybody, else ``""``."""
        return self._exact(user_id, item_id).get(SPECIFIC_VIEW, "")

    def specifics(self, user_id: str | None, item_id: str) -> list[str]:
        """`specific` and then the typed query, as far as they exist."""
        views = self._exact(user_id, item_id)
        return [views[view] for view in SPECIFIC_VIEWS if view in views]

    def _exact(self, user_id: str | None, item_id: str) -> dict[str, str]:
        own = self.intentions.get((user_id, item_id), {}) if user_id is not None else {}
        return {**self.items.get(item_id, {}), **own}


_WORD = re.compile(r"\w+")


def names_title(text: str, title: str) -> bool:
    """Whether a text contains a title, compared word by word without regard to case."""
    words, wanted = _WORD.findall(text.casefold()), _WORD.findall(title.casefold())
    if not wanted:
        return False
    size = len(wanted)
    return any(words[at : at + size] == wanted for at in range(len(words) - size + 1))
