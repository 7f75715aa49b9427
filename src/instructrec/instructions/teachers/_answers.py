"""Reads a language model's answer and says what is wrong with it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instructrec.instructions.annotations import names_title
from instructrec.instructions.teachers._prompt_files import Wordings
from instructrec.instructions.teachers._wording import Secret
from instructrec.instructions.teachers.base import Ask, ItemFacts

_LONGEST_ANSWER = 20_000
"""Characters of an answer that are looked at."""
_TRIES = 64
"""Opening braces at which an object is looked for."""

_UNIT = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]|[^\W\d_぀-ヿ㐀-鿿豈-﫿가-힯]+")
"""A word, or a character of a script that is written without spaces."""
_SCRIPTS = {
    "latin": re.compile(r"[A-Za-zÀ-ɏḀ-ỿ]"),
    "han": re.compile(r"[㐀-鿿豈-﫿]"),
    "kana": re.compile(r"[぀-ヿ㐀-鿿豈-﫿]"),
    "hangul": re.compile(r"[가-힯]"),
    "cyrillic": re.compile(r"[Ѐ-ԯ]"),
    "arabic": re.compile(r"[؀-ۿݐ-ݿ]"),
    "other": re.compile(r"."),
}
_HAN = re.compile(r"[㐀-鿿豈-﫿]")
_LEAST_SHARE = {"latin": 0.8, "other": 0.0}
"""Of an answer's words, those in the script asked for; others borrow Latin names freely."""
_LONG_ENOUGH = 6
"""From so many words on a text holds a common word of its language."""
_LISTED = re.compile(r"\n\s*(?:\n|[-*•·]|\d+[.)、])")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Reading:
    """What was read for one ask.

    Attributes:
        text: On one line; to be used only where there is no fault.
        fault: ``""``, or one of `FAULTS` in ``_prompt_files``.
    """

    text: str
    fault: str = ""


def field_values(answer: str, names: Sequence[str]) -> dict[str, Any] | None:
    """The fields of the first JSON object in an answer that has any of the names.

    Fences and words around the object are passed over; ``Long-term`` counts as ``long_term``.
    None where there is no such object.
    """
    text = answer[:_LONGEST_ANSWER]
    decoder = json.JSONDecoder(strict=False)
    at = -1
    for _ in range(_TRIES):
        at = text.find("{", at + 1)
        if at < 0:
            return None
        try:
            found, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        values = {re.sub(r"[\s-]+", "_", key.strip()).lower(): found[key] for key in found}
        if any(name in values for name in names):
            return values
    return None


class Rules:
    """What an answer in a language must be like.

    Args:
        wordings: Of the language.
        limits: Kind of job → words or characters at most.
    """

    def __init__(self, wordings: Wordings, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._by_words = wordings.counts == "words"
        self._script = _SCRIPTS[wordings.script]
        self._share = _LEAST_SHARE.get(wordings.script, 0.6)
        self._common = self._any_of(wordings.common)
        self._refusal = self._any_of(wordings.refusals)
        self._wrong_person = {
            "preference": self._any_of(wordings.wrong_person.preference),
            "intention": self._any_of(wordings.wrong_person.intention),
        }

    def refuses(self, text: str) -> bool:
        """Whether a text declines to answer."""
        return bool(self._refusal.search(_folded(text)))

    def reading(self, ask: Ask, value: Any) -> Reading:
        """One field of an answer, with the first fault found."""
        if not isinstance(value, str):
            return Reading("", "structure")
        raw = _printable(value).strip()
        text = " ".join(raw.split())
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].strip()
        return Reading(text, self._fault(ask, raw, text))

    def _fault(self, ask: Ask, raw: str, text: str) -> str:
        kind = "query" if ask.view == "query" else ask.kind
        folded = _folded(text)
        wrong_person = kind != "query" and self._wrong_person[kind].search(folded)
        checks = {
            "empty": not any(map(str.isalpha, text)),
            "refusal": self.refuses(text),
            "language": not self._in_language(folded, query=kind == "query"),
            "length": self._length(text) > self._limits[kind],
            "title": _names_item(ask, text),
            "person": bool(wrong_person),
            "paragraph": bool(_LISTED.search(raw)),
        }
        return next((fault for fault, found in checks.items() if found), "")

    def _length(self, text: str) -> int:
        return len(text.split()) if self._by_words else len(_units(text))

    def _in_language(self, folded: str, *, query: bool) -> bool:
        units = [unit for unit in _units(folded) if unit[0].isalpha()]
        own = sum(bool(self._script.match(unit)) for unit in units)
        if own < self._share * len(units):
            return False
        return query or len(units) < _LONG_ENOUGH or bool(self._common.search(folded))

    def _any_of(self, phrases: Iterable[str]) -> re.Pattern[str]:
        """Whole words where words are counted, any run of characters elsewhere."""
        options = "|".join(re.escape(_folded(phrase)) for phrase in phrases)
        if not options:
            return re.compile(r"(?!)")
        return re.compile(rf"(?<!\w)(?:{options})(?!\w)" if self._by_words else options)


def _names_item(ask: Ask, text: str) -> bool:
    """Whether a text gives away the target's title, or one of the history.

    The target's may not occur at all, whatever word it is: the corpus drops such a text. Of a
    history, a title of one word counts only where it is written as a name, with a capital inside
    a sentence: a taste for "thrillers on the beach" must not fail on an album called "Beach". Nor
    does one count that is a label as well, such as "Wii".
    """
    if ask.item is not None:
        return (
            Secret(ask.item.title).told_by(text)
            or names_title(text, ask.item.title)
            or _holds_han(ask.item.title, text, least=2)
        )
    labels = {label for item in ask.history for label in _labels(item)}
    titles = [
        item.title
        for item in ask.history
        if not any(names_title(label, item.title) for label in labels)
    ]
    long = [title for title in titles if len(_WORD.findall(title)) > 1]
    single = [title for title in titles if len(_WORD.findall(title)) == 1]
    return (
        Secret(*long).told_by(text)
        or any(_named(title, text) for title in single)
        or any(_holds_han(title, text, least=3) for title in titles)
    )


def _labels(item: ItemFacts) -> tuple[str, ...]:
    return (*item.categories, item.brand, *(value for _, value in item.attributes))


def _named(title: str, text: str) -> bool:
    (word,) = _WORD.findall(title)
    if f"《{word}》" in text:
        return True
    if not word[0].isupper() or word.isdigit():
        return False
    return bool(re.search(rf"(?<=[\w,;:] ){re.escape(word)}(?!\w)", text))


def _holds_han(title: str, text: str, *, least: int) -> bool:
    """Titles in Chinese are looked for as characters: words are not told apart by spaces."""
    bare = "".join(_WORD.findall(title))
    if len(_HAN.findall(bare)) < least:
        return False
    return bare.casefold() in "".join(_WORD.findall(text)).casefold()


def _units(text: str) -> list[str]:
    """Words and, in scripts without spaces, characters; numbers count as words."""
    return re.findall(rf"{_UNIT.pattern}|\d+", text)


def _folded(text: str) -> str:
    return text.casefold().replace("’", "'")


def _printable(text: str) -> str:
    """Without control characters, lone surrogates and private characters."""
    if text.isprintable():
        return text
    return "".join(
        " " if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn") and char != "\n" else char
        for char in text
    )
