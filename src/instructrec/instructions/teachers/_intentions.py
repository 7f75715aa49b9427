"""Words an intention: what somebody wants, in the first person, from what their review says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from instructrec.instructions.teachers._labels import (
    broad_genres,
    broad_thing,
    department_of,
    domain_of,
    narrow_labels,
)
from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._mining import Mined, mine, plain
from instructrec.instructions.teachers._needs import Said, deed_said, wish_said
from instructrec.instructions.teachers._sayings import Sayings, sayings_in, should
from instructrec.instructions.teachers._wording import (
    Secret,
    capital,
    distinct_nouns,
    is_plural,
    label_phrase,
    listed,
    with_article,
)
from instructrec.instructions.teachers.base import ItemFacts


@dataclass(frozen=True)
class Wish:
    """The parts of a wish, each without what would give the title away.

    Attributes:
        stated: The wish as the review states it, in the present; none where it states none.
        thing: ``a warm seventies soul album``, ``something soft for the home``.
        other: The thing told by other words; may equal ``thing``.
        features: What it should have, most telling first.
        qualities: What it should be like.
        ease: What should be easy to do with it.
        deed: What it should do, after "that" and after "should"; empty when not said.
        that: What people commonly say of such a thing, after "something that".
        without: What it should not have.
        purposes: For whom or what, with a preposition, the most telling first.
    """

    stated: Said | None
    thing: str
    other: str
    features: tuple[str, ...]
    qualities: tuple[str, ...]
    ease: str
    deed: tuple[str, str]
    that: tuple[str, ...]
    without: str
    purposes: tuple[str, ...]


@lru_cache(maxsize=4096)
def wish_of(review: str, facts: ItemFacts) -> Wish | None:
    """What a review tells of a wish; the shop's department alone where it tells nothing.

    Returns:
        None when not even the department is known.
    """
    text = plain(review) if review else ""
    said = mine(text) if text else Mined()
    secret = Secret(facts.title)
    domain = domain_of(facts.categories)[1]
    is_music = domain == "music"
    own = _Open(secret, "" if is_music else facts.title)
    pleased = facts.rating is None or facts.rating > 3
    common = sayings_in(text, department_of(domain), pleased or facts.rating == 3)
    features = _features(own, said, common)
    if is_music:
        features = tuple(one for one in features if one.split()[-1] not in lexicon().goods)
    genres = _genres(own(said.genres), facts)
    qualities = _unsaid(own(said.qualities or said.hints[:3]), features, genres)
    head = own.first(*_heads(said, facts))
    decade = said.decade or (said.era if is_music else "")
    thing, other = _things(head, decade, genres, qualities, facts, secret)
    features = distinct_nouns([thing, *features])[1:]
    needs = (said.recipient and f"for {said.recipient}", said.purpose, *common.uses)
    purposes = tuple(_named(purpose) for purpose in own(needs))
    stated = wish_said(text, facts.title, not is_music) if text else None
    if stated and secret.told_by(stated.clause):
        stated = None
    if not (stated or features or qualities or purposes or thing != "something"):
        return None
    deed = deed_said(text) if pleased and not is_music and len(features) < 2 else ("", "")
    deed = deed if own(deed) else ("", "")
    without = _without(said, qualities, own)
    ease = own.first(said.ease)
    told = {word[:5] for word in qualities} | {"easy" for _ in ease[:1]}
    that = tuple(
        text for text in own(common.that) if told.isdisjoint(word[:5] for word in text.split())
    )
    return Wish(stated, thing, other, features, qualities, ease, deed, that, without, purposes)


def _features(own: _Open, said: Mined, common: Sayings) -> tuple[str, ...]:
    """What the thing should have: what is described, then what is merely named or commonly said."""
    features = distinct_nouns(own(said.features))
    for further in (common.features, said.mentioned):
        if len(features) < _FEATURES:
            features = distinct_nouns([*features, *own(further)])
    return features[: 2 * _FEATURES] or own(said.loose[:1])


_FEATURES: Final = 4
"""What both wishes together can name."""


def _things(
    head: str,
    decade: str,
    genres: list[str],
    qualities: tuple[str, ...],
    facts: ItemFacts,
    secret: Secret,
) -> tuple[str, str]:
    """The thing wanted, and another way to say it."""
    broad = next(iter(secret.open((broad_thing(facts.categories),))), "")
    is_music = domain_of(facts.categories)[1] == "music"
    labels = secret.open(broad_genres(facts.categories)) if is_music else ()
    genres = genres or list(labels[:1])
    thing = _thing(head, decade, genres[:1], qualities[:2], broad)
    other = _thing("", decade, genres[1:2] or genres, qualities[2:4], broad)
    return thing, other


def _named(purpose: str) -> str:
    """A purpose with its last word in capitals where it is a name."""
    lead, _, last = purpose.rpartition(" ")
    return f"{lead} {lexicon().proper.get(last, last)}".strip()


def _without(said: Mined, qualities: tuple[str, ...], own: _Open) -> str:
    fault = own.first(*said.faults)
    praise = lexicon().praise
    too = next((word for word in said.too if word not in qualities and word not in praise), "")
    return f"without {fault}" if fault else f"nothing too {too}" if too else ""


class _Open:
    """Leaves phrases out that give the title away, or name the thing by a noun of its title."""

    def __init__(self, secret: Secret, title: str) -> None:
        self._secret = secret
        self._nouns = {_stem(word) for word in re.findall(r"[a-z]{3,}", title.lower())}

    def __call__(self, phrases: Iterable[str]) -> tuple[str, ...]:
        opened = self._secret.open(phrases)
        if not self._nouns:
            return opened
        return tuple(
            phrase
            for phrase in opened
            if self._nouns.isdisjoint(_stem(word) for word in phrase.lower().split())
        )

    def first(self, *phrases: str) -> str:
        """The first phrase that may be said; empty when none may."""
        return next(iter(self(phrases)), "")


def _stem(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _genres(said: tuple[str, ...], facts: ItemFacts) -> list[str]:
    """Genres that the review names and the item's labels, if any, bear out."""
    if not facts.categories:
        kept = [name for name in said if name not in ("rock", "pop", "metal")]
    else:
        named = " ".join(narrow_labels(facts.categories)).lower().split()
        kept = [name for name in said if name.lower().rsplit(maxsplit=1)[-1] in named]
    return list(dict.fromkeys(map(label_phrase, kept)))


