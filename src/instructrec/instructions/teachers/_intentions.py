"""Words an intention: what somebody wants, in the first person, from what their review says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._mining import Mined, mine, plain
from instructrec.instructions.teachers._wording import (
    Secret,
    capital,
    is_plural,
    label_phrase,
    listed,
    plural_of,
    with_article,
)
from instructrec.instructions.teachers.base import ItemFacts


@dataclass(frozen=True)
class Wish:
    """The parts of a wish, each without what would give the title away.

    Attributes:
        thing: ``a warm seventies soul album``, ``something soft``, ``some cool jazz``.
        again: The thing as ``it`` or ``them``.
        features: What it should have, most telling first.
        qualities: What it should be like.
        without: What it should not have.
        purpose: For whom or what, with its preposition.
    """

    thing: str
    again: str
    features: tuple[str, ...]
    qualities: tuple[str, ...]
    without: str
    purpose: str


def wish_of(review: str, facts: ItemFacts, secret: Secret) -> Wish | None:
    """What a review tells of a wish; none when neither it nor the item's facts tell anything."""
    said = mine(plain(review)) if review else Mined()
    more = Mined()
    if len(said.features) < 3 and facts.description:
        more = mine(plain(facts.description)[:600])
    known = lexicon()
    features = _open(secret, (*said.features, *more.features))
    qualities = _open(secret, said.qualities or more.qualities)
    genres = [name for name in _open(secret, said.genres) if name not in ("rock", "pop")][:1]
    genres = genres or list(_open(secret, said.genres[:1]))
    labels = _open(secret, tuple(narrow_labels(facts)))
    thing, again = _thing(said, genres, labels, qualities, secret)
    purpose = next(iter(_open(secret, (said.recipient and f"for {said.recipient}", said.purpose))), "")
    fault = next(iter(_open(secret, said.faults)), "")
    too = next((word for word in said.too if word not in qualities), "")
    without = f"without {fault}" if fault else f"nothing too {too}" if too else ""
    if not (features or qualities or purpose or genres or labels or said.head):
        return None
    for name, written in known.proper.items():
        if purpose.endswith(f" {name}"):
            purpose = purpose.removesuffix(name) + written
    return Wish(thing, again, features, qualities, without, purpose)


def narrow_labels(facts: ItemFacts) -> list[str]:
    """The item's labels, narrowest first, without those too broad to tell anything."""
    broad = lexicon().broad
    labels = [label_phrase(label) for label in facts.categories if label.strip()]
    told = [label for label in labels if label.lower().replace(" and ", " & ") not in broad]
    return list(dict.fromkeys(reversed(told or labels[-1:])))


def _open(secret: Secret, phrases: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(phrase for phrase in phrases if phrase and not secret.told_by(phrase))


def _thing(
    said: Mined,
    genres: list[str],
    labels: tuple[str, ...],
    qualities: tuple[str, ...],
    secret: Secret,
) -> tuple[str, str]:
    if said.need and not secret.told_by(said.need):
        return said.need, "it"
    head = said.head if not secret.told_by(said.head) else ""
    genre = genres[0] if genres else ""
    if not genre and labels and labels[0] in lexicon().genres:
        genre = labels[0]
    lead = ", ".join(qualities[:2])
    middle = " ".join(part for part in (lead, said.decade, genre) if part)
    if genre and (not head or head == "single"):
        return f"some {middle}", "it"
    if head:
        phrase = f"{middle} {head}".strip()
        return (phrase, "them") if is_plural(head) else (with_article(phrase), "it")
    if labels and not said.decade:
        return _label_thing(labels[0], qualities), "it"
    since = f" from the {said.decade}" if said.decade else ""
    return f"something {' and '.join(qualities[:2])}".strip() + since, "it"


def _label_thing(label: str, qualities: tuple[str, ...]) -> str:
    last = label.split()[-1]
    if is_plural(last) and "&" not in label:
        return " ".join((*qualities[:1], label))
    lead = "something " + " and ".join(qualities[:2])
    return f"{lead.strip()} in {label}"


Sentence = Callable[[Wish, np.random.Generator], str]

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
    asked = _WANTS[start].format(_with(wish.thing, features))
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
    be = " and ".join(qualities)
    options = []
    if qualities and later:
        options.append(f"It should be {be}, with {listed(later[:2])}")
    if later:
        options += [
            f"I love {listed(later)}",
            f"What I care about is {listed(later)}",
            f"{capital(listed(later))} would suit me well",
            f"I'd enjoy {listed(later)}",
            f"I like it best with {listed(later)}",
        ]
    elif qualities:
        options += [f"I'd like it to be {be}", f"It should be {be}", f"I prefer something {be}"]
    else:
        options += [f"What I have in mind is {wish.thing}", f"I'd be happy with {wish.thing}"]
    first = int(rng.integers(len(options)))
    for number in range(len(options)):
        yield _ended(options[(first + number) % len(options)], wish)
    yield _ended(f"I'd be happy with {wish.thing}", wish)


def _with(thing: str, features: tuple[str, ...]) -> str:
    if not features:
        return thing
    return f"{thing} with {listed(features)}"


def _ended(sentence: str, wish: Wish) -> str:
    if wish.without and wish.without not in sentence:
        return f"{sentence}, {wish.without}."
    return f"{sentence}."


def kinds_in(title: str) -> list[str]:
    """What things a title says it is about, in the plural."""
    heads, packing = lexicon().heads, lexicon().packing
    words = (word.strip(",.:;()[]").lower() for word in title.split())
    return [plural_of(heads[word]) for word in words if word in heads and word not in packing]
