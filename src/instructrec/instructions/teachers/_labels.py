"""What an item's category labels tell, as somebody would say it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._wording import label_phrase

_PLAIN: Final = ("pop", "rock", "blues")
"""Shelves that half of a music shop stands on."""


@lru_cache(maxsize=16384)
def broad_genres(categories: tuple[str, ...]) -> tuple[str, ...]:
    """The shelves of a music shop among an item's labels, those with the most labels first.

    Labels follow the shelf that they stand on; an album that stands on many is best told by the
    one on which it stands in the most places.
    """
    shelves = lexicon().shelves
    counts: dict[str, int] = {}
    shelf = ""
    for label in categories[:-1]:
        if label.lower() in shelves:
            shelf = label
            counts.setdefault(shelf, 0)
        elif shelf:
            counts[shelf] += 1
    ordered = sorted(counts, key=lambda name: (-counts[name], name.lower() in _PLAIN))
    ordered = ordered[:1] + [name for name in ordered[1:] if name.lower() not in _PLAIN]
    return tuple(dict.fromkeys(label_phrase(label) for label in ordered))


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


def department_of(domain: str) -> str:
    """The part of the sayings that a department's things are told by."""
    return "music" if domain == "music" else "stories" if domain in lexicon().media else "things"
