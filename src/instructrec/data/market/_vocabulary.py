"""The words of the marketplace: departments, leaves, themes, traits, names and phrases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

_DEPARTMENTS = (
    "books",
    "games",
    "kitchen",
    "garden",
    "toys",
    "music",
    "outdoors",
    "electronics",
    "pets",
    "crafts",
)
_OF_DEPARTMENTS = ("department", "share", "brand", "traits", "patterns", "groups")
_OF_LEAVES = (
    *("themes", "themed", "for", "price", "goes_with", "patterns"),
    *("needs", "like", "dislike"),
)
_THEMED = 0.35


@dataclass(frozen=True)
class Leaf:
    """The narrowest category and all that is known of its items.

    Attributes:
        name: Its label, the last of an item's categories.
        path: Department, group and name.
        share: How many items it has, relative to other leaves.
        maker: What a brand is here: ``maker``, ``author``, ``studio`` or ``artist``.
        patterns: Title patterns with slots.
        slots: Words that may fill a slot of a pattern.
        themes: Numbers of the themes its items may have.
        themed: The share of its product lines that have one.
        traits: Numbers of the traits its items may have.
        audience: Whom its items are given to (keys of the people).
        price: The lowest and the highest usual price.
        goes_with: Numbers of the leaves whose items complement these.
        needs: What people want who end up here; noun phrases or "to …".
        like: What reviewers praise; sentences.
        dislike: What reviewers complain of; sentences.
    """

    name: str
    path: tuple[str, str, str]
    share: float
    maker: str
    patterns: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]]
    themes: tuple[int, ...]
    themed: float
    traits: tuple[int, ...]
    audience: tuple[str, ...]
    price: tuple[float, float]
    goes_with: tuple[int, ...]
    needs: tuple[str, ...]
    like: tuple[str, ...]
    dislike: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """Everything that is written by hand.

    Attributes:
        leaves: The leaves of all departments, in order.
        theme_names: Names by theme number.
        themes: words, talk and praise by theme number.
        trait_names: Names by trait number.
        traits: want, like, dislike and title by trait number.
        names: Parts of made-up names.
        phrases: How reviewers and searchers write.
    """

    leaves: tuple[Leaf, ...]
    theme_names: tuple[str, ...]
    themes: tuple[Mapping[str, Sequence[str]], ...]
    trait_names: tuple[str, ...]
    traits: tuple[Mapping[str, Sequence[str]], ...]
    names: Mapping[str, Sequence[str]]
    phrases: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Texts in groups of different sizes, drawn from by group number.

    Attributes:
        texts: All texts, group after group.
        offsets: (groups + 1,) where each group starts.
    """

    texts: tuple[str, ...]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, groups: Sequence[Sequence[str]]) -> Ragged:
        """Lay the groups end to end."""
        sizes = np.array([0, *map(len, groups)], dtype=np.int64)
        return cls(tuple(text for group in groups for text in group), np.cumsum(sizes))

    def draw(self, groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """One place in ``texts`` for each group number, -1 where the group is empty or is -1."""
        start, stop = self.offsets[groups], self.offsets[groups + 1]
        places = start + (rng.random(len(groups)) * (stop - start)).astype(np.int64)
        return np.where((groups < 0) | (start == stop), -1, places)


@cache
def vocabulary() -> Vocabulary:
    """Read the packaged word lists."""
    themes, traits = _read("themes"), _read("traits")
    departments = [_read(name) for name in _DEPARTMENTS]
    names = [name for part in departments for group in part["groups"].values() for name in group]
    numbers = {
        "leaf": {name: number for number, name in enumerate(names)},
        "theme": {name: number for number, name in enumerate(themes)},
        "trait": {name: number for number, name in enumerate(traits)},
    }
    leaves = [
        _leaf(department, group, name, entry, numbers)
        for department in departments
        for group, entries in department["groups"].items()
        for name, entry in entries.items()
    ]
    return Vocabulary(
        tuple(leaves),
        tuple(themes),
        tuple(themes.values()),
        tuple(traits),
        tuple(traits.values()),
        _read("names"),
        _read("phrases"),
    )


def _leaf(
    department: Mapping[str, Any],
    group: str,
    name: str,
    entry: Mapping[str, Any],
    numbers: Mapping[str, Mapping[str, int]],
) -> Leaf:
    slots = {}
    for source, own in ((department, _OF_DEPARTMENTS), (entry, _OF_LEAVES)):
        for key, value in source.items():
            if key not in own:
                slots[key] = tuple(value) if isinstance(value, list) else (str(value),)
    low, high = entry["price"]
    return Leaf(
        name=name,
        path=(department["department"], group, name),
        share=float(department["share"]),
        maker=department["brand"],
        patterns=tuple(entry.get("patterns", department["patterns"])),
        slots=slots,
        themes=tuple(numbers["theme"][theme] for theme in entry["themes"]),
        themed=float(entry.get("themed", _THEMED)) if entry["themes"] else 0.0,
        traits=tuple(numbers["trait"][trait] for trait in department["traits"]),
        audience=tuple(entry["for"]),
        price=(float(low), float(high)),
        goes_with=tuple(numbers["leaf"][other] for other in entry["goes_with"]),
        needs=tuple(entry["needs"]),
        like=tuple(entry["like"]),
        dislike=tuple(entry["dislike"]),
    )


def _read(name: str) -> dict[str, Any]:
    path = resources.files(__package__) / "vocabulary" / f"{name}.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    return entries