def _heads(said: Mined, facts: ItemFacts) -> tuple[str, ...]:
    """What the review calls the thing, by its department: a lamp is no album, an album no lamp."""
    media = lexicon().media
    domain = domain_of(facts.categories)[1]
    if domain in media:
        return (said.head,) if said.head in media[domain] else ()
    if domain and (not said.pointed or said.head in media["music"]):
        return ()
    return (said.head,)


def _unsaid(
    qualities: tuple[str, ...], features: tuple[str, ...], genres: list[str]
) -> tuple[str, ...]:
    """Qualities that neither the features nor the first genre say already."""
    words = " ".join((*features, *genres[:1])).lower().replace(",", " ").split()
    stems = {word[:4] for word in words}
    return tuple(word for word in qualities if word[:4] not in stems)


def _thing(
    head: str, decade: str, genres: list[str], qualities: tuple[str, ...], broad: str
) -> str:
    """The thing wanted: by its name or genre where the review tells them, else broadly."""
    lead = ", ".join(qualities)
    genre = listed(genres)
    when = decade.replace(" ", "-", 1)
    if genres and head in ("", "music", "record", "single"):
        return f"some {' '.join(part for part in (lead, when, genre) if part)}"
    if head and head != "music":
        genre = genre if genre in _WHOLE else genre.removesuffix(" music")
        phrase = " ".join(part for part in (lead, when, genre, head) if part)
        last = head.rsplit(maxsplit=1)[-1]
        return f"some {phrase}" if _is_stuff(last) or is_plural(last) else with_article(phrase)
    since = f" from the {decade}" if decade else ""
    asked = broad or "something"
    if asked.startswith("something"):
        qualified = " and ".join(qualities)
        told = f"something {qualified}{since} {asked.removeprefix('something')}"
        return " ".join(told.split())
    if asked.startswith("some "):
        return f"some {lead} {asked.removeprefix('some ')}{since}".replace("  ", " ")
    if qualities and len(asked.split()) < 4:
        return with_article(f"{lead} {asked.rsplit(maxsplit=1)[-1]}") + since
    return f"{asked}{since}"


_WHOLE: Final = ("world music", "new age music", "dance music", "country music")


def _is_stuff(word: str) -> bool:
    """Whether one asks for some of it, not for one; instruments are both."""
    known = lexicon()
    return word in known.mass and word not in known.telling


_WANTS = (
    "I want {}",
    "I'm looking for {}",
    "I'd like {}",
    "I need {}",
    "I'm after {}",
    "I'd love {}",
    "I'm hoping for {}",
    "I'm in the mood for {}",
    "I feel like {}",
    "Please find me {}",
    "I fancy {}",
    "I could use {}",
)
_AIMS = ("I want to {}", "I'd like to {}", "I'm looking for something to {}", "I need to {}")


