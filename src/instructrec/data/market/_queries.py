"""Search queries of the marketplace: half of them vague wishes, half of them specific."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import polars as pl

from instructrec.data.market._items import Shelf
from instructrec.data.market._vocabulary import Vocabulary

_FURTHER = 3
"""How many other items are relevant too, at most."""
_PARTLY = 0.5
_DETAILS = ("kind", "color", "size", "extra", "platform", "format")
_CORE = ("noun", "platform", "format")
_SHAPES = (
    "{detail} {what}",
    "{what} {detail}",
    "{brand} {what}",
    "{what} under {limit}",
    "{detail} {what} under ${limit}",
    "{what} {detail} {detail2}",
    "{what} by {brand}",
)


def queries_frame(
    words: Vocabulary, shelf: Shelf, ids: list[str], count: int, rng: np.random.Generator
) -> pl.DataFrame:
    """The queries table: query_id, text, item_id, relevance.

    A query is asked for one item (relevance 1); up to three of the same leaf that share what was
    asked for are relevant by half. Ids of vague queries start with ``qv``, of specific ones with
    ``qs``.

    Args:
        words: The vocabulary.
        shelf: The items.
        ids: Item ids by item number.
        count: How many queries.
        rng: Decides.
    """
    odds = np.sqrt(shelf.appeal)
    wanted = rng.choice(len(shelf), count, p=odds / odds.sum())
    members = [np.flatnonzero(shelf.leaf == leaf).tolist() for leaf in range(len(words.leaves))]
    rows: list[tuple[str, str, str, float]] = []
    for number, item in enumerate(wanted.tolist()):
        vague = number % 2 == 0
        text = _vague(words, shelf, item, rng) if vague else _specific(words, shelf, item, rng)
        query_id = f"q{'v' if vague else 's'}{number:07d}"
        rows.append((query_id, text, ids[item], 1.0))
        others = members[shelf.leaf[item]]
        start = int(rng.integers(len(others)))
        alike = (
            other
            for other in others[start:] + others[:start]
            if other != item and _alike(shelf, item, other, vague)
        )
        rows += [(query_id, text, ids[other], _PARTLY) for other in islice(alike, _FURTHER)]
    schema = ["query_id", "text", "item_id", "relevance"]
    return pl.DataFrame(rows, schema=schema, orient="row").cast({"relevance": pl.Float32})


def _vague(words: Vocabulary, shelf: Shelf, item: int, rng: np.random.Generator) -> str:
    """What a person types who does not know yet what they want."""
    leaf, theme = words.leaves[shelf.leaf[item]], int(shelf.theme[item])
    phrases = words.phrases
    asks = [ask for ask in phrases["asks"] if theme >= 0 or "{talk}" not in ask]
    trait = words.traits[int(shelf.traits[item, rng.integers(2)])]
    text: str = _any(asks, rng).format(
        need=_any(leaf.needs, rng),
        want=_any(trait["want"], rng),
        who=_any(phrases["people"][_any(leaf.audience, rng)], rng),
        occasion=_any(phrases["occasions"], rng),
        talk=_any(words.themes[theme]["talk"], rng) if theme >= 0 else "",
    )
    return text.removeprefix("to ")


def _specific(words: Vocabulary, shelf: Shelf, item: int, rng: np.random.Generator) -> str:
    """What a person types who knows what they want: the kind of thing and a detail or two."""
    fact, leaf = shelf.facts[item], words.leaves[shelf.leaf[item]]
    details = [fact[name] for name in _DETAILS if name in fact]
    details = [details[place] for place in rng.permutation(len(details))]
    text = _any(_SHAPES, rng).format(
        what=fact.get("noun", leaf.name),
        brand=shelf.brands[item],
        detail=details[0] if details else "",
        detail2=details[1] if len(details) > 1 else "",
        limit=int(np.ceil((shelf.price[item] + 1) / 5) * 5),
    )
    return " ".join(text.lower().split())


def _alike(shelf: Shelf, item: int, other: int, vague: bool) -> bool:
    """Whether an item of the same leaf answers the same query in part."""
    if vague:
        same_theme = shelf.theme[item] >= 0 and shelf.theme[item] == shelf.theme[other]
        return bool(same_theme or set(shelf.traits[item]) & set(shelf.traits[other]))
    return all(shelf.facts[item].get(name) == shelf.facts[other].get(name) for name in _CORE)


def _any(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.random() * len(choices))]
