"""What a person typed, as an intention and the hard limits said in its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from instructrec.instructions.schema import Intention, IntentionKind
from instructrec.protocols import Condition, Filters, Operator

_NUMBER = r"(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
_CURRENCY = r"(?:[$€£¥]|dollars?|euros?|pounds?|bucks|usd|eur|gbp)"
_MONEY = rf"(?:[$€£¥]\s?|(?:usd|eur|gbp)\s)?{_NUMBER}(\s?{_CURRENCY})?"
_AT_MOST = re.compile(
    r"\b(?:under|below|less than|cheaper than|no more than|not more than|at most|up to|within|"
    rf"max(?:imum)?(?: of)?)\s+{_MONEY}(?![\w%])",
    re.IGNORECASE,
)
_AT_LEAST = re.compile(
    rf"\b(?:over|above|more than|at least|min(?:imum)?(?: of)?)\s+{_MONEY}(?![\w%])", re.IGNORECASE
)
_BETWEEN = re.compile(
    rf"\b(?:between|from)\s+{_MONEY}\s+(?:and|to)\s+{_MONEY}(?![\w%])", re.IGNORECASE
)
_STOCK = re.compile(r"\b(?:in stock|available now)\b", re.IGNORECASE)
_NOT_MONEY = re.compile(
    r"^\s*-?(?:years?|yrs?|months?|players?|people|persons?|pieces?|pages?|inch(?:es)?|cm|mm|m\b|kg|"
    r"g\b|lbs?|oz|minutes?|hours?|days?|weeks?|of age|stars?)",
    re.IGNORECASE,
)
_OF_PEOPLE = re.compile(
    r"\b(?:age[sd]?|adults|people|players|everyone|anyone|those)\s+$", re.IGNORECASE
)
"""What stands before an age or a number of people: "for people over 60"."""
_OF_CHILDREN = re.compile(
    r"\b(?:kids|children|boys|girls|toddlers|teens|teenagers)\s+$", re.IGNORECASE
)
"""The same of children, as long as the number may be a child's age."""
_OLDEST = 18
_NOT = r"(?:not|no|nothing|never|isn'?t|don'?t|without|except)"
_TURNED = re.compile(rf"\b{_NOT}\s+(?:(?:anything|costing|priced)\s+)?$", re.IGNORECASE)
"""What turns a price limit round that follows it: "nothing over 50" is at most 50."""
_RULED_OUT = re.compile(
    rf"\b(?:{_NOT}|anything but|other than)\s+(?:(?:another|an?|the|any|anything)\s+(?:\w+\s+)?)?$",
    re.IGNORECASE,
)
"""What makes the contrary of a label that follows it: "not by Acme", "not another game by Acme"."""
_FIRST_PERSON = re.compile(r"\b(?:i|i'm|im|my|me|we|our|for a|something|anything)\b", re.IGNORECASE)


class Labels(Protocol):
    """What the wish parser needs of a catalogue."""

    @property
    def items(self) -> pl.DataFrame:
        """The items table."""
        ...


@dataclass(frozen=True)
class Vocabulary:
    """Labels of a catalogue that a wish may name as a limit, by their text in lower case.

    Attributes:
        categories: Lower-cased label → label.
        brands: Lower-cased brand → brand.
        has_price: Whether any item has a price.
        has_stock: Whether items say if they are in stock.
    """

    categories: dict[str, str]
    brands: dict[str, str]
    has_price: bool
    has_stock: bool

    @classmethod
    def of(cls, catalogue: Labels) -> Vocabulary:
        """Read the labels of a catalogue."""
        items = catalogue.items
        categories: list[str] = []
        if "categories" in items.columns:
            categories = items["categories"].explode().drop_nulls().unique().sort().to_list()
        brands: list[str] = []
        if "brand" in items.columns:
            brands = items["brand"].drop_nulls().unique().sort().to_list()
        return cls(
            {label.casefold(): label for label in categories if label.strip()},
            {brand.casefold(): brand for brand in brands if brand.strip()},
            "price" in items.columns and items["price"].is_not_null().any(),
            "in_stock" in items.columns and items["in_stock"].is_not_null().any(),
        )


def parse_request(text: str, catalogue: Labels | Vocabulary) -> tuple[Intention, Filters]:
    """Read a typed wish.

    A price limit ("under 30", "between 10 and 20 euros"), a category or brand named as a limit
    ("only board games", "in the Racing section", "by Acme") and "in stock" become filters, as far
    as the catalogue has such a column and such a label. What is ruled out is no limit to it:
    "nothing over 50" is at most 50, "not by Acme" is any other brand. The words stay whole in
    the intention: the model is told all that the person said. Words are only matched, never
    obeyed.

    Args:
        text: What the person typed; may be empty.
        catalogue: The items, or their `Vocabulary` where many texts are read.

    Returns:
        The intention and the filters. The intention is I0 when empty, I1 when it speaks of somebody
        or something ("a gift for my son"), I2 when it is a bare search of at most five words, a
        list of labels or holds a limit, else I1.
    """
    words = " ".join(text.split())
    if not words:
        return Intention(), Filters()
    vocabulary = catalogue if isinstance(catalogue, Vocabulary) else Vocabulary.of(catalogue)
    conditions = _prices(words) if vocabulary.has_price else []
    conditions += _labels(words, "categories", "has", vocabulary.categories, _CATEGORY_CUES)
    conditions += _labels(words, "brand", "==", vocabulary.brands, _BRAND_CUES)
    if vocabulary.has_stock and _STOCK.search(words):
        conditions.append(Condition("in_stock", "==", True))
    kind = kind_of(words, vocabulary, limited=bool(conditions))
    return Intention(words, kind), Filters(tuple(conditions))


