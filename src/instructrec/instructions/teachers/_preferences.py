"""Words a preference: what somebody likes, in the third person, from what they have had."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from instructrec.instructions.teachers._intentions import domain_of, kinds_in, narrow_labels
from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._mining import mine, plain
from instructrec.instructions.teachers._wording import Secret, listed, plural_of
from instructrec.instructions.teachers.base import ItemFacts

_NAME = re.compile(r"[A-Z][A-Za-z'-]{2,}")
_PLATFORM = re.compile(
    r"(?:xbox|playstation|wii|nintendo|pc|mac|psp|gamecube|sega)\b", re.IGNORECASE
)
_RECENT = 3
_FADE = 0.7


@dataclass(frozen=True)
class Taste:
    """What a history tells.

    Attributes:
        likes: Labels, the most liked first.
        shuns: Labels of what was rated low and is not among ``likes``.
        traits: What liked things are said to have.
        brands: Brands that occur more than once.
        names: Words that several titles share.
    """

    likes: tuple[str, ...]
    shuns: tuple[str, ...]
    traits: tuple[str, ...]
    brands: tuple[str, ...]
    names: tuple[str, ...]


@lru_cache(maxsize=256)
def taste_of(history: tuple[ItemFacts, ...], fades: bool) -> Taste:
    """Weigh what a history says.

    Args:
        history: Oldest first.
        fades: Whether the last few items count, each less than the one after it.
    """
    secret = Secret(*(item.title for item in history))
    items = list(history[-_RECENT:] if fades else history)
    liked: dict[str, float] = defaultdict(float)
    disliked: dict[str, float] = defaultdict(float)
    traits: list[str] = []
    for back, item in enumerate(reversed(items)):
        weight = _weight(item.rating) * (_FADE**back if fades else 1.0)
        labels = _labels(item)
        for place, label in enumerate(labels):
            if weight > 0:
                liked[label] += weight * (1.0 - 0.04 * place)
            else:
                disliked[label] -= weight
        if weight > 0.4 and len(traits) < 12:
            traits += _traits(item)
    likes = _distinct(_best(liked, secret))
    return Taste(
        likes,
        tuple(label for label in _best(disliked, secret) if label not in liked),
        tuple(dict.fromkeys(secret.open(traits))),
        _repeated([item.brand for item in items if _weight(item.rating) > 0], secret),
        _names(
            [item.title for item in items if domain_of(item.categories)[1] != "music"],
            likes,
            secret,
        ),
    )


def _weight(rating: float | None) -> float:
    """How much an item speaks for its labels; below zero where it speaks against them."""
    return 1.0 if rating is None else {5: 1.3, 4: 1.0, 3: 0.4}.get(round(rating), -0.6)


def _labels(item: ItemFacts) -> list[str]:
    labels = list(narrow_labels(item.categories))
    domain = domain_of(item.categories)[1]
    if not labels and domain not in lexicon().media:
        labels = [plural_of(kind) for kind in kinds_in(item.title)]
    labels = labels or [domain]
    return list(dict.fromkeys(_thing_label(label) for label in labels if label))


def _thing_label(label: str) -> str:
    """A label as a thing that one can like: a platform stands for its games."""
    return f"{label} games" if _PLATFORM.match(label) else label


def _traits(item: ItemFacts) -> list[str]:
    text = item.review or item.description[:600]
    if not text:
        return []
    found = mine(plain(text)).features[:3]
    return [trait for trait in found if not lexicon().praise.intersection(trait.split()[:2])][:2]


def _best(weights: dict[str, float], secret: Secret) -> tuple[str, ...]:
    ordered = sorted(weights, key=lambda label: (-weights[label], label))
    return secret.open(ordered)


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels without those that repeat the words of one before them, or hold nothing else."""
    kept: list[str] = []
    words_of: list[set[str]] = []
    for label in labels:
        words = set(re.findall(r"[\w&]+", label.lower())) - {"and", "things", "for", "the"}
        if not any(words <= other or other <= words for other in words_of):
            kept.append(label)
            words_of.append(words)
    return tuple(kept)


def _repeated(brands: Sequence[str], secret: Secret) -> tuple[str, ...]:
    counts = Counter(_said(brand) for brand in brands if brand.strip())
    often = [brand for brand, count in counts.most_common() if count > 1 and _is_name(brand)]
    return secret.open(often)


def _said(brand: str) -> str:
    """A brand or an artist as one says it: ``DOE,JANE`` is ``Jane Doe``."""
    name = " ".join(brand.split())
    if name.count(",") == 1 and name.isupper():
        last, first = name.split(",")
        return f"{first.strip()} {last.strip()}".title()
    return name


