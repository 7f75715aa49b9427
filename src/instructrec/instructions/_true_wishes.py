"""Things a wish may say that hold for its target: limits, comparisons, what is ruled out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from instructrec.instructions._diversity import Dice, words
from instructrec.instructions.teachers._lexicon import lexicon
from instructrec.instructions.teachers._wording import (
    capital,
    is_plural,
    label_phrase,
    with_article,
)
from instructrec.instructions.teachers.base import ItemFacts

_WORD = re.compile(r"[^\W_]+")
_LONGEST_NAME = 6
_LONGEST_VALUE = 3
"""Words of an item's name, and of an attribute's value, that somebody would still type."""

_AGES = re.compile(
    r"\bages?:?\s*(\d{1,2})(?:\s*(?:-|–|to)\s*(\d{1,2})|\s*\+|\s+(?:and|&) up)", re.I
)
_NOT_YEARS = re.compile(r"\s*(?:months?|mos?|m|weeks?|wks?|days?)\b", re.I)
_DENIED = re.compile(r"\b(?:not|never|no|unsuitable|hazard|warning)\b[^.!?]*$", re.I)
"""What stands before ages that an item is not for: "not recommended for ages 1-3"."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class _Relation(NamedTuple):
    """What a target is beside another item: in a comparison, and as a reply when that is shown."""

    compared: str
    reply: str


def spoken(text: str, target: ItemFacts, history: Sequence[ItemFacts], dice: Dice) -> str:
    """A list of the target's labels as a sentence about the narrowest; ``""`` for other texts.

    Labels too broad to tell a wish are not named.
    """
    labels = {_plain(label): label for label in target.categories}
    parts = [_plain(part) for part in text.split(",")]
    known = [labels[part] for part in parts if part in labels]
    narrow = [label for label in known if label.casefold() not in lexicon().broad]
    if len(known) < len(parts) or not narrow:
        return ""
    # A path ends in its narrowest label; of labels in no order, one or two are named.
    path = narrow[-1] == known[-1]
    named = narrow[-1:] if path else dice.order(narrow)[: 1 + dice.number(2)]
    phrase = " and ".join(dict.fromkeys(label_phrase(label) for label in named))
    if len(named) == 1 and "&" not in phrase and phrase.split()[-1] in lexicon().count:
        phrase = with_article(phrase)
    frames = (
        "I'm looking for {}.",
        "I need {}.",
        "I want {}.",
        "I would like {}.",
        "Can you find me {}?",
        "Show me {}.",
        "Looking for {}.",
        "Do you have {}?",
    )
    return dice.one(frames).format(phrase)


def _plain(label: str) -> str:
    return " ".join(label.replace("_", " ").split()).casefold()


def limited(text: str, target: ItemFacts, history: Sequence[ItemFacts], dice: Dice) -> str:
    """With one to three limits that the target keeps; ``""`` where nothing is known of it."""
    known = dice.order(list(_limits(target, text, dice)))
    return _joined(text, known[: 1 + dice.number(3)]) if known else ""


def negated(text: str, target: ItemFacts, history: Sequence[ItemFacts], dice: Dice) -> str:
    """Without what the history has and the target lacks; ``""`` where there is no such thing."""
    for item in dice.order(history):
        if _related(target, item):
            options = list(_lacking(target, item))
            if options:
                return _joined(text, [dice.one(options)])
    return ""


def compared(text: str, target: ItemFacts, history: Sequence[ItemFacts], dice: Dice) -> str:
    """With an item of the history that is alike, and how the target differs from it."""
    for name, relation in _comparisons(target, history, dice):
        frames: tuple[str, ...] = (
            "like {}, but {}",
            "something like {}, only {}",
            "much like {}, but {}",
        )
        if relation.compared.startswith("by the same"):
            frames = ("like {}, {}", "similar to {}, {}")
        return _joined(text, [dice.one(frames).format(name, relation.compared)])
    return ""


def follow_up(text: str, target: ItemFacts, history: Sequence[ItemFacts], dice: Dice) -> str:
    """As a conversation on one line: the wish, an item that was offered, and the reply to that."""
    for name, relation in _comparisons(target, history, dice):
        wish = text if text[-1] in ".?!" else f"{text}."
        frames = (
            f"{wish} - How about {name}? - {capital(relation.reply)}.",
            f'I said: "{wish}" You showed me {name}. {capital(relation.reply)}, please.',
            f"Me: {wish} Shop: Have a look at {name}. Me: {capital(relation.reply)}.",
            f"Earlier I asked this: {wish} You suggested {name}. Now {relation.reply}.",
        )
        return dice.one(frames)
    return ""


