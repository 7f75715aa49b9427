"""What a `Recommender` answers: items, the reasons for them, and the instruction behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PartKind = Literal["preference", "intention", "context", "task"]


@dataclass(frozen=True)
class Part:
    """One stretch of the instruction's text and what it stands for.

    Attributes:
        kind: ``preference``, ``intention``, ``context``, or ``task`` for all other wording.
        text: The stretch; all parts together are the whole text.
    """

    kind: PartKind
    text: str


@dataclass(frozen=True)
class Because:
    """Which parts of history and wish speak for one item.

    Attributes:
        history: Titles of the history with how strongly each speaks for it (0 to 1), best first.
        words: Words of the wish that stand in the item's text.
    """

    history: tuple[tuple[str, float], ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recommended:
    """One answered item.

    Attributes:
        item_id: Its id.
        title: Its title.
        score: What it was ordered by; comparable within one answer only.
        facts: Brand, price, categories and the like, as far as known.
        evidence: What each piece of evidence adds to the score, beside the average candidate.
        because: See `Because`.
        probability: For T0, that it is right; for T1, that it is the one; else none.
    """

    item_id: str
    title: str
    score: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, float] = field(default_factory=dict)
    because: Because = field(default_factory=Because)
    probability: float | None = None


@dataclass(frozen=True)
class Recommendation:
    """The answer to one request.

    Attributes:
        items: Best first.
        task: The task form asked.
        scenario: The scenario of the request.
        instruction: The text that the language model was given.
        parts: The same text in parts.
        filters: The limits that were kept, those found in the wish included.
        answer: For T0 ``yes`` or ``no``, for T1 and T2 the title; else empty.
        notes: What the person should know about this answer.
        seconds: Wall time by step.
    """

    items: tuple[Recommended, ...]
    task: str
    scenario: str
    instruction: str = ""
    parts: tuple[Part, ...] = ()
    filters: tuple[str, ...] = ()
    answer: str = ""
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "task": self.task,
            "scenario": self.scenario,
            "answer": self.answer,
            "items": [_item(place, item) for place, item in enumerate(self.items, 1)],
            "instruction": self.instruction,
            "parts": [{"kind": part.kind, "text": part.text} for part in self.parts],
            "filters": list(self.filters),
            "notes": list(self.notes),
            "seconds": dict(self.seconds),
        }


def _item(place: int, item: Recommended) -> dict[str, Any]:
    told: dict[str, Any] = {
        "rank": place,
        "item_id": item.item_id,
        "title": item.title,
        "score": item.score,
        "facts": dict(item.facts),
        "evidence": dict(item.evidence),
        "because": {
            "history": [
                {"title": title, "strength": strength} for title, strength in item.because.history
            ],
            "words": list(item.because.words),
        },
    }
    if item.probability is not None:
        told["probability"] = item.probability
    return told


def split_parts(text: str, marked: Mapping[PartKind, list[tuple[int, int]]]) -> tuple[Part, ...]:
    """Cut a text into parts; what is marked by nothing is the task.

    Args:
        text: The instruction.
        marked: Character spans of each kind; where two overlap the earlier one wins.
    """
    spans = sorted((start, end, kind) for kind, found in marked.items() for start, end in found)
    parts: list[Part] = []
    at = 0
    for start, end, kind in spans:
        if start < at or end <= start:
            continue
        if start > at:
            parts.append(Part("task", text[at:start]))
        parts.append(Part(kind, text[start:end]))
        at = end
    if at < len(text):
        parts.append(Part("task", text[at:]))
    return tuple(parts)
