"""Variants of a wish that stay true of its target, drawn at stated rates (docs/diversity.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instructrec.hashing import stable_share
from instructrec.instructions._diversity import Dice, is_english
from instructrec.instructions._true_wishes import (
    compared,
    follow_up,
    limited,
    negated,
    spoken,
)
from instructrec.instructions._typing import mistyped, telegraphic, typed
from instructrec.instructions.annotations import names_title
from instructrec.instructions.teachers._wording import Secret
from instructrec.instructions.teachers.base import ItemFacts

PLAIN = "plain"
LONGEST = 48
"""Words a variant has at most; a longer one is left out."""

_CONTENT = {
    "spoken": spoken,
    "negated": negated,
    "compared": compared,
    "limited": limited,
    "follow-up": follow_up,
}
_FORM = {"telegraphic": telegraphic, "typed": typed}
_GROUPS = (("spoken",), ("negated", "compared", "limited", "follow-up"), tuple(_FORM), ("typos",))
"""Of each group at most one is done."""
STYLES = (*_CONTENT, *_FORM, "typos")
"""What may be done to a wish, in the order it is done."""


class DiversityRates(BaseModel):
    """The share of wishes that are changed in each way; all zero leaves every wish as it is.

    A list of labels may become a sentence; then a wish gets at most one further thing to say, then
    at most one way of being typed, then typos. The paper has none of these; the amounts are ours,
    set by what real requests look like (see `instructrec.instructions.variety`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spoken: float = Field(0.3, ge=0, le=1)
    """Of I2 as a list of labels: said in a sentence, "I'm looking for racing games"."""
    negated: float = Field(0.05, ge=0, le=1)
    """What the history has and the target lacks is ruled out: "but no racing games this time"."""
    compared: float = Field(0.05, ge=0, le=1)
    """With an item of the history: "like Turbo Kart, but cheaper"."""
    limited: float = Field(0.2, ge=0, le=1)
    """By price, age, brand or another fact of the target: "under 30", "for a 6-year-old"."""
    follow_up: float = Field(0.05, ge=0, le=1)
    """The wish as the last turn of a conversation: an item was offered, "something cheaper"."""
    telegraphic: float = Field(0.08, ge=0, le=1)
    """Content words alone, in lower case, as in a search box."""
    typed: float = Field(0.2, ge=0, le=1)
    """In lower case without a full stop."""
    typos: float = Field(0.06, ge=0, le=1)
    """One to three slips of the keyboard."""

    @model_validator(mode="after")
    def _sums(self) -> DiversityRates:
        for names in (("negated", "compared", "limited", "follow_up"), ("telegraphic", "typed")):
            if sum(getattr(self, name) for name in names) > 1 + 1e-9:
                raise ValueError(f"{', '.join(names)} exclude each other: they sum up to 1 at most")
        return self

    def of(self, style: str) -> float:
        """The rate of one of `STYLES`."""
        return float(getattr(self, style.replace("-", "_")))


DEFAULT_RATES = DiversityRates()
NO_DIVERSITY = DiversityRates(**dict.fromkeys(DiversityRates.model_fields, 0.0))


@dataclass(frozen=True)
class Varied:
    """A wish and what was done to it.

    Attributes:
        text: On one line.
        kind: ``I1`` or ``I2``, as it was.
        how: ``plain``, or what was done, joined by ``+``, such as ``limited+typos``; the corpus
            keeps it in its column ``style``.
    """

    text: str
    kind: str
    how: str = PLAIN


def diversify(
    text: str,
    kind: str,
    target: ItemFacts,
    history: Sequence[ItemFacts] = (),
    *,
    seed: int,
    rates: DiversityRates = DEFAULT_RATES,
) -> Varied:
    """Vary a wish, or leave it as it is.

    What is added is read off the target's own facts and, beside it, the history's: a limit holds
    for the target, what is ruled out is a label of the history that neither the target's labels
    nor its title nor its description have, a comparison is true of both. No variant names the
    target; one that would is left out, and so is what nothing is known for. English; a wish in
    another language stays as it is, as its script and its small words tell.

    To be called for wishes that a training row is asked by. A wish that is the answer stays as the
    teacher wrote it, and so do all of evaluation.

    Args:
        text: The wish, ``""`` where there is none.
        kind: ``I1`` or ``I2``.
        target: What is wished for.
        history: What the same person had before and may be named, oldest first.
        seed: Of the row; the same seed, facts and rates make the same variant.
        rates: How often what is done.

    Example:
        >>> facts = ItemFacts("Turbo Kart", ("Games", "Racing"), price=27.0)
        >>> rates = DiversityRates(limited=1, negated=0, compared=0, follow_up=0, typos=0)
        >>> diversify("I want a racing game.", "I1", facts, seed=1, rates=rates).how
        'limited'
    """
    chosen = _drawn(seed, rates)
    if not text or not chosen or not is_english(text):
        return Varied(text, kind)
    dice = Dice(seed)
    found = text
    done: list[str] = []
    for style in chosen:
        if style == "spoken" and kind != "I2":
            continue
        if style in _CONTENT:
            changed = _CONTENT[style](found, target, history, dice)
            if len(changed.split()) > LONGEST or not _may_stand(changed, target):
                continue
        elif style in _FORM:
            # A conversation has turns, which the small words hold together.
            if style == "telegraphic" and "follow-up" in done:
                continue
            changed = _FORM[style](found)
        else:
            changed = mistyped(found, dice)
        if changed and changed != found:
            found, done = changed, [*done, style]
    if names_title(found, target.title):
        return Varied(text, kind)
    return Varied(found, kind, "+".join(done) or PLAIN)


def _drawn(seed: int, rates: DiversityRates) -> list[str]:
    """The styles to try, by a number in [0, 1) of the seed for each group."""
    chosen = []
    for group in _GROUPS:
        share = stable_share(seed, group[0])
        for style in group:
            share -= rates.of(style)
            if share < 0:
                chosen.append(style)
                break
    return chosen


def _may_stand(text: str, target: ItemFacts) -> bool:
    return bool(text) and not Secret(target.title).told_by(text)