def _stated(said: Said, start: int) -> str:
    if said.bare:
        return _AIMS[start % len(_AIMS)].format(said.clause.removeprefix("to "))
    return _WANTS[start % 7].format(said.clause)


def what_i_want(wish: Wish, rng: np.random.Generator) -> Iterator[str]:
    """Ways to say what somebody wants (I1), the preferred first."""
    start = int(rng.integers(36))
    features, that = wish.features[:2], wish.that[:1]
    if wish.stated:
        stated = _stated(wish.stated, start)
        told = {*re.findall(r"[a-z]{4,}", stated.lower())}
        fresh = [one for one in features if told.isdisjoint(one.split())]
        if fresh and len(stated.split()) < 12 and not wish.stated.bare and " with " not in stated:
            yield f"{stated}, with {listed(fresh)}."
        yield f"{stated}."
    thing = f"{wish.thing} that is {wish.ease}" if _takes_ease(wish) else wish.thing
    if wish.deed[0] and not features and thing == wish.thing:
        thing = f"{thing} that {wish.deed[0]}"
        that = ()
    asks = _WANTS[:7] if thing.startswith("something") or " for " in thing else _WANTS
    want = asks[start % len(asks)]
    thing = _fitting(thing, wish.purposes[:1])
    purpose = "".join(f" {one}" for one in wish.purposes[:1])
    tail = f", {_something(that[0])}" if that else ""
    if wish.purposes and wish.purposes[0].startswith("for my") and rng.random() < 0.4:
        yield _ended(f"{capital(wish.purposes[0])} I want {_with(wish.thing, features)}", wish)
    if purpose and features and (purpose.startswith(" to ") or rng.random() < 0.5):
        yield _ended(f"{want.format(thing)}{purpose}, with {listed(features)}", wish)
    if tail and not (purpose and features):
        plain_one = thing == wish.thing and not (features or purpose)
        if plain_one and thing.startswith(("something", "a ", "an ")):
            yield _ended(want.format(f"{thing} that {that[0]}"), wish)
        yield _ended(f"{want.format(_with(thing, features))}{purpose}{tail}", wish)
    yield _ended(f"{want.format(_with(thing, features))}{purpose}", wish)
    yield _ended(f"{want.format(_fitting(wish.thing, wish.purposes[:1]))}{purpose}", wish)
    if purpose:
        yield _ended(f"{_WANTS[start % 7].format('something')}{purpose}", wish)


def _fitting(thing: str, purposes: tuple[str, ...]) -> str:
    """A thing that is not for two: ``something for my pet`` for my cats is something for these."""
    if purposes and purposes[0].startswith("for ") and thing.startswith("something"):
        return thing.split(" for ", maxsplit=1)[0]
    return f"{thing}," if purposes and " for " in thing else thing


def _something(that: str) -> str:
    return f"something {that}" if that.startswith("I ") else f"something that {that}"


def what_it_is_like(wish: Wish, rng: np.random.Generator) -> Iterator[str]:
    """Ways to say what the thing should be like (I1*), by other words than I1 where there are."""
    later = wish.features[2:5]
    if len(later) < 2 and len(wish.features) > 1:
        later = (*later, *reversed(wish.features[: 2 - len(later)]))
    elif not later:
        later = wish.features
    qualities = wish.qualities[2:4] or wish.qualities[:2]
    be = " and ".join((*qualities[:1], wish.ease) if wish.ease else qualities)
    be = be if qualities else wish.ease
    that = wish.that[1:2] or (wish.that[:1] if len(wish.features) > 1 or not later else ())
    if wish.deed[1] and not later:
        yield f"It should {wish.deed[1]}."
    if that:
        for option in _turned(_hopes(wish, later, be, that[0]), rng):
            yield _ended(option, wish)
    if wish.stated and not (later or be):
        yield _meant(wish.stated, rng)
    if wish.other == "something" and not later:
        yield _ended(f"It should be {be}" if be else f"I'd be happy with {wish.thing}", wish)
        return
    for option in _turned(_likings(wish, later, be), rng):
        yield _ended(option, wish)
    if wish.other != "something":
        yield _ended(f"I'd be happy with {wish.other}", wish)


def _turned(options: list[str], rng: np.random.Generator) -> list[str]:
    """The options from a drawn one on."""
    first = int(rng.integers(len(options)))
    return options[first:] + options[:first]


