"""Which parts of a history and a wish speak for an item."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructrec.answers import Because
from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows

MOST = 3
"""Titles of the history, and words of the wish, that are named for one item at most."""
FAINTEST = 0.05
"""A title of the history that speaks more faintly than this is not named."""
LEAST_LOSS = 0.03
"""How much nearer in meaning (cosine) a word must bring a wish to an item to be named."""
_KEPT = 4096
"""Texts whose vectors are kept."""
_WORD = re.compile(r"[^\W_]+")
_SMALL = (
    "a about am an and any anything are as at be but by can do for from get give has have her him "
    "his i i'm in is it its like likes looking love loves me my need needs nice not of on one or "
    "our out over please she he so some someone something than that the their them they this to "
    "under up us want wants was we what which who will with would you your"
)
_SMALL_WORDS = frozenset(_SMALL.split())


class Reasons:
    """Finds reasons with what the retrievers have learnt.

    Args:
        catalogue: The items.
        retrievers: ``neighbours`` tells what is taken together, ``dense`` what reads alike; either
            may be absent.
    """

    def __init__(self, catalogue: Catalogue, retrievers: Mapping[str, Any]) -> None:
        self._catalogue = catalogue
        self._neighbours = retrievers.get("neighbours")
        self._dense = retrievers.get("dense")
        self._read: dict[str, NDArray[np.float32]] = {}

    def read(self, instructions: Sequence[Instruction]) -> None:
        """Read what `because` will need of many requests' wishes, all together.

        Args:
            instructions: Requests whose reasons will be asked for.
        """
        encoder = getattr(self._dense, "encoder", None)
        if encoder is None:
            return
        texts = [text for one in instructions for text in _variants(one.intention.text)]
        new = [text for text in dict.fromkeys(texts) if text not in self._read]
        if new:
            # A new table: who reads the old one at this moment is not disturbed.
            kept = self._read if len(self._read) < _KEPT else {}
            self._read = {**kept, **dict(zip(new, encoder.encode(new), strict=True))}

    def because(self, instruction: Instruction, rows: Rows) -> list[Because]:
        """Reasons for each of these items.

        Args:
            instruction: The request.
            rows: (k,) catalogue rows.
        """
        spoken = self._history(instruction, rows)
        wish = words_of(instruction.intention.text)
        shared = [self._shared(wish, int(row)) for row in rows]
        meant = self._meant(instruction.intention.text, wish, rows)
        return [
            Because(history, tuple(dict.fromkeys((*words, *near)))[: 2 * MOST])
            for history, words, near in zip(spoken, shared, meant, strict=True)
        ]

    def _shared(self, wish: Sequence[str], row: int) -> tuple[str, ...]:
        """The words of the wish that the item has as well."""
        known = {_stem(word) for word in words_of(self._text(row))}
        return tuple(word for word in wish if _stem(word) in known)

    def _meant(self, text: str, wish: Sequence[str], rows: Rows) -> list[tuple[str, ...]]:
        """The words without which the wish would be farther from the item in meaning."""
        dense = self._dense
        encoder = getattr(dense, "encoder", None)
        if dense is None or encoder is None or not wish or not len(rows):
            return [()] * len(rows)
        variants = _variants(text)
        read = self._read
        if any(variant not in read for variant in variants):
            vectors = encoder.encode(variants)
        else:
            vectors = np.stack([read[variant] for variant in variants])
        near = vectors @ dense.vectors[rows].T
        loss = near[0] - near[1:]
        found = []
        for column in loss.T:
            best = np.argsort(-column, kind="stable")[:MOST]
            found.append(tuple(wish[at] for at in best if column[at] >= LEAST_LOSS))
        return found

    def _text(self, row: int) -> str:
        items = self._catalogue.items
        description = items["description"][row] if "description" in items.columns else ""
        return f"{self._catalogue.texts[row]} {description or ''}"

    def _history(self, instruction: Instruction, rows: Rows) -> list[tuple[tuple[str, float], ...]]:
        titles = instruction.preference.history
        known = self._catalogue.rows(instruction.preference.history_ids)
        places = np.flatnonzero(known >= 0)
        if not len(places) or not len(rows):
            return [()] * len(rows)
        strength = self._strength(known[places], rows)
        found = []
        for column in strength.T:
            best = np.argsort(-column, kind="stable")[:MOST]
            found.append(
                tuple(
                    (titles[places[at]], round(float(column[at]), 3))
                    for at in best
                    if column[at] >= FAINTEST
                )
            )
        return found

    def _strength(self, history: Rows, rows: Rows) -> NDArray[np.float64]:
        """(history, items) from 0 to 1: taken together, or alike to read, whichever is more."""
        strength = np.zeros((len(history), len(rows)))
        if self._neighbours is not None:
            counts = np.maximum(self._neighbours.counts.astype(np.float64), 1.0)
            together = self._neighbours.matrix[history][:, rows].toarray()
            strength = together / np.sqrt(np.outer(counts[history], counts[rows]))
        if self._dense is not None:
            vectors = self._dense.vectors
            strength = np.maximum(strength, vectors[history] @ vectors[rows].T)
        return np.clip(strength, 0.0, 1.0)


def words_of(text: str) -> list[str]:
    """The telling words of a text, each once, in order."""
    words = _WORD.findall(text.casefold())
    return list(dict.fromkeys(w for w in words if w not in _SMALL_WORDS and len(w) > 1))


def _variants(text: str) -> list[str]:
    """A wish, and the wish without each of its telling words; nothing of an empty one."""
    wish = words_of(text)
    return [text, *(_left_out(text, word) for word in wish)] if wish else []


def _left_out(text: str, word: str) -> str:
    """A text without one of its words, in any case."""
    return " ".join(re.sub(rf"\b{re.escape(word)}\b", " ", text, flags=re.IGNORECASE).split())


def _stem(word: str) -> str:
    """A word without the endings that differ between a wish and a title (racing, racer, races)."""
    for ending in ("ings", "ing", "ers", "er", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return _stem(word[: -len(ending)])
    return word
