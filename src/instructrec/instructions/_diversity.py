"""The words wishes are varied by, read once from their YAML file, and seeded draws among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import islice
from random import Random
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


@dataclass(frozen=True)
class Words:
    """See ``diversity.yaml``."""

    generic: frozenset[str]
    paired: frozenset[str]
    english: frozenset[str]
    foreign: frozenset[str]
    small: frozenset[str]
    as_written: frozenset[str]
    own: frozenset[str]
    places: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, tuple[str, str]]


@lru_cache(maxsize=1)
def words() -> Words:
    """The packaged words."""
    source = files("instructrec.instructions") / "diversity.yaml"
    content: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    return Words(
        places={name: tuple(forms) for name, forms in content.pop("places").items()},
        numbers={name: (more, less) for name, (more, less) in content.pop("numbers").items()},
        **{name: frozenset(listed.split()) for name, listed in content.items()},
    )


_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_LATIN = 0.9
"""Share of the letters of an English text that are plain Latin ones."""
_LOOKED_AT = 2000
"""Texts that tell a collection's language."""


def is_english(text: str) -> bool:
    """Whether the English rules may vary a text: by its script and its small words.

    A text without small words, such as a list of labels, passes where its script does.
    """
    letters = [char for char in text if char.isalpha()]
    if not letters or sum(map(str.isascii, letters)) < _LATIN * len(letters):
        return False
    return _leaning(text) >= 0


def are_english(texts: Iterable[str]) -> bool:
    """Whether most texts of a collection are English, as far as the first ones tell."""
    told = [1 if is_english(text) else -1 for text in islice(texts, _LOOKED_AT) if _tells(text)]
    return sum(told) >= 0


def _tells(text: str) -> bool:
    """Whether a text shows its language."""
    return _leaning(text) != 0 or not is_english(text)


def _leaning(text: str) -> int:
    """Small English words of a text, less those of other languages."""
    said = _WORD.findall(text.replace("\u2019", "'").casefold())
    known = words()
    return sum((word in known.english) - (word in known.foreign) for word in said)


class Dice:
    """Draws that depend on the seed alone.

    Args:
        seed: The same seed, the same draws.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def number(self, below: int) -> int:
        """0 to ``below`` - 1."""
        return int(self._random.random() * below)

    def one(self, options: Sequence[T]) -> T:
        """One of several."""
        return options[self.number(len(options))]

    def order(self, options: Sequence[T]) -> list[T]:
        """All of them, in an order drawn."""
        left, drawn = list(options), []
        while left:
            drawn.append(left.pop(self.number(len(left))))
        return drawn
