"""Words a preference: what somebody likes, in the third person, from what they have had."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np

from instructrec.instructions.teachers._games import (
    goods_of,
    is_for_games,
    kinds_of_game,
    on,
    platform_of,
)
from instructrec.instructions.teachers._intentions import kinds_in
from instructrec.instructions.teachers._labels import department_of, domain_of, narrow_labels
from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._mining import mine, plain
from instructrec.instructions.teachers._sayings import Sayings, sayings_in
from instructrec.instructions.teachers._wording import (
    Secret,
    beginning,
    distinct_nouns,
    label_phrase,
    listed,
    plural_of,
)
from instructrec.instructions.teachers.base import ItemFacts

_NAME = re.compile(r"[A-Z][A-Za-z'-]{2,}")
_RECENT: Final = 3
_FADE: Final = 0.7
_READ: Final = 1_100
"""Characters that are read of a review."""


@dataclass(frozen=True)
class Taste:
    """What a history tells.

    Attributes:
        domain: What most things are: ``music``, ``games``, ``books``; empty when unknown.
        likes: Labels, the most liked first.
        shuns: Labels of what was rated low and is not among ``likes``.
        traits: What liked things are said to have.
        decade: The decade that most reviews tell of, if one does: ``early seventies``.
        that: What is commonly said of liked things, in the third person, after "something that".
        uses: What liked things are had for: ``to dance to``.
        place: What most games are played on: ``on the Wii``.
        brands: Brands that occur more than once.
        names: Words that several titles share.
        size: How many items it is read from.
    """

    domain: str
    likes: tuple[str, ...]
    shuns: tuple[str, ...]
    traits: tuple[str, ...]
    decade: str
    that: tuple[str, ...]
    uses: tuple[str, ...]
    place: str
    brands: tuple[str, ...]
    names: tuple[str, ...]
    size: int


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
    read: list[_Read] = []
    for back, item in enumerate(reversed(items)):
        weight = _weight(item.rating) * (_FADE**back if fades else 1.0)
        vague = bool(platform_of(item)) and not kinds_of_game(item)
        for place, label in enumerate(_labels(item)):
            if weight > 0:
                liked[label] += weight * (1.0 - 0.04 * place) * (0.5 if vague else 1.0)
            else:
                disliked[label] -= weight
        if weight > 0.4 and len(read) < 8:
            read.append(_reading(item))
    likes = _distinct(_best(liked, secret))
    pleasing = [item for item in items if _weight(item.rating) > 0]
    traits = distinct_nouns([trait for one in read for trait in one.traits])
    domains = [_domain(item) for item in items]
    return Taste(
        _most(domains, 0.5),
        likes,
        tuple(label for label in _best(disliked, secret) if label not in liked),
        secret.open(traits),
        _most([one.decade for one in read], 0.5),
        secret.open(_by_count([that for one in read for that in one.that])),
        secret.open(_by_count([use for one in read for use in one.uses])),
        _most([platform_of(item) for item in pleasing], 0.6),
        _repeated([item.brand for item in pleasing], secret),
        _names(
            [item.title for item, domain in zip(items, domains, strict=True) if domain != "music"],
            likes,
            secret,
        ),
        len(items),
    )


def _weight(rating: float | None) -> float:
    """How much an item speaks for its labels; below zero where it speaks against them."""
    return 1.0 if rating is None else {5: 1.3, 4: 1.0, 3: 0.4}.get(round(rating), -0.6)


def _domain(item: ItemFacts) -> str:
    return "games" if is_for_games(item) else domain_of(item.categories)[1]


def _labels(item: ItemFacts) -> list[str]:
    """What one likes who likes an item, the narrowest first."""
    domain = _domain(item)
    if domain == "games":
        return _game_labels(item)
    labels = list(narrow_labels(item.categories))
    if not labels and domain not in lexicon().media:
        labels = [plural_of(kind) for kind in kinds_in(item.title)]
    if not labels and not item.categories:
        known = lexicon().broad
        told = (value for name, value in item.attributes if name in _KINDS)
        labels = [plural_of(label_phrase(value)) for value in told if value not in known]
    labels = labels or [domain]
    return list(dict.fromkeys(label for label in labels if label))


_KINDS: Final = ("kind", "type", "genre", "department", "product_type")
"""Attributes whose values say what a thing is."""


def _game_labels(item: ItemFacts) -> list[str]:
    goods, platform = goods_of(item), platform_of(item)
    kinds = list(kinds_of_game(item))
    named = {"game": "games", "accessory": "gaming accessories", "console": "consoles"}[goods]
    if kinds or not platform:
        return kinds or [named]
    return [f"{platform} {named.removeprefix('gaming ')}"]


@dataclass(frozen=True)
class _Read:
    """What one review, or else description, tells of a liked thing."""

    traits: tuple[str, ...] = ()
    decade: str = ""
    that: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


def _reading(item: ItemFacts) -> _Read:
    text = beginning(item.review, _READ) or item.description[:600]
    if not text:
        return _Read()
    text = plain(text)
    said = mine(text)
    domain = _domain(item)
    is_music = domain == "music"
    known = lexicon()
    traits = [one for one in said.features[:5] if known.praise.isdisjoint(one.split()[:2])]
    traits += [one for one in said.mentioned if is_music]
    if is_music:
        traits = [one for one in traits if one.split()[-1] not in known.goods]
    common = Sayings()
    if item.review and domain != "games":
        common = sayings_in(text, department_of(domain), True)
        traits += [one for one in common.features if is_music]
    decade = (said.decade or said.era) if is_music else ""
    that = tuple(_of_them(one) for one in common.that)
    return _Read(tuple(traits[:3]), decade, that, common.uses)


def _of_them(that: str) -> str:
    """A saying as told of others: ``takes them back to their younger days``."""
    return " ".join(_THEIRS.get(word, word) for word in that.split())


_THEIRS: Final = {"I": "they", "me": "them", "my": "their"}


def _by_count(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text, _ in Counter(texts).most_common())


def _most(texts: Sequence[str], share: float) -> str:
    """The commonest text where it makes up more than a share of all; else empty."""
    told = Counter(text for text in texts if text).most_common(1)
    return told[0][0] if told and told[0][1] > share * (len(texts) - 1) else ""


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
    """Names that different titles share, the most shared first: two words of two, one of three."""
    told = " ".join(labels).lower()
    counts: Counter[str] = Counter()
    for title in dict.fromkeys(titles):
        names = [name for name in _NAME.findall(title) if _is_telling(name.lower(), told)]
        pairs = [f"{one} {two}" for one, two in pairwise(names) if f"{one} {two}" in title]
        counts.update(dict.fromkeys([*pairs, *names], 1))
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], " " not in pair[0], pair[0]))
    fewest = 0.3 * len(titles)
    shared = [name for name, count in ordered if count >= max(2 if " " in name else 3, fewest)]
    return secret.open(shared)


def _is_telling(word: str, told: str) -> bool:
    """Whether a capitalised word of a title may be a name: no word for wares, sizes or colours."""
    known = lexicon()
    return not (
        word in known.packing
        or word in known.not_nouns
        or word in known.vague
        or word in known.adjectives
        or word in known.heads
        or word in _NO_NAMES
        or word in told
        or word.endswith(("able", "ible", "ful", "less", "ly", "ed", "proof"))
    )


_NO_NAMES: Final = frozenset(
    (
        *("bros", "sony", "microsoft", "psp", "dpi", "rpg", "usb", "hdmi", "gaming", "bundle"),
        *(
            "combo",
            "deluxe",
            "standard",
            "starter",
            "wired",
            "stereo",
            "console",
            "vita",
            "download",
        ),
        *("code", "season", "pass", "year", "gold", "hori", "video", "player", "union", "part"),
    )
)


_WHO: Final = {
    "music": ("They", "The listener", "This listener"),
    "games": ("They", "The player", "This player"),
    "books": ("They", "The reader", "This reader"),
    "films and series": ("They", "The viewer", "This viewer"),
}
_ANYBODY: Final = ("They", "This customer", "The customer", "This person")
_THEY: Final = (
    ("like", "likes"),
    ("enjoy", "enjoys"),
    ("love", "loves"),
    ("are drawn to", "is drawn to"),
    ("go for", "goes for"),
    ("favour", "favours"),
    ("have a taste for", "has a taste for"),
    ("are fond of", "is fond of"),
)
_WITH: Final = ("with", "above all with", "ideally with", "best of all with")


def overall(taste: Taste, rng: np.random.Generator) -> str:
    """A summary in one sentence; ``""`` when nothing can be told."""
    names = _WHO.get(taste.domain, _ANYBODY)
    who = names[int(rng.integers(len(names)))]
    verb = _THEY[int(rng.integers(len(_THEY)))][who != "They"]
    lead = _WITH[int(rng.integers(len(_WITH)))]
    labels, traits = _dated(taste, 3), taste.traits[:2]
    if not (labels or traits):
        tail = f" things to do with {listed(taste.names[:3])}" if taste.names else ""
        return f"{who} {verb}{tail}." if tail else ""
    text = f"{who} {verb} {labels or listed(traits)}"
    if labels and traits:
        text += f" {lead} {listed(traits)}" if lead == "with" else f", {lead} {listed(traits)}"
    if taste.uses and taste.domain == "music":
        text += f", often {taste.uses[0]}"
    elif taste.that:
        text += f", {_wished(taste.that[0], taste.domain)}"
    if taste.shuns and not traits:
        less = "they care" if who == "They" else "cares"
        return f"{text}, but {less} less for {listed(taste.shuns[:2], 'or')}."
    return f"{text}{_placed(taste)}{_by_name(taste)}."


def _dated(taste: Taste, most: int) -> str:
    """Labels with their decade: ``seventies funk and soul``."""
    labels = _together(taste.likes[:most])
    if not (taste.decade and labels):
        return labels
    return f"{taste.decade.replace(' ', '-', 1)} {labels}"


def _together(labels: Sequence[str]) -> str:
    """Labels in a list; ``Wii games`` and ``PC games`` are ``Wii and PC games``."""
    platforms = [label.removesuffix(" games") for label in labels if _ON_PLATFORM.match(label)]
    rest = [label for label in labels if not _ON_PLATFORM.match(label)]
    if len(platforms) > 1:
        return listed([*rest, f"games for {listed(platforms)}"])
    return listed(labels)


_ON_PLATFORM: Final = re.compile(r"[A-Z].* games$")


def _wished(that: str, domain: str) -> str:
    thing = "preferably music" if domain == "music" else "always something"
    return f"{thing} {that}" if that.startswith("they ") else f"{thing} that {that}"


def _placed(taste: Taste) -> str:
    if not taste.place or taste.place in " ".join(taste.likes[:3]):
        return ""
    return f", {'mostly ' if taste.size > 1 else ''}{on(taste.place)}"


def _by_name(taste: Taste) -> str:
    if taste.brands:
        return f", often from {taste.brands[0]}"
    if not taste.names:
        return ""
    again = "above all" if taste.domain == "games" else "often something to do with"
    return f", {again} {taste.names[0]}"


def long_term(taste: Taste, rng: np.random.Generator) -> str:
    """What stays, told by other words than the summary."""
    labels = _together(taste.likes[:2])
    traits = taste.traits[2:4] or taste.traits[:1]
    that = taste.that[1:2] or taste.that[:1]
    if taste.size == 1 and labels:
        return _single(taste, rng)
    if labels:
        lead = (
            f"Time and again they come back to {labels}",
            f"Their lasting love is {labels}",
            f"Over the years they have stayed true to {labels}",
            f"Through all of their choices runs a liking for {labels}",
            f"What stays the same is a taste for {labels}",
            f"They have held on to {labels} all along",
        )[int(rng.integers(6))]
        text = f"{lead}, and they prize {listed(traits)}" if traits else lead
        if that and not traits and " to " in lead:
            text += f", and to what {that[0]}"
        return f"{text}{_placed(taste) if not traits else ''}."
    if traits:
        return f"What they have always prized is {listed(traits)}."
    return f"They keep coming back to {listed(taste.names[:2])}." if taste.names else ""


def _single(taste: Taste, rng: np.random.Generator) -> str:
    """What a single item lets one guess of what stays."""
    labels = listed(taste.likes[1:3] or taste.likes[:1])
    traits = taste.traits[1:3] or taste.traits[:1]
    lead = (
        f"So far their one choice points to {labels}",
        f"From one choice alone they seem to care for {labels}",
        f"They appear to value {labels}",
        f"A single choice so far suggests a liking for {labels}",
    )[int(rng.integers(4))]
    if traits:
        return f"{lead} with {listed(traits)}."
    return f"{lead}, {_wished(taste.that[0], taste.domain)}." if taste.that else f"{lead}."


def short_term(taste: Taste, before: Taste, rng: np.random.Generator) -> str:
    """What the last few items show, set against what came before."""
    labels, traits = taste.likes[:2], taste.traits[:2]
    if not labels:
        if traits:
            return f"Lately they have been enjoying {listed(traits)}."
        shuns = listed(taste.shuns[:2])
        return f"Lately they have been let down by {shuns}." if shuns else ""
    dated = _dated(taste, 2)
    text = (
        f"Lately they have turned to {dated}",
        f"Their latest choices lean towards {dated}",
        f"At the moment they are into {dated}",
        f"Most recently they have gone for {dated}",
        f"They are currently enjoying {dated}",
        f"Recently they have been taken with {dated}",
        f"Right now it is {dated}",
    )[int(rng.integers(7))]
    if traits:
        return f"{text}, {('with', 'enjoying')[int(rng.integers(2))]} {listed(traits)}."
    older = [label for label in before.likes[:3] if label not in taste.likes]
    if older:
        return f"{text}{_placed(taste)}, after a time of {older[0]}."
    if taste.that:
        return f"{text}, {_wished(taste.that[0], taste.domain)}."
    return f"{text}{_placed(taste)}."
