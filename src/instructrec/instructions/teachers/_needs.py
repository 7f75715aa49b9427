"""Finds the wish that a review states, and turns it into what somebody would say beforehand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from instructrec.instructions.teachers._lexicon import grammar, lexicon
from instructrec.instructions.teachers._wording import base_form, with_article

LONGEST_CLAUSE: Final = 24
"""Words of a stated wish at most; its opening comes on top."""

_I = r"\b(?:i|we)(?:'ve|'d|'m)?\s+(?:(?:have|had|was|were|am|been|really|just|only|still|also|\
always|simply|badly|desperately|originally|mostly|mainly|actually|long)\s+)*".replace("\\\n", "")
_SEEKING = r"(?:looking|searching|hunting|shopping)\s+for"
_CUES: Final = (
    (
        "want",
        ("need", "want", " hop"),
        re.compile(_I + r"(?:needed|wanted|need|want|hop(?:ed|ing)\s+for)\s+"),
    ),
    (
        "want",
        ("ing for", " after"),
        re.compile(
            rf"{_I}(?:{_SEEKING}|after)\s+|\b(?:was|were|been)\s+(?:\w+\s+)?{_SEEKING}\s+"
            rf"|(?:^|(?<=[.!?\n])\s*){_SEEKING}\s+"
        ),
    ),
    (
        "sought",
        ("search of", "market for", "hunt for", "lookout for", "finding", "asked", "looked"),
        re.compile(
            r"\b(?:(?:search|pursuit)\s+of|(?:market|hunt|lookout)\s+for|finding|"
            r"(?:asked|looked)\s+(?:(?:around|everywhere|hard)\s+)?for)\s+"
            r"(?=(?:an?|some|something|someone)\s)"
        ),
    ),
    (
        "got",
        ("bought", "got", "ordered", "purchased", "picked"),
        re.compile(
            r"(?:^|[.!?\n,]\s*|\b(?:i|we)\s+(?:(?:have|had|just|also|originally|recently)\s+)*)"
            r"(?:bought|got|ordered|purchased|picked\s+up)\s+(?:this|it|these|them|one|some)\s+"
            r"(?=(?:to|for|so)\b)"
        ),
    ),
    (
        "others",
        ("want", "need", "ing for"),
        re.compile(
            r"\b(?:any(?:one|body)|some(?:one|body)|people|those|folks)\s+(?:(?:who|that)\s+"
            r"(?:wants?|needs?|(?:is|are)\s+(?:looking|searching)\s+for)|"
            r"(?:looking|searching)\s+for|(?:wanting|needing))\s+"
        ),
    ),
    ("gift", ("gift for", "present for"), re.compile(r"\b(?:gift|present)\s+(?=for\s)")),
    (
        "who",
        ("one who", "body who"),
        re.compile(
            r"\b(?:any|some)(?:one|body)\s+(?=who\s+(?:loves|likes|enjoys|adores|appreciates|"
            r"collects|plays|lives|works|travels|suffers|cooks|reads|writes|paints|sews)\s)"
        ),
    ),
    (
        "you",
        ("if you",),
        re.compile(
            r"\bif\s+you(?:'re|\s+are)?\s+(?:(?:just|ever|really)\s+)?"
            r"(?:want|need|looking\s+for|searching\s+for)\s+"
        ),
    ),
)
"""What a cue is like, of which one must occur in a text that has it, and the cue itself; in lower
case."""
_END: Final = re.compile(
    r"[.?!;:,\n()\"]|\s[-–—]+\s|--|"
    r"\b(?:but|because|so(?! that)|since|when|while|although|though|which|until|unless|if|as\s+i|"
    r"(?:and|then)\s+(?:i|we|he|she|it|they|this|these|"
    r"that|the|my\s+\w+|was|were|had|have|am|is|got|found|saw|bought|came|thought|decided|\w+ed|"
    r"sent|gave|left|made|took|went|put|told|knew|fell|did|can|could|just|also|don't|didn't|never)|"
    r"i\s+(?:(?!need)\w+ed|bought|got|found|think)|(?:this|it)\s+is|"
    r"or\s+(?:just|want|need|are|looking)|(?:you|i)\s+(?:might|may|should|must)|(?:you|i)'ll)\b",
    re.I,
)
_TIME: Final = re.compile(
    r"\s+(?:(?:for|in)\s+(?:(?:a|quite|such|very|long|little|good|some|many|several|so|the|past|"
    r"last|over|about|few|\d+)\s+)*(?:time|while|years?|months?|weeks?|ages|days|long|hours?)|"
    r"(?:half|most\s+of)\s+(?:(?:the|my|a)\s+)?\w+|(?:last|this|the\s+other)\s+(?:year|week|month|"
    r"day|night|summer|winter|spring|autumn|fall|christmas)|ever|forever|lately|recently|anyway|"
    r"now|too|already|though|myself|today|again|at\s+the\s+time)$",
    re.I,
)
_MODAL: Final = re.compile(r"\b(?:should|would|will|won't|must|can't|needs?\s+to|has\s+to)\b", re.I)
_PAST: Final = {
    "was": "is",
    "were": "are",
    "had": "has",
    "worked": "works",
    "looked": "looks",
    "wasn't": "isn't",
    "weren't": "aren't",
    "didn't": "doesn't",
    "wouldn't": "doesn't",
    "lasted": "lasts",
    "sounded": "sounds",
    "felt": "feels",
}
_YOURS: Final = {"you": "I", "your": "my", "yours": "mine", "yourself": "myself", "you're": "I'm"}
_BEFORE_KNOWN: Final = frozenset(("know", "knew", "heard", "said", "told", "saw", "guessed"))


@dataclass(frozen=True)
class Said:
    """A wish in the writer's own words.

    Attributes:
        clause: ``a way to sleep on trains``, ``to keep the rain out``.
        bare: Whether the clause is an aim of the writer (``to``), not a thing.
    """

    clause: str
    bare: bool = False


@lru_cache(maxsize=8192)
def wish_said(text: str, title: str, names: bool = True) -> Said | None:
    """The first wish that a review (already `plain`) states, in the present tense.

    Args:
        text: The review.
        title: Of the item: capitalised words of it are not repeated.
        names: Whether other capitalised words may be.
    """
    lowered = text.lower()
    if len(lowered) != len(text):
        text = lowered
    told: set[str] = set()
    for kind, hints, cue in _CUES:
        if not any(hint in lowered for hint in hints):
            continue
        for found in cue.finditer(lowered):
            if kind in ("want", "got") and _depends(lowered, found.start()):
                continue
            told = told or set(re.findall(r"\w+", title.lower()))
            said = _clause(kind, text, found.end(), told, names)
            if said and kind == "gift":
                before = lowered[: found.start()].split()[-1:]
                occasion = before[0] if before and before[0] in lexicon().occasions else ""
                return _gift(said, lexicon().proper.get(occasion, occasion))
            if said:
                return said
    return None


def _gift(said: Said, occasion: str) -> Said:
    gift = " ".join(part for part in (occasion, "gift") if part)
    return Said(said.clause.replace("something", with_article(gift), 1))


def _depends(text: str, start: int) -> bool:
    """Whether what stands before a cue makes it part of another thought."""
    before = re.findall(r"[\w']+|[^\w\s]", text[max(start - 40, 0) : start].lower())[-2:]
    if not before:
        return False
    if before[-1] == "that":
        return before[0] not in _BEFORE_KNOWN
    return before[-1] in grammar().no_cue_after


def _end(text: str, start: int) -> int:
    """Where the clause ends; "my dad and I" is no end."""
    for found in _END.finditer(text, start):
        together = found[0].lower() == "and i" and _MINE.search(text[start : found.start()])
        if not together:
            return found.start()
    return len(text)


_MINE: Final = re.compile(r"\bmy\s+\w+\s+$", re.I)


def _clause(kind: str, text: str, start: int, told: set[str], names: bool) -> Said | None:
    raw = text[start : _end(text, start + 3 if kind in ("got", "gift") else start)].strip()
    if kind in ("others", "who"):
        raw = _MODAL.split(raw, maxsplit=1)[0].strip()
    shorter = _TIME.sub("", raw)
    while shorter != raw:
        raw, shorter = shorter, _TIME.sub("", shorter)
    words = raw.split()
    while words and words[-1].lower() in grammar().no_clause_end:
        words.pop()
    fewest = 3 if not names or words[:1] == ["a"] or kind == "who" else 2
    if not fewest <= len(words) <= LONGEST_CLAUSE or not _may_be_named(words, told, names):
        return None
    lead = words[0].lower()
    if kind in ("got", "gift"):
        return _got(words)
    if kind == "who":
        return Said(f"something for someone {_joined(words)}") if _is_free(words) else None
    if kind == "you":
        words = [_YOURS.get(word.lower(), word) for word in words]
    if lead == "to":
        aim = words[1].lower()
        bad = (
            aim in grammar().no_aims
            or not aim.isalpha()
            or len(words) < 4
            or not names
            or "it" in words
        )
        return None if bad or not _is_free(words[1:]) else Said(_joined(words), True)
    if not _is_thing(words) or (lead == "the" and len(words) < (4 if names else 6)):
        return None
    return Said(_joined(words))


def _got(words: list[str]) -> Said | None:
    """``to keep the rain out``, ``for the birds in my yard``, ``so that I can sleep``."""
    lead, rest = words[0].lower(), words[1:]
    if not rest or not _is_free(rest):
        return None
    if lead == "for":
        fits = rest[0].lower() in grammar().owned and len(rest) > 1
        fits = fits and rest[-1].lower() not in grammar().no_ends
        return Said(f"something {_joined(words)}") if fits else None
    if lead == "to":
        fits = rest[0].lower() not in grammar().no_aims and len(rest) > 1
        return Said(f"something {_joined(words)}") if fits else None
    return Said(f"something {_joined(words)}") if "can" in rest and len(rest) > 3 else None


def _is_thing(words: list[str]) -> bool:
    """Whether a clause begins like a thing wished for and holds no word of another kind."""
    known, lead = lexicon(), words[0].lower()
    if lead in grammar().no_thing or not lead[0].isalpha() or lead.endswith("ly"):
        return False
    if lead in ("the", "my", "another") and words[1].lower() in known.heads:
        return False
    last = words[-1].lower()
    if len(words) < 4 and (
        last in known.vague or (lead in ("a", "an") and last in known.adjectives)
    ):
        return False
    return _is_free(words)


def _is_free(words: list[str]) -> bool:
    """Whether a clause speaks of nothing that was said before it."""
    lowered = [word.lower() for word in words]
    return grammar().no_wish.isdisjoint(lowered) and lowered[0] not in ("it", "them", "one")


def _may_be_named(words: list[str], told: set[str], names: bool) -> bool:
    proper = lexicon().proper
    if len(words[-1]) < 2 or any(word[0] == "'" or word.endswith("'") for word in words):
        return False
    if sum(word.isupper() and len(word) > 1 for word in words) > 2:
        return False
    for word in words:
        if not word[0].isupper() or word == "I" or word.startswith("I'"):
            continue
        bare = word.strip("'-").lower().removesuffix("'s")
        if bare not in proper and (not names or bare in told):
            return False
    return True


def _joined(words: list[str]) -> str:
    """The words in the present tense where they say what a thing does."""
    made = []
    relative = False
    for word in words:
        lowered = word.lower()
        made.append(_PAST.get(lowered, word) if relative else "I" if word == "i" else word)
        relative = lowered in ("that", "who")
    first = made[0] if made[0].startswith("I") else made[0][:1].lower() + made[0][1:]
    return _AGE.sub(_aged, " ".join([first, *made[1:]]))


_AGE: Final = re.compile(r"\b(\d+)[ -](?:years?|yrs?)[ -]olds?(?= \w)")


def _aged(found: re.Match[str]) -> str:
    return f"{grammar().numbers.get(found[1], found[1])}-year-old"


_IT: Final = re.compile(
    r"(?:^|[.!?\n]\s*)it\s+(?:also\s+)?([a-z]+s)\s+([^.!?\n;:()\"]{6,90})(?=[.!\n]|$)", re.I
)
_COORDINATED: Final = re.compile(r"(?:^|\s+)and\s+(?:\w+\s+)?\w+s\b.*|\s+and\s+(?:is|no)\b.*")


@lru_cache(maxsize=8192)
def deed_said(text: str) -> tuple[str, str]:
    """What a review (already `plain`) says the thing does: after "that" and after "should".

    Example:
        >>> deed_said("It keeps the soup warm. Thanks.")
        ('keeps the soup warm', 'keep the soup warm')
    """
    if "it " not in text and "It " not in text:
        return "", ""
    for found in _IT.finditer(text):
        verb = found[1].lower()
        base = _base(verb)
        rest = found[2].split(",")[0]
        end = _END.search(rest)
        words = _COORDINATED.sub("", rest[: end.start()] if end else rest).split()
        while words and words[-1].lower() in grammar().no_clause_end:
            words.pop()
        lowered = [word.lower() for word in words]
        if not base or not 2 <= len(words) <= 12 or not _is_free(words):
            continue
        if lexicon().negations.isdisjoint(lowered) and _may_be_named(words, set(), False):
            return f"{verb} {_joined(words)}", f"{base} {_joined(words)}"
    return "", ""


def _base(verb: str) -> str:
    """The plain form of ``keeps``; ``""`` for what is no such verb."""
    return "" if verb in grammar().no_deed else base_form(verb)
