"""What a game's labels, facts and title tell of its kind and of what it is played on."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Final

import yaml

from instructrec.instructions.teachers.base import ItemFacts

_PLATFORM: Final = re.compile(
    r"(?:xbox|playstation|ps ?vita|wii|nintendo|pc\b|mac\b|psp|gamecube|sega|game boy|dreamcast)"
    r"[\w ]*",
    re.IGNORECASE,
)
_BARE: Final = ("PC", "Mac")
_PLATFORM_NAMES: Final = ("platform", "console", "system")
_KIND_NAMES: Final = ("kind", "type", "product_type")


def platform_of(item: ItemFacts) -> str:
    """What a game is played on: ``Xbox 360``; ``""`` for what is no game or not known."""
    facts = dict(item.attributes)
    named = next((facts[name] for name in _PLATFORM_NAMES if name in facts), "")
    told = (label for label in item.categories if _PLATFORM.fullmatch(label.strip()))
    return next(told, named).strip()


def is_for_games(item: ItemFacts) -> bool:
    """Whether an item is a game or something to play games with."""
    return bool(platform_of(item)) or not _GOODS.isdisjoint(_told(item))


_GOODS: Final = frozenset(("game", "games", "video game", "video games", "console", "consoles"))


def _told(item: ItemFacts) -> set[str]:
    facts = dict(item.attributes)
    told = [facts[name] for name in _KIND_NAMES if name in facts] + [*item.categories]
    return {text.strip().lower() for text in told}


def on(platform: str) -> str:
    """``on PC``, ``on the Wii``."""
    return f"on {platform}" if platform in _BARE else f"on the {platform}"


def kinds_of_game(item: ItemFacts) -> tuple[str, ...]:
    """What kind of game, or of thing to play with, an item is; empty where nothing tells it."""
    return _kinds(item.title, goods_of(item))


def goods_of(item: ItemFacts) -> str:
    """``game``, ``accessory`` or ``console``."""
    lowered = _told(item)
    if lowered & {"accessory", "accessories"}:
        return "accessory"
    return "console" if lowered & {"console", "consoles"} else "game"


@lru_cache(maxsize=32768)
def _kinds(title: str, goods: str) -> tuple[str, ...]:
    lowered = title.lower()
    table = _table()
    for kind, words in (*table.get(goods, ()), *table["game"]):
        if words.search(lowered):
            return (kind,)
    return ()


@lru_cache(maxsize=1)
def _table() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    source = files("instructrec.instructions.teachers") / "rules_titles.yaml"
    content = yaml.safe_load(source.read_text(encoding="utf-8"))
    return {
        goods: [(kind, _any_of(words)) for kind, words in kinds.items()]
        for goods, kinds in content.items()
    }


def _any_of(words: str) -> re.Pattern[str]:
    parts = sorted((re.escape(word.strip()) for word in words.split("|")), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)")
