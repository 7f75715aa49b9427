"""Finds what people say of things they like, and says it as somebody who is about to ask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

import yaml

from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._wording import base_form

_WORDS: Final = re.compile(r"[a-z']+|[.!?;\n]")
_REACH: Final = 30
"""Characters before a saying in which a negation turns it into its contrary."""


@dataclass(frozen=True)
class Sayings:
    """What a review says in common phrases, in the order said.

    Attributes:
        that: After "something that": ``takes me back to my younger days``.
        features: After "with": ``a deep groove``.
        uses: After the thing: ``to dance to``.
    """

    that: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


@lru_cache(maxsize=8192)
def sayings_in(text: str, department: str, liked: bool) -> Sayings:
    """Read a review (already `plain`).

    Args:
        text: The review.
        department: ``music``, ``stories`` or ``things``.
        liked: Whether the writer liked the thing.
    """
    lowered = text.lower()
    cues = _cues()[department, liked]
    told: dict[str, dict[str, int]] = {}
    words = set(lowered.replace('"', " ").replace("(", " ").split())
    near = cues.keys() & (words | {word[:_KEY] for word in words})
    for cue in (cue for key in near for cue in cues[key]):
        at = _place(lowered, cue.text, denied=not liked)
        if at >= 0:
            places = told.setdefault(cue.kind, {})
            places[cue.say] = min(at, places.get(cue.say, at))
    if not liked:
        return Sayings(that=_ordered(told.get("dislikes", {})))
    return Sayings(*(_ordered(told.get(kind, {})) for kind in ("that", "with", "use")))


def _ordered(places: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(places, key=lambda say: (places[say], say)))


def should(that: str) -> str:
    """What follows "It should": ``take me back``, ``be quiet``, ``be something I can use``."""
    verb, _, rest = that.partition(" ")
    if verb in ("still", "never", "really"):
        return f"{verb} {should(rest)}"
    if verb in ("I", "the"):
        return f"be something {that}"
    if verb == "doesn't":
        return f"not {rest}"
    if verb == "isn't":
        return f"not be {rest}"
    return f"{base_form(verb) or verb} {rest}".strip()


def _place(text: str, cue: str, denied: bool) -> int:
    """Where a cue stands at the start of a word, not denied; -1 where it does not."""
    at = text.find(cue)
    while at >= 0:
        if not (at and text[at - 1].isalnum()) and (denied or not _denied(text, at)):
            return at
        at = text.find(cue, at + 1)
    return -1


def _denied(text: str, at: int) -> bool:
    negations = lexicon().negations
    for word in reversed(_WORDS.findall(text[max(at - _REACH, 0) : at])):
        if not word[0].isalpha():
            return False
        if word in negations or word.endswith("n't"):
            return True
    return False


@dataclass(frozen=True)
class _Cue:
    """Words of a review that say something: ``takes me back``."""

    text: str
    kind: str
    say: str


_KEY: Final = 4
"""Letters by which a cue of one word, whose end is open, is looked up."""


@lru_cache(maxsize=1)
def _cues() -> dict[tuple[str, bool], dict[str, tuple[_Cue, ...]]]:
    source = files("instructrec.instructions.teachers") / "rules_sayings.yaml"
    content = yaml.safe_load(source.read_text(encoding="utf-8"))
    return {
        (department, liked): _read(kinds, liked)
        for department, kinds in content.items()
        for liked in (True, False)
    }


def _read(kinds: Mapping[str, Mapping[str, str]], liked: bool) -> dict[str, tuple[_Cue, ...]]:
    """Cues of several words by their first word, others by their first letters."""
    cues: dict[str, tuple[_Cue, ...]] = {}
    for kind, entries in kinds.items():
        if (kind != "dislikes") != liked:
            continue
        for say, words in entries.items():
            for text in filter(None, map(str.strip, words.split("|"))):
                first, _, rest = text.partition(" ")
                key = first if rest else text[:_KEY]
                cues[key] = (*cues.get(key, ()), _Cue(text, kind, say))
    return cues