def _joined(text: str, parts: Sequence[str]) -> str:
    """A wish and further parts of it as one sentence, or one list of labels."""
    body, end = text.rstrip(), ""
    if body[-1] in ".!?":
        body, end = body[:-1], body[-1]
    return f"{', '.join([body, *parts])}{end}"


def _limits(target: ItemFacts, text: str, dice: Dice) -> Iterator[str]:
    """What may be asked of an item that it has, unless the text has a figure of its own."""
    if target.price is not None and target.price > 0 and not _NUMBER.search(text):
        forms = ("under {}", "below {}", "at most {}", "no more than {}", "less than {}")
        yield dice.one(forms).format(_round_above(target.price))
    if (ages := _ages(target)) is not None:
        age = ages[0] + dice.number(ages[1] - ages[0] + 1)
        yield f"for {with_article(f'{age}-year-old')}"
    brand = " ".join(target.brand.split())
    if 1 <= len(brand.split()) <= _LONGEST_VALUE:
        yield f"by {brand}"
    for name, value in target.attributes:
        if said := _forms(name, value):
            yield dice.one(said)


def _forms(name: str, value: str) -> list[str]:
    """How a value is said; none for an attribute that is not known or too long to say."""
    if not 1 <= len(value.split()) <= _LONGEST_VALUE:
        return []
    said = " ".join(value.split())
    said = said if name.lower() in words().as_written else said.lower()
    if name.lower() == "size" and " " in said:
        return [said]  # "20 rolls", "set of 2": said as it is, "in size" goes with M or 42.
    return [form.format(said) for form in words().places.get(name.lower(), ())]


