"""Small English: articles, lists, plurals, and what would give a title away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from instructrec.instructions.teachers._lexicon import lexicon

_WORD = re.compile(r"\w+")
_SOUNDS_CONSONANT = re.compile(r"(?:uni|use|usu|eu|one\b|once|ubi)")
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


def plural_of(word: str) -> str:
    """The plural of a noun in the singular; a plural as it is."""
    if is_plural(word):
        return word
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return "knives" if word == "knife" else "shelves" if word == "shelf" else f"{word}s"


def capital(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=16384)
def label_phrase(label: str) -> str:
    """A category label as it is said in a sentence: lower case but for names.

    Example:
        >>> label_phrase("Gangsta & Hardcore"), label_phrase("Album-Oriented Rock (AOR)")
        ('gangsta & hardcore', 'album-oriented rock')
    """
    bare = " ".join(_IN_BRACKETS.sub("", label.replace("_", " ")).split())
    lowered = bare.lower()
    proper = lexicon().proper
    if lowered in proper:
        return proper[lowered]
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
    """A title that a text must not give away.

    Args:
        title: The whole title, or its first three words and every other three in a row, is secret.
    """

    def __init__(self, title: str) -> None:
        self.size, self.runs = _runs(title)

    def told_by(self, text: str) -> bool:
        """Whether the text gives the title away."""
        if not self.size:
            return False
        words = _WORD.findall(text.lower())
        if self.size == 1:
            return any(word in self.runs for word in words)
        return any(
            tuple(words[at : at + self.size]) in self.runs
            for at in range(len(words) - self.size + 1)
        )


def _runs(title: str) -> tuple[int, frozenset[str | tuple[str, ...]]]:
    words = _WORD.findall(title.lower())
    size = min(3, len(words))
    if size < 2:
        return size, frozenset(words)
    return size, frozenset(tuple(words[at : at + size]) for at in range(len(words) - size + 1))
