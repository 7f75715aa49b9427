"""The words wishes are varied by, read once from their YAML file, and seeded draws among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from random import Random
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


@dataclass(frozen=True)
class Words:
    """See ``diversity.yaml``."""

    generic: frozenset[str]
    paired: frozenset[str]
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