def _prices(words: str) -> list[Condition]:
    found: list[Condition] = []
    for low, high in _money(_BETWEEN, words):
        found += [
            Condition("price", ">=", min(low, high)),
            Condition("price", "<=", max(low, high)),
        ]
    if found:
        return found
    most, dearer = _one_sided(_AT_MOST, words)
    least, cheaper = _one_sided(_AT_LEAST, words)
    found += [Condition("price", "<=", value) for value in (most + cheaper)[:1]]
    found += [Condition("price", ">=", value) for value in (least + dearer)[:1]]
    return found


def _one_sided(pattern: re.Pattern[str], words: str) -> tuple[list[float], list[float]]:
    """Amounts of a limit as it is said, and of one that a negation turns round."""
    said: list[float] = []
    turned: list[float] = []
    for match in pattern.finditer(words):
        around = turned if _TURNED.search(words[: match.start()]) else said
        around += [value for (value,) in _amounts(match, words)]
    return said, turned


def _money(pattern: re.Pattern[str], words: str) -> list[tuple[float, ...]]:
    """Amounts of each match, unless what stands beside says that they are no money."""
    return [amount for match in pattern.finditer(words) for amount in _amounts(match, words)]


def _amounts(match: re.Match[str], words: str) -> list[tuple[float, ...]]:
    numbers, units = match.groups()[::2], match.groups()[1::2]
    amount = tuple(float(number.replace(",", "")) for number in numbers)
    marked = any(units) or any(sign in match.group() for sign in "$€£¥")
    before, after = words[: match.start()], words[match.end() :]
    of_people = _OF_PEOPLE.search(before) or (
        max(amount) <= _OLDEST and _OF_CHILDREN.search(before)
    )
    return [amount] if marked or not (of_people or _NOT_MONEY.match(after)) else []


_CATEGORY_CUES: tuple[Callable[[str], str], ...] = (
    lambda label: rf"\bonly (?:the |an? |from |in )?{label}\b",
    lambda label: rf"\b{label} only\b",
    lambda label: rf"\b(?:in|from) (?:the )?{label} (?:section|department|category|aisle)\b",
    lambda label: rf"\b(?:category|department|genre)\s*[:=]?\s+{label}\b",
    lambda label: rf"\bmust be (?:an? )?{label}\b",
)
_BRAND_CUES: tuple[Callable[[str], str], ...] = (
    lambda label: rf"\b(?:made by|by|brand\s*[:=]?)\s+{label}\b",
    lambda label: rf"\bonly (?:from |by )?{label}\b",
    lambda label: rf"\bmust be (?:an? )?{label}\b",
)


def _labels(
    words: str,
    column: str,
    operator: Operator,
    labels: dict[str, str],
    cues: tuple[Callable[[str], str], ...],
) -> list[Condition]:
    """The longest label that a cue makes a limit of; at most one a column.

    A brand that is ruled out is a limit too, a category that is ruled out is left to the model.
    """
    lowered = words.casefold()
    named = [key for key in _mentioned(lowered, labels)]
    for key in sorted(named, key=lambda label: (-len(label), label)):
        matches = (re.search(cue(_plural(key)), lowered) for cue in cues)
        if found := next((match for match in matches if match), None):
            if not _RULED_OUT.search(lowered[: found.start()]):
                return [Condition(column, operator, labels[key])]
            return [Condition(column, "!=", labels[key])] if operator == "==" else []
    return []


def _plural(label: str) -> str:
    """A pattern for a label whose last word may be singular or plural."""
    stem = label[:-1] if label.endswith("s") and not label.endswith("ss") else label
    return rf"{re.escape(stem)}s?"


def _mentioned(lowered: str, labels: dict[str, str]) -> list[str]:
    """Labels whose text occurs in the words; a scan over substrings of at most five words."""
    words = re.findall(r"\S+", re.sub(r"[^\w&'’ -]", " ", lowered))
    spans = {
        " ".join(words[start:stop])
        for start in range(len(words))
        for stop in range(start + 1, min(start + 6, len(words) + 1))
    }
    variants = spans | {f"{span}s" for span in spans}
    return sorted(variant for variant in variants if variant in labels)


def kind_of(words: str, vocabulary: Vocabulary, *, limited: bool = False) -> IntentionKind:
    """Whether words are a vague wish or a specific one (see `parse_request`).

    Args:
        words: Not empty.
        vocabulary: The catalogue's labels.
        limited: Whether they hold a limit.
    """
    if _FIRST_PERSON.search(words):
        return IntentionKind.VAGUE
    specific = limited or len(words.split()) <= 5 or _all_labels(words, vocabulary)
    return IntentionKind.SPECIFIC if specific else IntentionKind.VAGUE


def _all_labels(words: str, vocabulary: Vocabulary) -> bool:
    parts = [part.strip().casefold() for part in words.split(",") if part.strip()]
    known = vocabulary.categories.keys() | vocabulary.brands.keys()
    return bool(parts) and sum(part in known for part in parts) * 2 >= len(parts)
