"""Small English: articles, lists, plurals, and what would give a title away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from instructrec.instructions.teachers._lexicon import grammar, lexicon

_WORD = re.compile(r"\w+")
_SOUNDS_CONSONANT = re.compile(r"(?:uni|use|usu|usb|usa|eu|one\b|once|ubi)")
_SOUNDS_VOWEL = re.compile(r"(?:hour|honest|heir|8|11\b|18\b|mp3|lp\b|ep\b|lcd|led\b|r&b)")
_IN_BRACKETS = re.compile(r"\s*\([^)]*\)")


def with_article(phrase: str) -> str:
    """``a`` or ``an`` before a phrase in the singular."""
    first = phrase.lower()
    vowel = first[:1] in "aeiou" and not _SOUNDS_CONSONANT.match(first)
    return f"{'an' if vowel or _SOUNDS_VOWEL.match(first) else 'a'} {phrase}"


def listed(parts: Sequence[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def is_plural(word: str) -> bool:
    """Whether a word looks like a plural."""
    known = lexicon()
    if word in known.plural:
        return True
    if word in known.mass or word in known.count:
        return False
    return word.endswith("s") and not word.endswith(("ss", "us", "is"))


_SHAPES = ("ous", "ive", "ful", "less", "esque", "ish", "istic", "able", "ible", "ical")
_HYPHENED = ("ed", "ing", "in'", "driven", "laden", "heavy", "friendly", "free", "like", "style")


@lru_cache(maxsize=16384)
def is_shaped(word: str) -> bool:
    """Whether a word that no list has looks like an adjective: ``melodious``, ``hard-hitting``."""
    if len(word) < 6 or word in grammar().no_shape or word in lexicon().not_nouns:
        return False
    if "-" in word:
        return word.endswith(_HYPHENED) and word.replace("-", "").replace("'", "").isalpha()
    return word.isalpha() and word.endswith(_SHAPES)


def plural_of(word: str) -> str:
    """The plural of a noun in the singular; a plural as it is."""
    if is_plural(word) or word.rsplit(maxsplit=1)[-1] in lexicon().mass:
        return word
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return "knives" if word == "knife" else "shelves" if word == "shelf" else f"{word}s"


_IRREGULAR = {"is": "be", "has": "have", "does": "do", "goes": "go", "lies": "lie"}


def base_form(verb: str) -> str:
    """The plain form of a verb in the third person: ``keeps`` is ``keep``; ``""`` for others."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if len(verb) < 4 or verb.endswith("ss") or not verb.endswith("s"):
        return ""
    if verb.endswith("ies"):
        return f"{verb[:-3]}y"
    return verb[:-2] if verb.endswith(("shes", "ches", "sses", "xes", "zzes", "oes")) else verb[:-1]


def beginning(text: str, longest: int) -> str:
    """A text up to a length, to the end of a sentence or word."""
    if len(text) <= longest:
        return text
    start = text[:longest]
    return start[: start.rfind(". ") + 1 or max(start.rfind(" "), 0) or longest]


def distinct_nouns(phrases: Sequence[str]) -> tuple[str, ...]:
    """Phrases without those that end like one before them."""
    kept: dict[str, str] = {}
    for phrase in phrases:
        kept.setdefault(phrase.rsplit(maxsplit=1)[-1].removesuffix("s"), phrase)
    return tuple(kept.values())


def capital(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=16384)
def label_phrase(label: str) -> str:
    """A category label as it is said in a sentence: lower case but for names.

    Example:
        >>> label_phrase("Gangsta & Hardcore"), label_phrase("Album-Oriented Rock (AOR)")
        ('gangsta rap', 'album-oriented rock')
    """
    bare = " ".join(_IN_BRACKETS.sub("", label.replace("_", " ")).split())
    lowered = bare.lower()
    proper = lexicon().proper
    said = lexicon().labels.get(lowered.replace(" and ", " & ")) or proper.get(lowered)
    if said:
        return said
    words = [
        proper.get(word.lower(), word if any(map(str.isdigit, word)) else word.lower())
        for word in bare.split()
    ]
    phrase = " ".join(words)
    for name in ("west coast", "east coast", "bay area", "new zealand", "british isles"):
        if name in lowered:
            phrase = re.sub(name, proper[name], phrase, flags=re.IGNORECASE)
    return phrase


class Secret:
    """Titles that a text must not give away.

    Args:
        titles: Of each, every three words in a row are secret, or the whole where it is shorter.
    """

    def __init__(self, *titles: str) -> None:
        self._runs: list[set[tuple[str, ...]]] = [set() for _ in range(_RUN)]
        for title in titles:
            runs = _runs(title)
            if runs:
                self._runs[len(runs[0]) - 1].update(runs)

    def told_by(self, text: str) -> bool:
        """Whether the text gives a title away."""
        words = _WORD.findall(text.lower())
        singles, pairs, triples = self._runs
        if singles and not singles.isdisjoint(zip(words, strict=True)):
            return True
        if pairs and not pairs.isdisjoint(pairwise(words)):
            return True
        return bool(triples) and not triples.isdisjoint(
            zip(words, words[1:], words[2:], strict=False)
        )

    def open(self, phrases: Iterable[str]) -> tuple[str, ...]:
        """The phrases that may be said; empty ones are left out."""
        return tuple(phrase for phrase in phrases if phrase and not self.told_by(phrase))


_RUN = 3


@lru_cache(maxsize=16384)
def _runs(title: str) -> tuple[tuple[str, ...], ...]:
    words = _WORD.findall(title.lower())
    size = min(_RUN, len(words))
    return tuple(tuple(words[at : at + size]) for at in range(len(words) - size + 1) if size)
