"""Words an intention: what somebody wants, in the first person, from what their review says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._mining import Mined, mine, plain
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
        thing: ``a warm seventies soul album``, ``something soft``, ``some cool jazz``.
        other: The thing told by other labels than the first; may equal ``thing``.
    touch: A further label, ``""`` when there is none.
        features: What it should have, most telling first.
        qualities: What it should be like.
        ease: What should be easy to do with it.
    without: What it should not have.
        purpose: For whom or what, with its preposition.
    """

    thing: str
    other: str
    touch: str
    features: tuple[str, ...]
    qualities: tuple[str, ...]
    ease: str
    without: str
    purpose: str


def wish_of(review: str, facts: ItemFacts, secret: Secret) -> Wish | None:
    """What a review tells of a wish; none when neither it nor the item's facts tell anything."""
    said = mine(plain(review)) if review else Mined()
    more = Mined()
    if len(said.features) < 3 and facts.description:
        more = mine(plain(facts.description)[:600])
    known = lexicon()
    features = secret.open((*said.features, *more.features[:2]))
    if len(features) < 3:
        features += secret.open(said.mentioned[: 3 - len(features)])
    if not features:
        features = secret.open(said.loose[:1])
    qualities = secret.open(said.qualities or said.hints[:2] or more.qualities)
    labels = secret.open(narrow_labels(facts.categories))
    genres = _genres(secret.open(said.genres), labels, facts)
    qualities = _unsaid(qualities, features, genres)
    thing, other, touch = _thing(said, genres, labels, qualities, facts, secret)
    features = distinct_nouns([thing, *features])[1:]
    purpose = next(
        iter(secret.open((said.recipient and f"for {said.recipient}", said.purpose))), ""
    )
    fault = next(iter(secret.open(said.faults)), "")
    kept = (word for word in said.too if word not in qualities and word not in known.praise)
    too = next(kept, "")
    without = f"without {fault}" if fault else f"nothing too {too}" if too else ""
    if not (features or qualities or purpose or genres or labels or thing != "something"):
        return None
    lead, _, last = purpose.rpartition(" ")
    purpose = f"{lead} {known.proper.get(last, last)}".strip()
    ease = next(iter(secret.open((said.ease,))), "")
    return Wish(thing, other, touch, features, qualities, ease, without, purpose)


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


def _genres(said: tuple[str, ...], labels: tuple[str, ...], facts: ItemFacts) -> list[str]:
    """Genres that the review names and the item's labels bear out, else the labels' own."""
    known = lexicon()
    is_music = domain_of(facts.categories)[1] == "music"
    named = " ".join(labels).lower().split()
    borne_out = [name for name in said if name.lower().rsplit(maxsplit=1)[-1] in named]
    own = [label for label in labels if is_music or label.lower() in known.genres]
    if own or not facts.categories:
        telling = [name for name in borne_out or said if name not in ("rock", "pop", "metal")]
        kept = telling if borne_out or not labels else []
        return list(dict.fromkeys([*map(label_phrase, kept), *own]))
    return []


def _thing(
    said: Mined,
    genres: list[str],
    labels: tuple[str, ...],
    qualities: tuple[str, ...],
    facts: ItemFacts,
    secret: Secret,
) -> tuple[str, str, str]:
    """The thing wanted, another way to say it, and a further label."""
    head = next(iter(secret.open(_heads(said, facts))), "")
    thing = _plain_thing(head, said.decade, genres[:1], labels, qualities, facts)
    touch = ""
    if genres:
        further = _unlike(genres[0], genres[1:])
        others = further[:2] or genres[1:3] or genres[:1]
        other = _plain_thing("", said.decade, others, labels, qualities[2:], facts)
        touch = further[-1] if further else ""
    else:
        other = _plain_thing(head, "", [], labels[1:] or labels, (), facts)
    if said.need and not secret.told_by(said.need):
        return said.need, thing, ""
    return thing, other, touch


def _heads(said: Mined, facts: ItemFacts) -> tuple[str, ...]:
    """What the thing may be called, by its department: a lamp is no album, an album no lamp."""
    media = lexicon().media
    domain = domain_of(facts.categories)[1]
    if domain in media:
        return (said.head,) if said.head in media[domain] else ()
    kinds = kinds_in(facts.title)
    if domain and said.head in media["music"]:
        return kinds
    return (said.head, *kinds)


def _unsaid(
    qualities: tuple[str, ...], features: tuple[str, ...], genres: list[str]
) -> tuple[str, ...]:
    """Qualities that neither the features nor the first genre say already."""
    words = " ".join((*features, *genres[:1])).lower().replace(",", " ").split()
    stems = {word[:4] for word in words}
    return tuple(word for word in qualities if word[:4] not in stems)


def _unlike(first: str, labels: list[str]) -> list[str]:
    """Those labels that do not merely say the first, or one another, in other words."""
    kept = [first]
    for label in labels:
        words = set(label.lower().split())
        if not any(words & set(other.lower().split()) for other in kept):
            kept.append(label)
    return kept[1:]


def _plain_thing(
    head: str,
    decade: str,
    genres: list[str],
    labels: tuple[str, ...],
    qualities: tuple[str, ...],
    facts: ItemFacts,
) -> str:
    lead = ", ".join(qualities[:2])
    if genres and head in ("", "record", "single"):
        return f"some {' '.join(part for part in (lead, decade, listed(genres)) if part)}"
    if head:
        genre = listed(genres)
        genre = genre if genre == "world music" else genre.removesuffix(" music")
        phrase = " ".join(part for part in (lead, decade, genre, head) if part)
        last = head.rsplit(maxsplit=1)[-1]
        return f"some {phrase}" if _is_stuff(last) or is_plural(last) else with_article(phrase)
    if labels:
        return _label_thing(labels[0], qualities)
    asked = domain_of(facts.categories)[0]
    qualified = " and ".join(qualities[:2])
    since = f" from the {decade}" if decade else ""
    if asked.startswith("something"):
        return " ".join(f"something {qualified} {asked.removeprefix('something')}".split())
    return f"{asked or f'something {qualified}'}".strip() + since


def _is_stuff(word: str) -> bool:
    """Whether one asks for some of it, not for one; instruments are both."""
    known = lexicon()
    return word in known.mass and word not in known.telling


def _label_thing(label: str, qualities: tuple[str, ...]) -> str:
    last = label.rsplit(maxsplit=1)[-1]
    if is_plural(last) and "&" not in label:
        return " ".join((*qualities[:1], label))
    lead = "something " + " and ".join(qualities[:2])
    return f"{lead.strip()} in {label}"


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


def what_i_want(wish: Wish, rng: np.random.Generator) -> Iterator[str]:
    """Ways to say what somebody wants (I1), the preferred first."""
    features = wish.features[:2]
    start = int(rng.integers(len(_WANTS)))
    thing = f"{wish.thing} that is {wish.ease}" if _takes_ease(wish) else wish.thing
    if wish.touch and len(features) < 2 and rng.random() < 0.7:
        features = (*features, f"a touch of {wish.touch}")
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
    options = []
    if qualities and later:
        options.append(f"It should be {be}, with {listed(later[:2])}")
    if len(later) == 1:
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
    elif qualities:
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
    first = int(rng.integers(len(options)))
    for number in range(len(options)):
        yield _ended(options[(first + number) % len(options)], wish)
    yield _ended(f"I'd be happy with {wish.other}", wish)


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
