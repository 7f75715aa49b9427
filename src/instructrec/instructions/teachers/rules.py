"""The teacher that needs no model and no network: preferences and intentions by rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from instructrec.instructions.teachers._intentions import what_i_want, what_it_is_like, wish_of
from instructrec.instructions.teachers._preferences import (
    long_term,
    overall,
    short_term,
    taste_of,
)
from instructrec.instructions.teachers._wording import Secret, beginning
from instructrec.instructions.teachers.base import Ask, ItemFacts, Written

__all__ = ["ItemFacts", "RulesTeacher"]

LONGEST_REVIEW = 1_100
"""Characters that are read of a review: its beginning says what it is about."""
LONGEST_TEXT = 32
"""Words a text has at most."""


class RulesTeacher:
    """Writes what rules can read out of reviews, labels and titles; the same for the same seed.

    A wish that a review states is told in the review's own words, as said before the purchase.
    No text names the title it is made from, or any three words in a row of it.

    Args:
        limits: Whether specific intentions also name attributes, the brand and a price limit
            ("blue, under 30 dollars"); the paper's are category labels alone.
        longest_review: Characters that are read of a review.

    Example:
        >>> teacher = RulesTeacher()
        >>> facts = ItemFacts("Night Drive", ("Music", "Soul"))
        >>> rng = np.random.default_rng(0)
        >>> teacher.intention("Warm vocals and a funky bass.", facts, "what_i_want", rng)
        'Please find me some music with warm vocals and funky bass.'

    Source: docs/paper.md §2, after the paper's §3.2, with rules in the place of its language model.
    """

    name = "rules"

    def __init__(self, *, limits: bool = False, longest_review: int = LONGEST_REVIEW) -> None:
        self.limits = limits
        self.name = "rules:limits" if limits else "rules"
        self.longest_review = longest_review

    @property
    def in_workers(self) -> bool:
        """Whether its name alone tells what it is (see `Teacher`)."""
        return self.longest_review == LONGEST_REVIEW

    def preference(self, history: Sequence[ItemFacts], view: str, rng: np.random.Generator) -> str:
        """What somebody likes, in the third person.

        Args:
            history: Oldest first; ratings weigh, where there are any.
            view: ``overall``, ``long_term`` or ``short_term``.
            rng: Draws the wording.

        Returns:
            A sentence of at most `LONGEST_TEXT` words, or ``""`` when the history tells nothing.
        """
        secret = Secret(*(item.title for item in history))
        for text in _preferences(tuple(history), view, rng):
            if _may_stand(text, secret):
                return text
        return ""

    def intention(self, review: str, facts: ItemFacts, view: str, rng: np.random.Generator) -> str:
        """What somebody wants who is about to take an item, in the first person.

        Args:
            review: What they wrote about the item afterwards.
            facts: The item; where the review says little, its department is named, never its
                narrowest label or a noun of its title.
            view: ``what_i_want`` (I1) or ``what_it_is_like`` (I1*).
            rng: Draws the wording.

        Returns:
            A sentence of at most `LONGEST_TEXT` words, or ``""`` when nothing can be said.
        """
        secret = Secret(facts.title)
        wish = wish_of(beginning(review, self.longest_review), facts)
        if wish is None:
            return ""
        say = what_i_want if view == "what_i_want" else what_it_is_like
        return next((text for text in say(wish, rng) if _may_stand(text, secret)), "")

    def specific(self, facts: ItemFacts, rng: np.random.Generator | None = None) -> str:
        """The item's labels, broad to narrow, joined by commas (I2).

        Where there are no categories, the values of its attributes stand for them.

        Args:
            facts: The item.
            rng: Draws which of attributes, brand and price limit are named as well, when `limits`
                is set; without it all are.
        """
        secret = Secret(facts.title)
        parts = _tidy(facts.categories) or _values(facts)
        if self.limits:
            limits = [value for value in _values(facts) if value not in parts]
            limits += _limits(facts)
            parts += [part for part in limits if rng is None or rng.random() < 0.5]
        parts = [part for part in parts if not secret.told_by(part)]
        while parts and secret.told_by(", ".join(parts)):
            parts.pop()
        return ", ".join(parts)

    def preferences(self, asks: Sequence[Ask]) -> list[str]:
        """A preference for each ask, drawn by the ask's seed."""
        return [
            self.preference(ask.history, ask.view, np.random.default_rng(ask.seed)) for ask in asks
        ]

    def intentions(self, asks: Sequence[Ask]) -> list[str]:
        """An intention for each ask, drawn by the ask's seed."""
        return [self._intention(ask) for ask in asks]

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """One answer an ask, in order (see `Teacher`)."""
        return [
            Written(
                self.preferences([ask])[0] if ask.kind == "preference" else self._intention(ask),
                self.name,
            )
            for ask in asks
        ]

    def _intention(self, ask: Ask) -> str:
        facts = ask.item or ItemFacts("")
        rng = np.random.default_rng(ask.seed)
        if ask.view == "specific":
            return self.specific(facts, rng)
        return self.intention(ask.review or facts.review, facts, ask.view, rng)


def _preferences(
    history: tuple[ItemFacts, ...], view: str, rng: np.random.Generator
) -> Iterator[str]:
    whole = taste_of(history, fades=False)
    for _ in range(4):
        if view == "overall":
            yield overall(whole, rng)
        elif view == "long_term":
            yield long_term(whole, rng)
        else:
            yield short_term(taste_of(history, fades=True), whole, rng)


def _tidy(labels: Iterable[str]) -> list[str]:
    """Labels once each, in order, without those that say that nothing is known."""
    told = (" ".join(label.replace("_", " ").split()) for label in labels)
    return [label for label in dict.fromkeys(told) if label and label.lower() not in _UNKNOWN]


_UNKNOWN = frozenset(("unknown", "other", "others", "n/a", "none", "-"))


def _values(facts: ItemFacts) -> list[str]:
    return _tidy(value for _, value in facts.attributes)


def _limits(facts: ItemFacts) -> list[str]:
    parts = [" ".join(facts.brand.split())] if facts.brand.strip() else []
    if facts.price is not None and facts.price > 0:
        step = 5 if facts.price < 50 else 25
        parts.append(f"under {int(facts.price // step + 1) * step} dollars")
    return parts


def _may_stand(text: str, secret: Secret) -> bool:
    if not text or len(text.split()) > LONGEST_TEXT:
        return False
    return not secret.told_by(text)
