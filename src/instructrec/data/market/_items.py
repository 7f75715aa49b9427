"""The shelves of the marketplace: made-up items in product lines of made-up brands."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.market._names import Namer
from instructrec.data.market._vocabulary import Leaf, Vocabulary

DAY = 86_400_000
OPENED = 1_609_459_200_000
"""2021-01-01: the day of the first purchases, in milliseconds."""
SPAN = 4 * 365 * DAY
_APPEAL = 1.45
_FORMATTER = string.Formatter()
_ROMAN = ("", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
_SAYS_TRAIT = 0.25
"""How often a title of goods says what the item is good at."""
_MEDIA = ("author", "artist", "studio")
_TRIES = 8
_BUNDLES = ("(2 Pack)", "Bundle", "(New)", "(Import)", "Gift Set")

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shelf:
    """All items, by item number; leaves, lines, brands, themes and traits by number.

    Attributes:
        titles: n titles.
        facts: What filled the slots of each title.
        brands: n brand names.
        leaf: (n,) category.
        line: (n,) product line; its items share brand, theme and a good part of the title.
        brand: (n,) who makes it.
        theme: (n,) what it is about, -1 for nothing in particular.
        traits: (n, 2) what it is good at.
        platform: (n,) what it runs on, -1 where that does not matter.
        price: (n,) dollars.
        level: (n,) place of the price within its leaf, 0 to 1.
        appeal: (n,) how much people in general take to it; mean about 1.
        added: (n,) when it came to the shop, in milliseconds.
    """

    titles: list[str]
    facts: list[dict[str, str]]
    brands: list[str]
    leaf: Numbers
    line: Numbers
    brand: Numbers
    theme: Numbers
    traits: Numbers
    platform: Numbers
    price: NDArray[np.float64]
    level: NDArray[np.float64]
    appeal: NDArray[np.float64]
    added: Numbers

    def __len__(self) -> int:
        return len(self.titles)


@dataclass(frozen=True)
class Line:
    """What the items of one product line have in common."""

    number: int
    leaf: int
    brand: int
    theme: int
    pattern: str
    slots: dict[str, str]


def build_shelf(words: Vocabulary, items: int, rng: np.random.Generator) -> Shelf:
    """Make ``items`` items, spread over all leaves."""
    shares = np.array([leaf.share for leaf in words.leaves])
    shares = shares * rng.gamma(4.0, size=len(shares))
    leaf = np.repeat(np.arange(len(shares)), rng.multinomial(items, shares / shares.sum()))
    line = _line_numbers(leaf, rng)
    lines = _lines(words, leaf, line, rng)
    traits = _traits(words, leaf, rng)
    titles, facts = _titles(words, line, lines, traits, rng)
    brand = np.array([lines[number].brand for number in line], dtype=np.int64)
    theme = np.array([lines[number].theme for number in line], dtype=np.int64)
    level, price = _prices(words, leaf, brand, rng)
    spread = rng.normal(0.0, 0.6 * _APPEAL, int(line.max()) + 1)[line]
    appeal = np.exp(spread + rng.normal(0.0, 0.8 * _APPEAL, items))
    platforms = [words.leaves[number].slots.get("platform", ()) for number in leaf]
    platform = [
        names.index(fact["platform"]) if "platform" in fact else -1
        for names, fact in zip(platforms, facts, strict=True)
    ]
    return Shelf(
        titles,
        facts,
        [lines[number].slots["brand"] for number in line],
        leaf,
        line,
        brand,
        theme,
        traits,
        np.array(platform, dtype=np.int64),
        price,
        level,
        appeal / appeal.mean(),
        _added(line, rng),
    )


def _line_numbers(leaf: Numbers, rng: np.random.Generator) -> Numbers:
    """Cut each leaf into product lines, most of them short, some long."""
    sizes = np.minimum(rng.zipf(1.7, len(leaf)), 12)
    cut = np.zeros(len(leaf), dtype=bool)
    ends = np.cumsum(sizes)
    cut[ends[ends < len(leaf)]] = True
    cut[np.flatnonzero(np.diff(leaf)) + 1] = True
    return np.cumsum(cut)


def _lines(words: Vocabulary, leaf: Numbers, line: Numbers, rng: np.random.Generator) -> list[Line]:
    """One `Line` a number; a maker serves a department, an author or artist one leaf."""
    first = np.flatnonzero(np.diff(line, prepend=-1))
    namer = Namer(words.names, rng)
    pools: dict[str, list[int]] = {}
    brands: list[str] = []
    lines = []
    for number, place in enumerate(first):
        entry = words.leaves[leaf[place]]
        owner = entry.path[0] if entry.maker == "maker" else entry.name
        pool = pools.setdefault(owner, [])
        # The more lines a pool has, the seldomer a new brand: a Chinese restaurant.
        if rng.random() < 1.0 / (1.0 + 0.12 * len(pool)) or not pool:
            brands.append(namer.brand(entry))
            pool.append(len(brands) - 1)
            brand = pool[-1]
        else:
            brand = pool[int(rng.integers(len(pool)))]
            pool.append(brand)
        theme = -1
        if entry.themes and rng.random() < entry.themed:
            theme = entry.themes[int(rng.integers(len(entry.themes)))]
        pattern = entry.patterns[int(rng.integers(len(entry.patterns)))]
        if "{theme}" in pattern and theme < 0 and entry.themes:
            theme = entry.themes[int(rng.integers(len(entry.themes)))]
        slots = namer.line(entry, brands[brand])
        lines.append(Line(number, int(leaf[place]), brand, theme, pattern, slots))
    return lines


def _titles(
    words: Vocabulary,
    line: Numbers,
    lines: list[Line],
    traits: Numbers,
    rng: np.random.Generator,
) -> tuple[list[str], list[dict[str, str]]]:
    titles: list[str] = []
    facts: list[dict[str, str]] = []
    taken: set[str] = set()
    place, previous = 0, -1
    for number, trait in zip(line, traits[:, 0], strict=True):
        place = place + 1 if number == previous else 0
        previous = number
        # A game comes out on several platforms, so its number grows more slowly.
        studio = words.leaves[lines[number].leaf].maker == "studio"
        volume = 1 + place // 2 if studio else 1 + place
        for _ in range(_TRIES):
            title, fact = _title(words, lines[number], volume, int(trait), rng)
            if title not in taken:
                break
        else:
            title = f"{title} {_any(_BUNDLES, rng)}"
        taken.add(title)
        titles.append(title)
        facts.append(fact)
    return titles, facts


def _title(
    words: Vocabulary, line: Line, volume: int, trait: int, rng: np.random.Generator
) -> tuple[str, dict[str, str]]:
    """One title of a line and what fills its slots."""
    leaf = words.leaves[line.leaf]
    slots = {name: _any(choices, rng) for name, choices in leaf.slots.items() if choices}
    slots |= {
        "n": str(volume),
        "roman": _ROMAN[min(volume, len(_ROMAN)) - 1],
        "count": str(int(rng.choice([12, 24, 50, 60, 101, 150, 250, 500, 1000]))),
        "theme": _theme_word(words, line.theme, rng),
    }
    other = tuple(word for word in leaf.slots.get("word", ()) if word != slots["word"])
    slots["word2"] = _any(other or ("",), rng)
    if line.theme >= 0 and leaf.maker in _MEDIA and rng.random() < 0.35:
        slots["word"] = slots["theme"]
    slots["album"] = _album(slots, rng)
    slots["kind"] = slots.get("kind", "").replace("{theme}", slots["theme"] or "Plain")
    if leaf.maker == "maker" and rng.random() < _SAYS_TRAIT:
        slots["kind"] = f"{_any(tuple(words.traits[trait]['title']), rng)} {slots['kind']}"
    slots |= line.slots
    used = {name for _, name, _, _ in _FORMATTER.parse(line.pattern) if name}
    title = " ".join(line.pattern.format_map(slots).split())
    title = title.replace(" ,", ",").replace(" :", ":").replace("- - ", "- ").strip(" ,-:")
    hidden = {"noun", "format", "platform"} & set(leaf.slots)
    kept = {name: slots[name] for name in sorted(used | hidden) if slots.get(name)}
    return title, kept


def _any(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.random() * len(choices))]


def _theme_word(words: Vocabulary, theme: int, rng: np.random.Generator) -> str:
    return _any(tuple(words.themes[theme]["words"]), rng) if theme >= 0 else ""


def _album(slots: dict[str, str], rng: np.random.Generator) -> str:
    if "adj" not in slots or "word" not in slots:
        return ""
    shapes = (
        "{adj} {word}",
        "The {adj} {word}",
        "{word} & {word2}",
        "{word}",
        "{adj} {word}",
        "{adj}",
        "{word} in {word2}",
    )
    return _any(shapes, rng).format_map(slots)


def _prices(
    words: Vocabulary, leaf: Numbers, brand: Numbers, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(level, price): dear brands are dear throughout."""
    house = rng.normal(0.0, 0.8, int(brand.max()) + 1)[brand]
    level = 1.0 / (1.0 + np.exp(-(house + rng.normal(0.0, 0.8, len(leaf)))))
    low = np.array([entry.price[0] for entry in words.leaves])[leaf]
    high = np.array([entry.price[1] for entry in words.leaves])[leaf]
    price = np.floor(low * (high / low) ** level) + rng.choice([0.99, 0.95, 0.49, 0.0], len(leaf))
    return level, np.round(price, 2)


