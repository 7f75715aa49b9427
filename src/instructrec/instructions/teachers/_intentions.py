"""Words an intention: what somebody wants, in the first person, from what their review says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._mining import Mined, mine, plain
from instructrec.instructions.teachers._needs import Said, deed_said, wish_said
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

_TELLING: Final = 200
"""Characters of a review that says enough for a further genre to be named."""


@dataclass(frozen=True)
class Wish:
    """The parts of a wish, each without what would give the title away.

    Attributes:
        stated: The wish as the review states it, in the present; none where it states none.
        thing: ``a warm seventies soul album``, ``something soft for the home``.
        other: The thing told by other words; may equal ``thing``.
        touch: A further broad genre; empty where the review is too short to bear it.
        features: What it should have, most telling first.
        qualities: What it should be like.
        ease: What should be easy to do with it.
        deed: What it should do, after "that" and after "should"; empty when not said.
        without: What it should not have.
        purpose: For whom or what, with its preposition.
    """

    stated: Said | None
    thing: str
    other: str
    touch: str
    features: tuple[str, ...]
    qualities: tuple[str, ...]
    ease: str
    deed: tuple[str, str]
    without: str
    purpose: str


@lru_cache(maxsize=4096)
def wish_of(review: str, facts: ItemFacts) -> Wish | None:
    """What a review tells of a wish; the shop's department alone where it tells nothing.

    Returns:
        None when not even the department is known.
    """
    text = plain(review) if review else ""
    said = mine(text) if text else Mined()
    secret = Secret(facts.title)
    is_music = domain_of(facts.categories)[1] == "music"
    own = _Open(secret, "" if is_music else facts.title)
    features = own(said.features)
    if len(features) < 3:
        features += own(said.mentioned[: 3 - len(features)])
    if not features:
        features = own(said.loose[:1])
    genres = _genres(own(said.genres), facts)
    qualities = _unsaid(own(said.qualities or said.hints[:2]), features, genres)
    head = own.first(*_heads(said, facts))
    thing, other, touch = _things(head, said.decade, genres, qualities, facts, secret)
    if len(text) < _TELLING:
        touch = ""
    features = distinct_nouns([thing, *features])[1:]
    purpose = _named(own.first(said.recipient and f"for {said.recipient}", said.purpose))
    stated = wish_said(text, facts.title, not is_music) if text else None
    if stated and secret.told_by(stated.clause):
        stated = None
    if not (stated or features or qualities or purpose or thing != "something"):
        return None
    pleased = facts.rating is None or facts.rating > 3
    deed = deed_said(text) if pleased and not is_music and len(features) < 2 else ("", "")
    deed = deed if own(deed) else ("", "")
    without = _without(said, qualities, own)
    ease = own.first(said.ease)
    return Wish(stated, thing, other, touch, features, qualities, ease, deed, without, purpose)


def _things(
    head: str,
    decade: str,
    genres: list[str],
    qualities: tuple[str, ...],
    facts: ItemFacts,
    secret: Secret,
) -> tuple[str, str, str]:
    """The thing wanted, another way to say it, and a further broad genre of music."""
    broad = next(iter(secret.open((broad_thing(facts.categories),))), "")
    is_music = domain_of(facts.categories)[1] == "music"
    labels = secret.open(broad_genres(facts.categories)) if is_music else ()
    genres = genres or list(labels[:1])
    taken = set(" ".join(genres).split())
    further = [label for label in labels if taken.isdisjoint(label.split())][:2]
    thing = _thing(head, decade, genres[:1], qualities[:2], broad)
    others = genres[1:3] or further[-1:] or genres
    other = _thing("", decade, others, qualities[2:4], broad)
    return thing, other, "".join(further[-1:])


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


@lru_cache(maxsize=16384)
def broad_genres(categories: tuple[str, ...]) -> tuple[str, ...]:
    """Genres that everybody knows among an item's labels, but for its narrowest."""
    known = lexicon().genres
    told = [label_phrase(label) for label in categories[:-1] if label.lower() in known]
    return tuple(dict.fromkeys(told))


@lru_cache(maxsize=16384)
def broad_thing(categories: tuple[str, ...]) -> str:
    """What one asks for who tells no more than the department; ``""`` when it is unknown."""
    asked = domain_of(categories)[0]
    if asked or len(categories) < 2 or not categories[0].strip():
        return asked
    return f"something in {label_phrase(categories[0])}"


@lru_cache(maxsize=16384)
def narrow_labels(categories: tuple[str, ...]) -> tuple[str, ...]:
    """An item's labels as said in a sentence, narrowest first, without those too broad to tell."""
    broad = lexicon().broad
    told = [label for label in categories if label.strip() and _key(label) not in broad]
    return tuple(dict.fromkeys(label_phrase(label) for label in reversed(told)))


