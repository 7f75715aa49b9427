"""How a wish comes out of a keyboard: in lower case, without small words, with slips."""

from __future__ import annotations

import re

from instructrec.instructions._diversity import Dice, words

_NEIGHBOURS = {
    **{"a": "qswz", "b": "ghnv", "c": "dfvx", "d": "cefrsx", "e": "drsw", "f": "cdgrtv"},
    **{"g": "bfhtvy", "h": "bgjnuy", "i": "jkou", "j": "hikmnu", "k": "ijlmo", "l": "kop"},
    **{"m": "jkn", "n": "bhjm", "o": "iklp", "p": "lo", "q": "aw", "r": "deft", "s": "adewxz"},
    **{"t": "fgry", "u": "hijy", "v": "bcfg", "w": "aeqs", "x": "cdsz", "y": "ghtu", "z": "asx"},
}
"""Keys that touch a key on a QWERTY keyboard."""
_WORDS_A_SLIP = 12
_MOST_SLIPS = 3

_OPENING = re.compile(
    r"""^(?:hi|hello|hey)?[\s,!]*(?:
        (?:i'?m|i\s+am)\s+(?:now\s+)?(?:looking|searching|hoping|after|interested
            |in\s+the\s+mood|on\s+the\s+lookout)\s*(?:for|after|in)?
      | i(?:'d|\s+would)\s+(?:really\s+)?(?:love|like|be\s+happy\s+with|be\s+glad\s+of|enjoy)
      | i\s+(?:really\s+)?(?:want|need|wish\s+for|hope\s+for|fancy)
      | i\s+could\s+(?:really\s+)?use
      | (?:can|could)\s+you\s+(?:find|show|get|recommend|suggest)(?:\s+me)?
      | (?:please\s+)?(?:find|show|get|give|bring|recommend|suggest)\s+me
      | what\s+i\s+(?:have\s+in\s+mind|want|need|am\s+after)\s+is
      | (?:looking|searching)\s+for
      | (?:do\s+you\s+have|is\s+there)
      | (?:ideally\s+)?it\s+(?:should|must|has\s+to|needs\s+to)\s+(?:be|have)?
    )\b\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_DROPPED = re.compile(r"^\W*(?:for|in|with)\b|\b(?:this time|again|the vein of)\b", re.IGNORECASE)
_EDGE = '.,;:!?"()\u201c\u201d\u2014'


def typed(text: str) -> str:
    """In lower case, without a full stop at the end."""
    return text.lower().rstrip(" .!")


def telegraphic(text: str) -> str:
    """The words that carry something, in lower case, as in a search box.

    Words that limit or rule out ("under", "by", "for", "not", "like", "but") stay. ``""`` where
    fewer than two words would.

    Example:
        >>> telegraphic("I'm looking for a racing game, for a 6-year-old, under 30.")
        'racing game for 6-year-old under 30'
    """
    bare = _DROPPED.sub("", _OPENING.sub("", text.replace("\u2019", "'")))
    said = (word.strip(_EDGE).lower() for word in bare.split())
    kept = [word for word in said if word and word not in words().small]
    return " ".join(kept) if len(kept) > 1 else ""


def mistyped(text: str, dice: Dice) -> str:
    """With slips: a key beside, left out, pressed twice, or two keys swapped.

    One slip for up to a dozen words, three at most; never in the first letter of a word, in words
    of three letters or less, or in numbers.
    """
    places = [match.span() for match in re.finditer(r"[A-Za-z]{4,}", text)]
    count = min(1 + len(text.split()) // _WORDS_A_SLIP, _MOST_SLIPS)
    for start, stop in sorted(dice.order(places)[:count], reverse=True):
        text = text[:start] + _slip(text[start:stop], dice) + text[stop:]
    return text


def _slip(word: str, dice: Dice) -> str:
    at = 1 + dice.number(len(word) - 1)
    kind = dice.number(20)
    if kind < 7:
        return word[:at] + dice.one(_NEIGHBOURS[word[at].lower()]) + word[at + 1 :]
    if kind < 13:
        return word[:at] + word[at + 1 :]
    if kind < 17 and at + 1 < len(word):
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]