def _hopes(wish: Wish, later: tuple[str, ...], be: str, that: str) -> list[str]:
    """Ways to say what the thing should do to one, with what it should have and be."""
    has = listed(later[:2])
    purpose = "".join(f" {one}" for one in wish.purposes[1:2])
    thing = f"something {be}" if be else "something"
    that_it = that if that.startswith("I ") else f"that {that}"
    if has and be:
        return [
            f"It should be {be}, with {has}, and {should(that)}",
            f"I'd like {thing} {that_it}, with {has}",
            f"I'm after {has}, in {thing} {that_it}",
        ]
    if has:
        return [
            f"I'd like something with {has} {that_it}",
            f"Looking for {has}{purpose}, in something {that_it}",
            f"I'd love {has}{purpose}, and it should {should(that)}",
            f"It should {should(that)}, with {has}",
        ]
    return [
        f"I'd like {thing}{purpose} {that_it}",
        f"It should be {be} and {should(that)}" if be else f"It should {should(that)}",
        f"Ideally it would be {wish.other} {that_it}",
    ]


def _likings(wish: Wish, later: tuple[str, ...], be: str) -> list[str]:
    """Ways to say what the thing should have and be, each as good as another."""
    options = []
    purpose = "".join(f" {one}" for one in wish.purposes[1:2])
    if be and later:
        options += [
            f"It should be {be}, with {listed(later[:2])}",
            f"Something {be} with {listed(later[:2])}{purpose} is what I have in mind",
            f"I'm after something {be}{purpose}, with {listed(later[:2])}",
        ]
    elif len(later) == 1 and wish.other == "something":
        options += [f"I'd enjoy something with {later[0]}", f"It should have {later[0]}"]
    elif len(later) == 1:
        options += [
            f"I'd be happy with {wish.other}, as long as it has {later[0]}",
            f"I'd enjoy {wish.other} with {later[0]}",
            f"Looking for {wish.other} with {later[0]}{purpose}",
        ]
    elif later:
        options += [
            f"Looking for {listed(later)}{purpose}",
            f"I'd like {listed(later)}{purpose}",
            f"What I care about is {listed(later)}",
            f"Give me {listed(later)}{purpose}",
            f"I'd enjoy {wish.other} with {listed(later[:2])}",
            f"I'm after {listed(later)}",
        ]
    elif be:
        options += [
            f"I'd like it to be {be}, and I'd be happy with {wish.other}",
            f"It should be {be}, perhaps {wish.other}",
            f"What I have in mind is {wish.other}, and it should be {be}",
            f"I'm in the mood for {wish.other}, as long as it is {be}",
        ]
    else:
        options += [
            f"What I have in mind is {wish.other}{purpose}",
            f"I'd be happy with {wish.other}{purpose}",
            f"I'm in the mood for {wish.other}{purpose}",
        ]
    return options


def _meant(said: Said, rng: np.random.Generator) -> str:
    """A stated wish again, in other words than I1 has."""
    if said.bare:
        return f"It should help me {said.clause}."
    return (
        f"What I have in mind is {said.clause}.",
        f"Ideally it would be {said.clause}.",
        f"I'd be happy with {said.clause}.",
    )[int(rng.integers(3))]


def _takes_ease(wish: Wish) -> bool:
    words = wish.thing.split()
    return bool(wish.ease) and words[0] in ("a", "an", "something") and len(words) < 6


def _with(thing: str, features: tuple[str, ...]) -> str:
    if not features:
        return thing
    return f"{thing} with {listed(features)}"


def _ended(sentence: str, wish: Wish) -> str:
    if wish.without and wish.without not in sentence:
        return f"{sentence}, {wish.without}."
    return f"{sentence}."


_KIND_ENDS = re.compile(r" for | with | in |,| - |\(|\||–|:|;")
_LONG_TITLE = 5


@lru_cache(maxsize=16384)
def kinds_in(title: str) -> tuple[str, ...]:
    """What kind of thing a long, telling title names: the last known noun of its first part."""
    heads = lexicon().heads
    if len(title.split()) < _LONG_TITLE:
        return ()
    words = _KIND_ENDS.split(title, maxsplit=1)[0].split()
    for at in range(len(words) - 1, -1, -1):
        head = heads.get(words[at].lower())
        if head:
            before = words[at - 1] if at > 1 else ""
            told = before.isalpha() and len(before) > 2 and _tells_kind(before.lower())
            return (f"{label_phrase(before)} {head}" if told else head,)
    return ()


def _tells_kind(word: str) -> bool:
    known = lexicon()
    return word not in known.packing and word not in known.not_nouns and word not in known.vague