@lru_cache(maxsize=16384)
def domain_of(categories: tuple[str, ...]) -> tuple[str, str]:
    """What one asks for, and likes, in the shop's department of an item; empty when unknown."""
    domains = lexicon().domains
    found = (domains[_key(label)] for label in categories if _key(label) in domains)
    return next(found, ("", ""))


@lru_cache(maxsize=16384)
def _key(label: str) -> str:
    words = " ".join(label.replace("_", " ").lower().split())
    return words.replace(" and ", " & ")


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
    return () if domain and said.head in media["music"] else (said.head,)


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
    if genres and head in ("", "record", "single"):
        return f"some {' '.join(part for part in (lead, decade, genre) if part)}"
    if head:
        genre = genre if genre == "world music" else genre.removesuffix(" music")
        phrase = " ".join(part for part in (lead, decade, genre, head) if part)
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
    "Please find me {}",
    "I could use {}",
)


_AIMS = ("I want to {}", "I'd like to {}", "I'm looking for something to {}", "I need to {}")


def _stated(said: Said, start: int) -> str:
    if said.bare:
        return _AIMS[start % len(_AIMS)].format(said.clause.removeprefix("to "))
    return _WANTS[start % len(_WANTS)].format(said.clause)


def what_i_want(wish: Wish, rng: np.random.Generator) -> Iterator[str]:
    """Ways to say what somebody wants (I1), the preferred first."""
    if wish.stated:
        yield f"{_stated(wish.stated, int(rng.integers(36)))}."
    features = wish.features[:2]
    start = int(rng.integers(len(_WANTS)))
    thing = f"{wish.thing} that is {wish.ease}" if _takes_ease(wish) else wish.thing
    if wish.touch and len(features) < 2 and rng.random() < 0.7:
        features = (*features, f"a touch of {wish.touch}")
    if wish.deed[0] and not features and thing == wish.thing:
        thing = f"{thing} that {wish.deed[0]}"
    asked = _WANTS[start].format(_with(thing, features))
    tail = f" {wish.purpose}" if wish.purpose else ""
    if wish.purpose.startswith("for my") and rng.random() < 0.4:
        opening = f"{capital(wish.purpose)} I want {_with(wish.thing, features)}"
        yield _ended(opening, wish)
    if wish.purpose and features and rng.random() < 0.5:
        yield _ended(f"{_WANTS[start].format(wish.thing)}{tail}, with {listed(features)}", wish)
    yield _ended(f"{asked}{tail}", wish)
    yield _ended(f"{_WANTS[start].format(wish.thing)}{tail}", wish)
    yield _ended(f"{_WANTS[start].format('something')}{tail or ' like that'}", wish) if tail else ""


def what_it_is_like(wish: Wish, rng: np.random.Generator) -> Iterator[str]:
    """Ways to say what the thing should be like (I1*), by other words than I1 where there are."""
    later = wish.features[2:5]
    if len(later) < 2:
        later = tuple(reversed(wish.features[:3]))
    qualities = wish.qualities[2:4] or wish.qualities[:2]
    be = " and ".join((*qualities[:1], wish.ease) if wish.ease else qualities)
    qualities = qualities or ((wish.ease,) if wish.ease else ())
    if wish.deed[1] and not later:
        yield f"It should {wish.deed[1]}."
    if wish.stated and not (later or qualities):
        yield _meant(wish.stated, rng)
    if wish.other == "something" and not later:
        yield (
            f"It should be {be}." if qualities else _ended(f"I'd be happy with {wish.thing}", wish)
        )
        return
    options = _likings(wish, later, be if qualities else "")
    first = int(rng.integers(len(options)))
    for number in range(len(options)):
        yield _ended(options[(first + number) % len(options)], wish)
    if wish.other != "something":
        yield _ended(f"I'd be happy with {wish.other}", wish)


def _likings(wish: Wish, later: tuple[str, ...], be: str) -> list[str]:
    """Ways to say what the thing should have and be, each as good as another."""
    options = []
    if be and later:
        options.append(f"It should be {be}, with {listed(later[:2])}")
    if len(later) == 1 and wish.other == "something":
        options += [f"I'd enjoy something with {later[0]}", f"It should have {later[0]}"]
    elif len(later) == 1:
        options += [
            f"{capital(wish.other)} with {later[0]} would suit me well",
            f"I'd be happy with {wish.other}, as long as it has {later[0]}",
            f"I'd enjoy {wish.other} with {later[0]}",
        ]
    elif later:
        options += [
            f"I love {listed(later)}",
            f"What I care about is {listed(later)}",
            f"{capital(listed(later))} would suit me well",
            f"I'd enjoy {listed(later)}",
            f"I like it best with {listed(later)}",
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
            f"What I have in mind is {wish.other}",
            f"I'd be happy with {wish.other}",
            f"I'm in the mood for {wish.other}",
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