def _traits(words: Vocabulary, leaf: Numbers, rng: np.random.Generator) -> Numbers:
    """(n, 2) different traits of the item's department."""
    sizes = np.array([len(entry.traits) for entry in words.leaves])[leaf]
    table = np.full((len(words.leaves), int(sizes.max())), -1, dtype=np.int64)
    for number, entry in enumerate(words.leaves):
        table[number, : len(entry.traits)] = entry.traits
    one = (rng.random(len(leaf)) * sizes).astype(np.int64)
    two = (one + 1 + (rng.random(len(leaf)) * (sizes - 1)).astype(np.int64)) % sizes
    return np.stack([table[leaf, one], table[leaf, two]], axis=1)


def _added(line: Numbers, rng: np.random.Generator) -> Numbers:
    """Three fifths were there at the opening; a line's later volumes come later."""
    before = rng.random(len(line)) < 0.6
    old = OPENED - rng.random(len(line)) * 3 * 365 * DAY
    new = OPENED + rng.random(len(line)) * 0.85 * SPAN
    added = np.where(before, old, new)
    return added[np.lexsort((added, line))].astype(np.int64)


def items_frame(shelf: Shelf, words: Vocabulary, ids: list[str], seed: int) -> pl.DataFrame:
    """The items table, by item number; ``ids`` are the item ids by number."""
    rng = np.random.default_rng([seed, 11])
    leaves = [words.leaves[number] for number in shelf.leaf]
    columns = {
        name: [fact.get(name) for fact in shelf.facts]
        for name in ("color", "size", "format", "platform")
    }
    subjects = [words.theme_names[theme] if theme >= 0 else None for theme in shelf.theme]
    descriptions = [
        _description(words, shelf, leaf, number) if keep else None
        for number, (leaf, keep) in enumerate(zip(leaves, rng.random(len(ids)) < 0.9, strict=True))
    ]
    return pl.DataFrame(
        {
            "item_id": ids,
            "title": shelf.titles,
            "categories": [list(leaf.path) for leaf in leaves],
            "brand": shelf.brands,
            "price": np.where(rng.random(len(ids)) < 0.03, np.nan, shelf.price),
            "currency": ["USD"] * len(ids),
            "description": descriptions,
            "in_stock": rng.random(len(ids)) < 0.93,
            "added_at": shelf.added,
            "url": [f"https://market.example/items/{item_id}" for item_id in ids],
            **columns,
            "subject": subjects,
        }
    ).with_columns(pl.col("price").fill_nan(None))


def _description(words: Vocabulary, shelf: Shelf, leaf: Leaf, number: int) -> str:
    fact = shelf.facts[number]
    what = fact.get("noun", leaf.name).lower()
    qualities = [words.traits[trait]["title"][0].lower() for trait in shelf.traits[number]]
    parts = [f"{' and '.join(qualities).capitalize()}: {what} by {shelf.brands[number]}."]
    if shelf.theme[number] >= 0:
        parts.append(f"Subject: {words.theme_names[shelf.theme[number]]}.")
    details = [
        fact[name] for name in ("kind", "size", "color", "extra", "platform") if name in fact
    ]
    if details:
        parts.append(f"Details: {', '.join(details).lower()}.")
    return " ".join(parts)
