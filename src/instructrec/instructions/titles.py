"""Whether a text gives a title away: word for word, or nearly."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache

NEAR_WORDS = 3
"""Titles of fewer telling words (three letters or more) are looked for word for word only: nearly
them is ordinary language."""
SHARED = 0.8
"""A near-copy has this share of the title's words, in order, with one more at most between."""
ALIKE = 0.9
"""Or is so similar letter by letter (`difflib`'s ratio)."""

_NO_SPACES = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORDS = rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+"
"""A word, or a character of a script that is written without spaces."""
_WORD = re.compile(WORDS)
_NO_SPACE = re.compile(f"[{_NO_SPACES}]")


@lru_cache(maxsize=65536)
def words_of(text: str) -> tuple[str, ...]:
    """Lower-case words of a text; of Chinese, Japanese and Korean every character."""
    return tuple(_WORD.findall(text.casefold()))


def copied(text: str, title: str) -> str:
    """How a text gives a title away.

    Returns:
        ``copy`` where the title's words stand in it, ``near-copy`` where a stretch of it holds
        at least `SHARED` of the words in order or is `ALIKE` letter by letter (titles of
        `NEAR_WORDS` telling words or more), else ``""``.
    """
    words, wanted = words_of(text), words_of(title)
    size = len(wanted)
    if not size:
        return ""
    if any(words[at : at + size] == wanted for at in range(len(words) - size + 1)):
        return "copy"
    telling = sum(len(word) > 2 or _NO_SPACE.match(word) is not None for word in wanted)
    known = set(words)
    if telling < NEAR_WORDS or sum(word in known for word in wanted) < 0.6 * size:
        return ""
    return "near-copy" if _is_near(words, wanted) else ""


def _is_near(words: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    size, title = len(wanted), " ".join(wanted)
    by_word = SequenceMatcher(autojunk=False)
    by_word.set_seq2(wanted)
    by_letter = SequenceMatcher(autojunk=False)
    by_letter.set_seq2(title)
    starts = {word for word in words if word in set(wanted)}
    for width in (size - 1, size, size + 1):
        for at in range(max(len(words) - width + 1, 1)):
            stretch = words[at : at + width]
            if sum(word in starts for word in stretch) < 0.6 * size:
                continue
            by_word.set_seq1(stretch)
            if sum(block.size for block in by_word.get_matching_blocks()) >= SHARED * size:
                return True
            by_letter.set_seq1(" ".join(stretch))
            if by_letter.quick_ratio() >= ALIKE and by_letter.ratio() >= ALIKE:
                return True
    return False