def _round_above(price: float) -> int:
    """A round amount above a price: somebody's limit, not the price itself."""
    step = 5 if price < 50 else 25 if price < 250 else 100
    return (int(price // step) + 1) * step


def _ages(item: ItemFacts) -> tuple[int, int] | None:
    """The ages an item is said to be for, as its attributes, title or description have it."""
    told = [f"age {value}" for name, value in item.attributes if name.lower().startswith("age")]
    for text in (*told, item.title, item.description):
        for found in _AGES.finditer(text):
            if _NOT_YEARS.match(text, found.end()) or _DENIED.search(text, 0, found.start()):
                continue
            first, last = int(found[1]), int(found[2] or int(found[1]) + 2)
            if 0 < first <= last <= 18:
                return first, last
    return None


def _lacking(target: ItemFacts, item: ItemFacts) -> Iterator[str]:
    """What may be ruled out because another item has it and the target has nothing of it."""
    values = {value.casefold() for _, value in item.attributes}
    told = _told(target)
    for label in item.categories:
        if label.casefold() in values or label.casefold() in lexicon().broad:
            continue
        if not _apart(label, told):
            continue
        phrase = _phrase(label)
        yield from (f"but no {phrase} this time", f"no more {phrase}", f"anything but {phrase}")
        if single := _singular(phrase):
            yield f"not another {single}"
    own = dict(target.attributes)
    for name, value in item.attributes:
        other = own.get(name, value)
        if name in words().own:
            continue
        if other.casefold() != value.casefold() and _words(value).isdisjoint(told):
            yield from (f"but not {said}" for said in _forms(name, value)[:1])
    brand = " ".join(item.brand.split())
    short = 1 <= len(brand.split()) <= _LONGEST_VALUE
    if target.brand and short and _apart(brand, told):
        yield f"but not by {brand} again"


def _comparisons(
    target: ItemFacts, history: Sequence[ItemFacts], dice: Dice
) -> Iterator[tuple[str, _Relation]]:
    """Items of the history that may be named, each with one true relation of the target to it."""
    for item in dice.order(history):
        name = _name(item.title)
        if not name or not _alike(target, item) or _words(name) <= _words(target.title):
            continue
        relations = list(_relations(target, item))
        if relations:
            yield name, dice.one(relations)


def _relations(target: ItemFacts, other: ItemFacts) -> Iterator[_Relation]:
    if target.price and other.price and target.price < 0.8 * other.price:
        yield _Relation("cheaper", "something cheaper")
    if target.brand and other.brand:
        role = _role(target)
        if target.brand.casefold() == other.brand.casefold():
            yield _Relation(f"by the same {role}", f"something else from this {role}")
        elif _apart(target.brand, _words(other.brand)):
            yield _Relation(f"by another {role}", f"something by another {role}")
    own, theirs = dict(target.attributes), dict(other.attributes)
    for name, value in own.items():
        if name not in theirs or theirs[name].casefold() == value.casefold():
            continue
        for said in _forms(name, value)[: name not in words().own]:
            yield _Relation(said, f"I want it {said}")
        yield from _by_number(name, value, theirs[name])
    if not target.attributes:
        lacking = _told(other)
        for label in target.categories[1:]:
            if label.casefold() not in lexicon().broad and _apart(label, lacking):
                phrase = _phrase(label)
                yield _Relation(f"closer to {phrase}", f"I would rather have {phrase}")


def _by_number(name: str, value: str, other: str) -> Iterator[_Relation]:
    """More or less of it, where both say one figure in the same unit."""
    if _NUMBER.sub("", value).casefold() != _NUMBER.sub("", other).casefold():
        return
    more_or_less = words().numbers.get(name.lower())
    own, theirs = _NUMBER.search(value), _NUMBER.search(other)
    if more_or_less and own and theirs:
        difference = float(own[0]) - float(theirs[0])
        if abs(difference) > 0.1 * float(theirs[0]) or (name == "year" and abs(difference) > 1):
            word = more_or_less[0] if difference > 0 else more_or_less[1]
            yield _Relation(word, f"something {word}")


def _related(target: ItemFacts, item: ItemFacts) -> bool:
    """Whether two items are of one department, or share any label beside it."""
    same = bool(target.categories) and target.categories[:1] == item.categories[:1]
    return same or any(label in item.categories[1:] for label in target.categories[1:])


def _alike(target: ItemFacts, item: ItemFacts) -> bool:
    """Whether two items are of one kind: a label below the department, as far as there are any."""
    broad = lexicon().broad
    narrow = [label for label in target.categories[1:] if label.casefold() not in broad]
    return any(label in item.categories for label in narrow or target.categories)


def _role(item: ItemFacts) -> str:
    department = _words(item.categories[0]) if item.categories else frozenset[str]()
    if department & {"book", "kindle"}:
        return "author"
    return "artist" if department & {"music", "cd", "vinyl"} else "brand"


@lru_cache(maxsize=16384)
def _name(title: str) -> str:
    """An item as somebody would call it; ``""`` where its title is too long to be typed."""
    short = re.split(r"\s+-\s+|[(\[,:|/]", title, maxsplit=1)[0].strip(" .\"'")
    if not 1 <= len(short.split()) <= _LONGEST_NAME or not re.search(r"[A-Za-z]{2}", short):
        return ""
    return " ".join(short.split()) if '"' not in short else ""


@lru_cache(maxsize=16384)
def _phrase(label: str) -> str:
    return label_phrase(label).replace(" & ", " or ")


def _singular(phrase: str) -> str:
    """``shooter`` of ``shooters``; ``""`` where there is no plain singular."""
    *before, word = phrase.split()
    if " or " in phrase or "&" in phrase or not is_plural(word) or word in words().paired:
        return ""
    if word.endswith("ies") and len(word) > 6:
        return " ".join([*before, f"{word[:-3]}y"])
    if re.search(r"(?:ch|sh|x|ss|zz)es$", word):
        return " ".join([*before, word[:-2]])
    return " ".join([*before, word[:-1]]) if re.search(r"[a-rt-z]s$", word) else ""


def _told(item: ItemFacts) -> frozenset[str]:
    """All words that are said of an item."""
    values = (value for _, value in item.attributes)
    texts = (*item.categories, *values, item.title, item.brand, item.description)
    return _words(" ".join(texts))


def _apart(label: str, told: frozenset[str]) -> bool:
    """Whether a label has words of its own and none of them is among those told."""
    own = _distinctive(label)
    return bool(own) and own.isdisjoint(told)


def _distinctive(label: str) -> frozenset[str]:
    return _words(label) - words().generic


@lru_cache(maxsize=16384)
def _words(text: str) -> frozenset[str]:
    """Words without regard to case and number."""
    return frozenset(_stem(word) for word in _WORD.findall(text.casefold()))


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and len(word) > 3 and not word.endswith("ss") else word
