"""Words of titles and wishes as lexical matching compares them, in any script."""

from __future__ import annotations

import re
import unicodedata

_ACCENTS = re.compile("[\u0300-\u036f]")
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_CJK}]+|(?:(?![{_CJK}])[^\W_])+(?:'(?:(?![{_CJK}])[^\W_])+)?")
_IS_CJK = re.compile(rf"[{_CJK}]")
_PLURALS = (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("s", ""))
_KEPT = ("ss", "us", "is")
_LAST_LATIN = "\u024f"
_STOP_WORDS = (
    "a about am an and any are as at be been but by can could do does for from had has have he "
    "her him his how i if in into is it its just like me more my no not of on or our please she "
    "so some such than that the their them then there these they this those to very was we were "
    "what when which who will with would you your"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that say nothing about an item; they count where a text has no others ("The Who")."""


def words(text: str) -> list[str]:
    """The words of a text, repeats kept.

    Lower case, without accents, plurals stripped lightly (`stem`), without `STOP_WORDS`; runs of
    Chinese, Japanese or Korean characters, which have no spaces, become overlapping pairs.
    """
    found = []
    for token in _TOKEN.findall(_plain(text)):
        if _IS_CJK.match(token):
            found += [token[at : at + 2] for at in range(max(len(token) - 1, 1))]
        else:
            found.append(token.removesuffix("'s"))
    telling = [word for word in found if word not in STOP_WORDS]
    return [stem(word) for word in telling or found]


def stem(word: str) -> str:
    """A word without its plural ending: games → game, batteries → battery, boxes → box."""
    if len(word) <= 3 or word.endswith(_KEPT):
        return word
    for ending, instead in _PLURALS:
        if word.endswith(ending):
            return word.removesuffix(ending) + instead
    return word


def _plain(text: str) -> str:
    """Lower case without accents and typographic apostrophes."""
    apart = unicodedata.normalize("NFKD", text.casefold().replace("\u2019", "'"))
    return unicodedata.normalize("NFC", _ACCENTS.sub("", apart))


def is_latin(text: str) -> bool:
    """Whether most letters of a text are Latin: whether an English encoder can make sense of it."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum(letter <= _LAST_LATIN for letter in letters)
    return 2 * latin > len(letters)