def _is_name(brand: str) -> bool:
    known = lexicon()
    lowered = brand.lower()
    return "/" not in brand and lowered not in known.domains and lowered not in known.broad


def _names(titles: Sequence[str], labels: Sequence[str], secret: Secret) -> tuple[str, ...]:
    """Capitalised words that at least two different titles share, the most shared first."""
    known = lexicon()
    told = " ".join(labels).lower()
    counts: Counter[str] = Counter()
    for title in dict.fromkeys(titles):
        counts.update(dict.fromkeys(_NAME.findall(title), 1))
    shared = [
        word
        for word, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        if count >= max(2, 0.4 * len(titles))
        and word.lower() not in known.packing
        and word.lower() not in known.not_nouns
        and word.lower() not in known.vague
        and word.lower() not in known.adjectives
        and word.lower() not in told
        and not word.lower().endswith(("able", "ible", "ful", "less", "ly", "ed", "proof"))
    ]
    return secret.open(shared)


_WHO = ("They", "This customer", "The customer", "This person")
_THEY = (
    "like",
    "enjoy",
    "love",
    "are drawn to",
    "go for",
    "favour",
    "have a taste for",
    "are fond of",
)
_ONE = {
    "like": "likes",
    "enjoy": "enjoys",
    "love": "loves",
    "are drawn to": "is drawn to",
    "go for": "goes for",
    "favour": "favours",
    "have a taste for": "has a taste for",
    "are fond of": "is fond of",
}


def overall(taste: Taste, rng: np.random.Generator) -> str:
    """A summary in one sentence; ``""`` when nothing can be told."""
    who = _WHO[int(rng.integers(len(_WHO)))]
    verb = _THEY[int(rng.integers(len(_THEY)))]
    verb = verb if who == "They" else _ONE[verb]
    labels = taste.likes[:3]
    traits = taste.traits[:2]
    if labels:
        text = f"{who} {verb} {listed(labels)}"
        if traits:
            text += f", {_PARTICIPLE[int(rng.integers(len(_PARTICIPLE)))]} {listed(traits)}"
    elif traits:
        text = f"{who} {verb} {listed(traits)}"
    elif taste.names:
        return f"{who} {verb} things to do with {listed(taste.names[:3])}."
    else:
        return ""
    if taste.shuns and not traits:
        less = "they care" if who == "They" else "cares"
        return f"{text}, but {less} less for {listed(taste.shuns[:2], 'or')}."
    return f"{text}{_by_name(taste)}."


_PARTICIPLE = ("with a liking for", "above all", "ideally with", "best of all with")


def _by_name(taste: Taste) -> str:
    if taste.brands:
        return f", often from {taste.brands[0]}"
    return f", often something to do with {taste.names[0]}" if taste.names else ""


def long_term(taste: Taste, rng: np.random.Generator) -> str:
    """What stays, told by other words than the summary."""
    labels, traits = taste.likes[:2], taste.traits[2:4] or taste.traits[:1]
    if labels:
        lead = (
            f"Time and again they come back to {listed(labels)}",
            f"Their lasting love is {listed(labels)}",
            f"Over the years they have stayed true to {listed(labels)}",
            f"Through all of their choices runs a liking for {listed(labels)}",
        )[int(rng.integers(4))]
        text = f"{lead}, and they prize {listed(traits)}" if traits else lead
    elif traits:
        text = f"What they have always prized is {listed(traits)}"
    elif taste.names:
        text = f"They keep coming back to {listed(taste.names[:2])}"
    else:
        return ""
    return f"{text}."


def short_term(taste: Taste, before: Taste, rng: np.random.Generator) -> str:
    """What the last few items show, set against what came before."""
    labels = taste.likes[:2]
    traits = taste.traits[:1]
    if labels:
        text = (
            f"Lately they have turned to {listed(labels)}",
            f"Their latest choices lean towards {listed(labels)}",
            f"At the moment they are into {listed(labels)}",
            f"Most recently they have gone for {listed(labels)}",
        )[int(rng.integers(4))]
        if traits:
            text += f", {('with', 'enjoying')[int(rng.integers(2))]} {traits[0]}"
        else:
            older = [label for label in before.likes[:3] if label not in taste.likes]
            text += f" after a time of {older[0]}" if older else ""
    elif traits:
        text = f"Lately they have been enjoying {listed(traits)}"
    elif taste.shuns:
        text = f"Lately they have been let down by {listed(taste.shuns[:2])}"
    else:
        return ""
    return f"{text}."
