"""Finds in a review what its writer likes, misses, and got the thing for."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from instructrec.instructions.teachers._lexicon import grammar, lexicon
from instructrec.instructions.teachers._wording import is_plural, is_shaped, with_article

_TAG = re.compile(r"<[^<>]{1,200}>")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9'&-]*|[.,;:!?()\"\n]")
_DECADES = {
    "50": "fifties",
    "60": "sixties",
    "70": "seventies",
    "80": "eighties",
    "90": "nineties",
}
_DECADE = re.compile(r"(?:19)?([5-9]0)'?s")
_YEAR = re.compile(r"(?:19[5-9]|200)\d")
_PARTS = {"early": "early", "mid": "mid", "middle": "mid", "late": "late"}
_JOINED: Final = (
    ("\u2019", "'"),
    ("laid back", "laid-back"),
    ("old school", "old-school"),
    ("compact disc", "cd"),
    ("igh quality", "igh-quality"),
    ("hard hitting", "hard-hitting"),
)
_AFTER_NOUNS: Final = frozenset(("for", "in", "on", "of", "to"))
_KNOWN: Final = 1.5
"""Features scored as high have a noun that the lexicon knows."""


@dataclass(frozen=True)
class Mined:
    """What a text says of a thing.

    Attributes:
        head: What the thing is, ``""`` when not said.
        pointed: Whether it is said with "this" or "these".
        genres: Its kinds, in the order named.
        decade: Such as ``seventies`` or ``early eighties``; ``""`` when none is named.
        era: The same, by the first year named.
        qualities: Adjectives for the whole thing.
        features: What it has, with adjectives and article: ``catchy hooks``, ``a warm voice``;
            the most telling first.
        loose: The same with nouns that the lexicon does not know.
        mentioned: Nouns named without an adjective, such as ``strings``.
        faults: What is complained about, in the same form.
        too: Adjectives of which it has too much.
        ease: What it is easy to do with it: ``easy to clean``; ``""`` when not said.
        hints: Adjectives of something that could not be made out.
        recipient: ``my son``; ``""`` when nobody is named.
        purpose: ``for camping``, ``to teach beginners``; ``""`` when none is said.
    """

    head: str = ""
    genres: tuple[str, ...] = ()
    decade: str = ""
    era: str = ""
    qualities: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    too: tuple[str, ...] = ()
    ease: str = ""
    hints: tuple[str, ...] = ()
    recipient: str = ""
    purpose: str = ""
    pointed: bool = False


def plain(text: str) -> str:
    """A review as its writer saw it: entities turned back, tags gone."""
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub("\n", text)
    for apart, joined in _JOINED:
        text = text.replace(apart, joined)
    return text


@lru_cache(maxsize=8192)
def mine(text: str) -> Mined:
    """Read a review or a description (already `plain`)."""
    return _Miner(text).mined()


class _Miner:
    """One pass over the tokens of a text."""

    def __init__(self, text: str) -> None:
        letters = sum(map(str.isupper, text[:200])), sum(map(str.islower, text[:200]))
        self.raw = _TOKEN.findall(text.lower() if letters[0] > letters[1] else text)
        self.raw += [".", ".", "."]
        self.tokens = " ".join(self.raw).lower().split(" ")
        self.features: dict[str, tuple[float, str]] = {}
        self.mentioned: dict[str, None] = {}
        self.faults: dict[str, str] = {}
        self.qualities: dict[str, None] = {}
        self.hints: dict[str, None] = {}
        self.too: dict[str, None] = {}
        self.pointed = False
        self.genres: dict[str, None] = {}
        self.head = self.decade = self.era = self.recipient = self.purpose = self.ease = ""

    def mined(self) -> Mined:
        """What was found."""
        handlers = _handlers()
        tokens = self.tokens
        at, end = 0, len(tokens) - 3
        while at < end:
            word = tokens[at]
            handler = handlers.get(word)
            if handler is not None:
                at = max(at + 1, handler(self, at))
            else:
                if "0" <= word[0] <= "9":
                    self.when(at)
                at += 1
        best = sorted(self.features.values(), key=lambda scored: -scored[0])
        nouns = set(self.features)
        return Mined(
            self.head,
            tuple(self.genres),
            self.decade,
            self.era,
            tuple(self.qualities),
            tuple(text for score, text in best if score >= _KNOWN),
            tuple(text for score, text in best if score < _KNOWN),
            tuple(noun for noun in self.mentioned if noun.rsplit(maxsplit=1)[-1] not in nouns),
            tuple(self.faults.values()),
            tuple(self.too),
            self.ease,
            tuple(hint for hint in self.hints if hint not in self.qualities),
            self.recipient,
            self.purpose,
            self.pointed,
        )

    # What is said with an adjective

    def adjective(self, at: int) -> int:
        """``warm, soulful vocals``, ``the strap is soft``, ``it is light and sturdy``."""
        known, tokens = lexicon(), self.tokens
        if f"{tokens[at]} {tokens[at + 1]}" in known.genres:
            return self.genre(at)
        if tokens[at - 1] == "too" and at:
            self._too(at)
            return at + 1
        words, stop = self._adjectives(at)
        negated = self._negated(at)
        noun, after = self._noun(stop)
        if noun:
            self._has(words, noun, negated)
            return after
        if negated:
            return stop
        subject = self._subject(at) if self._ends(stop) else None
        if subject is None:
            self.hints.update(dict.fromkeys(w for w in words if w in known.qualities))
            return stop
        if subject:
            self._has(words, subject, False)
        else:
            self.qualities.update(dict.fromkeys(w for w in words if w in known.qualities))
        return stop

    def _adjectives(self, at: int) -> tuple[list[str], int]:
        """Adjectives in a row, joined by commas or ``and``, and where they stop."""
        known, tokens = lexicon(), self.tokens
        words = [tokens[at]]
        stop = at + 1
        while True:
            following = tokens[stop]
            if (
                following in known.adjectives
                or following in known.praise
                or following in known.faults
            ):
                step = 0
            elif following in (",", "and", "yet") and _describes(tokens[stop + 1]):
                step = 1
            else:
                return words, stop
            if tokens[stop + step + 1] == "for" and tokens[stop + step] in grammar().fit_for:
                return words, stop
            if known.is_noun(tokens[stop + step]) and not _describes(tokens[stop + step + 1]):
                ahead = self._noun(stop + step + 1)[0]
                if not ahead:
                    return words, stop
            words.append(tokens[stop + step])
            stop += step + 1

    def _noun(self, at: int) -> tuple[str, int]:
        """The noun that begins here, of one or two words, and where it stops."""
        known, tokens = lexicon(), self.tokens
        first, second = tokens[at], tokens[at + 1]
        if not self._may_be_noun(at):
            return "", at
        pair = f"{first} {second}"
        if known.is_noun(pair) or pair in known.genres:
            return pair, at + 2
        if (
            self._may_be_noun(at + 1)
            and (known.is_noun(second) or second in known.heads)
            and not is_plural(first)
            and (known.is_noun(first) or not first.endswith("ing"))
        ):
            return pair, at + 2
        if known.is_noun(first) or first in known.heads or first in known.genres:
            return first, at + 1
        if second in grammar().stops or second in grammar().to_be or second in _AFTER_NOUNS:
            return first, at + 1
        return "", at

    def _may_be_noun(self, at: int) -> bool:
        known, word = lexicon(), self.tokens[at]
        return (
            len(word) > 2
            and self.raw[at] == word
            and word.isalpha()
            and word not in known.not_nouns
            and (word not in known.vague or word in known.heads)
            and not (word.endswith(("ly", "ed")) and not known.is_noun(word))
            and not (_describes(word) and not known.is_noun(word))
        )

    def _has(self, words: list[str], noun: str, negated: bool) -> None:
        known = lexicon()
        last = noun.rsplit(maxsplit=1)[-1]
        telling = [w for w in words if w in known.adjectives and w not in noun.split()]
        bad = [word for word in words if word in known.faults and word not in known.adjectives]
        if noun in known.heads or noun in known.genres:
            self._of_the_thing(noun, telling, negated)
        elif bad:
            if not negated and (known.is_noun(noun) or known.is_noun(last)):
                self.faults.setdefault(last, _phrase(bad[:1], noun))
        elif not negated:
            is_known = known.is_noun(noun) or known.is_noun(last)
            praise = [word for word in words if word in known.praise][:1]
            if telling and is_known:
                score = 3.0 + 0.4 * (len(telling) > 1) + 0.3 * (" " in noun)
                self._keep(last, score, _phrase(telling[:2], noun))
            elif telling and known.qualities.issuperset(telling):
                self.hints.update(dict.fromkeys(telling))
                if len(last) > 3:
                    self._keep(last, 1.0, _phrase(telling[:2], noun))
            elif is_known and praise and last not in grammar().too_plain:
                self._keep(last, 2.0, _phrase(praise, noun))

    def _of_the_thing(self, noun: str, telling: list[str], negated: bool) -> None:
        known = lexicon()
        if noun in known.heads:
            self.head = self.head or known.heads[noun]
        else:
            self.genres[noun] = None
        if not negated:
            self.qualities.update(dict.fromkeys(w for w in telling if w in known.qualities))

    def _keep(self, noun: str, score: float, text: str) -> None:
        score -= min(0.02 * len(self.features), 0.5)
        if noun not in self.features or self.features[noun][0] < score:
            self.features[noun] = (score, text)

    def _too(self, at: int) -> None:
        word = self.tokens[at]
        if not self._negated(at - 1) and self._ends(at + 1) and self._subject(at - 1) == "":
            self.too[word] = None

    def _negated(self, at: int) -> bool:
        known = lexicon()
        for before in range(at - 1, max(at - 5, -1), -1):
            word = self.tokens[before]
            if word in ".;!?\n":
                return False
            if word in known.negations or word.endswith("n't"):
                return True
        return False

    def _ends(self, at: int) -> bool:
        return self.tokens[at] in grammar().stops or self.tokens[at] == "for"

    def _subject(self, at: int) -> str | None:
        """Of what an adjective without a noun speaks: a noun, ``""`` for the thing, else none."""
        known, tokens = lexicon(), self.tokens
        before = at - 1
        while before >= 0 and tokens[before] in grammar().degrees:
            before -= 1
        if before < 0 or tokens[before] in ".!?\n":
            return ""
        word = tokens[before]
        if word in ("it's", "they're"):
            return ""
        if word not in grammar().to_be or before == 0:
            return None
        subject = tokens[before - 1]
        if subject in grammar().subjects or subject in known.heads:
            return ""
        return subject if known.is_noun(subject) and self.raw[before - 1] == subject else None

    # What the thing is, when it is from, whom and what it is for

    def this(self, at: int) -> int:
        """``this album``, ``these beads``."""
        head = lexicon().heads.get(self.tokens[at + 1])
        if at and self.tokens[at - 1] == "in":
            return at + 1
        if head and not self.pointed and self.raw[at + 1] == self.tokens[at + 1]:
            self.head, self.pointed = head, True
        return at + 1

    def genre(self, at: int) -> int:
        """``funk``, ``new wave``; only where it is no name and not denied."""
        known, tokens = lexicon(), self.tokens
        is_name = at and self.raw[at][0].isupper() and self.raw[at - 1][0].isupper()
        for size in (3, 2, 1):
            words = " ".join(tokens[at : at + size])
            if words in known.genres:
                if not self._negated(at) and not is_name:
                    self.genres[words.replace("hip hop", "hip-hop")] = None
                return at + size
        return at + 1

    def when(self, at: int) -> int:
        """``80's``, ``late seventies``, ``1971``."""
        word = self.tokens[at]
        found = _DECADE.fullmatch(word)
        decade = _DECADES[found[1]] if found else word
        if not self.decade and decade in _DECADES.values():
            before = self.tokens[at - 1].removesuffix("-") if at else ""
            part = _PARTS.get(before, "")
            self.decade = f"{part} {decade}" if part else decade
        elif not self.era and len(word) == 4 and _YEAR.fullmatch(word):
            self.era = _era(int(word))
        return at + 1

    def noun(self, at: int) -> int:
        """``guitar riffs``, ``melodious strings``, and ``piano`` named without an adjective."""
        known, tokens = lexicon(), self.tokens
        noun, stop = self._noun(at)
        if not noun or self._negated(at):
            return at + 1
        last = noun.rsplit(maxsplit=1)[-1]
        before = tokens[at - 1] if at else ""
        leads = self.raw[at - 1] == before and (before in known.modifiers or is_shaped(before))
        if noun != last and tokens[at] in known.modifiers and known.is_noun(last):
            self._keep(last, 2.6, _phrase([], noun))
        elif leads and known.is_noun(last):
            self._keep(last, 2.5, _phrase([before], noun))
        elif noun in known.telling and len(self.mentioned) < 6 and self._ends_noun(stop):
            self.mentioned[noun] = None
        return stop

    def _ends_noun(self, at: int) -> bool:
        word = self.tokens[at]
        return self._ends(at) or word in lexicon().not_nouns or word in grammar().to_be

    def my(self, at: int) -> int:
        """``for my five year old son``, ``my wife loves``."""
        known, tokens = lexicon(), self.tokens
        age, stop = self._age(at + 1)
        who = tokens[stop]
        if self.recipient or who not in known.recipients or not self.raw[stop].islower():
            return at + 1
        if (at and tokens[at - 1] in ("for", "gave", "got")) or tokens[stop + 1] in grammar().loves:
            self.recipient = f"{tokens[at]} {age}{who}".replace("hubby", "husband")
        return stop + 1

    def _age(self, at: int) -> tuple[str, int]:
        tokens = self.tokens
        for text in (" ".join(tokens[at : at + 3]), tokens[at]):
            found = re.fullmatch(r"(\d+)[ -](?:year|yr)s?[ -](?:old|olds)", text)
            if found:
                number = grammar().numbers.get(found[1], found[1])
                return f"{number}-year-old ", at + (3 if " " in text else 1)
        return "", at

    def fit_for(self, at: int) -> int:
        """``perfect for road trips``; else an adjective like others."""
        if self.tokens[at + 1] != "for":
            return self.adjective(at)
        if not self.purpose and not self._negated(at):
            words = self._own_words(at + 2, 5)
            if words and _is_use(words):
                self.purpose = f"for {' '.join(words)}"
        return at + 2

    def use(self, at: int) -> int:
        """``I use it to teach beginners``, ``I use these for camping``."""
        tokens = self.tokens
        if not self.purpose and at and tokens[at - 1] == "i" and tokens[at + 1] in grammar().used:
            words = self._own_words(at + 3, 6)
            if tokens[at + 2] == "to" and len(words) > 1 and words[0].isalpha():
                self.purpose = f"to {' '.join(words)}"
            elif tokens[at + 2] == "for" and words and _is_use(words):
                self.purpose = f"for {' '.join(words)}"
        return at + 1

    def easy(self, at: int) -> int:
        """``easy to clean``."""
        tokens = self.tokens
        if not self.ease and tokens[at + 1] == "to" and not self._negated(at):
            words = self._own_words(at + 2, 3)
            if words:
                self.ease = f"easy to {' '.join(words)}"
        return at + 1

    def occasion(self, at: int) -> int:
        """``for christmas``, ``for the office``."""
        tokens = self.tokens
        before = tokens[at - 1] if at else ""
        where = tokens[at - 2] if at > 1 else ""
        if not self.purpose and self._ends(at + 1):
            if before == "for":
                self.purpose = f"for {tokens[at]}"
            elif before in ("my", "our", "the", "a") and where == "for":
                self.purpose = f"for {before} {tokens[at]}"
        return at + 1

    def _own_words(self, start: int, most: int) -> list[str]:
        """The writer's words from here to the end of the phrase; none when it is long or vague."""
        known, tokens = lexicon(), self.tokens
        stop = start
        while tokens[stop] not in grammar().stops:
            word = tokens[stop]
            if stop - start >= most or word in grammar().no_use or word in known.negations:
                return []
            if not self.raw[stop].islower() or not word.replace("-", "").isalpha():
                return []
            stop += 1
        words = tokens[start:stop]
        if not words or words[-1] in known.not_nouns or words[-1] in grammar().no_ends:
            return []
        return ["my" if word == "your" else word for word in words]


def _era(year: int) -> str:
    """``early seventies`` for 1971."""
    if year >= 2000:
        return "early 2000s" if year < 2004 else ""
    part = "early" if year % 10 < 4 else "mid" if year % 10 < 7 else "late"
    return f"{part} {_DECADES[f'{year // 10 % 10}0']}"


def _describes(word: str) -> bool:
    known = lexicon()
    return word in known.adjectives or word in known.praise or word in known.faults


def _is_use(words: list[str]) -> bool:
    """Whether words after ``for`` name a use, a place or a person."""
    known = lexicon()
    first, last = words[0], words[-1]
    if last in known.vague or last in known.adjectives - known.count - known.mass:
        return False
    return (
        (first in ("a", "an", "my", "our", "the", "any") and len(words) > 1)
        or (first.endswith("ing") and len(first) > 4 and first not in known.vague)
        or first in known.occasions
        or (last in known.occasions and first not in known.not_nouns)
        or first in known.recipients
    )


def _phrase(adjectives: list[str], noun: str) -> str:
    text = f"{', '.join(adjectives)} {noun}".strip()
    last = noun.rsplit(maxsplit=1)[-1]
    known = lexicon()
    if noun in known.mass or last in known.mass or is_plural(last) or noun in known.plural:
        return text
    return with_article(text)


@lru_cache(maxsize=1)
def _handlers() -> dict[str, Callable[[_Miner, int], int]]:
    known = lexicon()
    handlers: dict[str, Callable[[_Miner, int], int]] = dict.fromkeys(
        [noun.split()[0] for nouns in (known.plural, known.mass, known.count) for noun in nouns],
        _Miner.noun,
    )
    handlers |= dict.fromkeys((genre.split()[0] for genre in known.genres), _Miner.genre)
    handlers |= dict.fromkeys(known.occasions, _Miner.occasion)
    handlers |= dict.fromkeys(known.adjectives | known.praise | known.faults, _Miner.adjective)
    handlers |= dict.fromkeys(grammar().fit_for, _Miner.fit_for)
    handlers |= dict.fromkeys(("this", "these"), _Miner.this)
    handlers |= dict.fromkeys(("my", "our"), _Miner.my)
    handlers |= dict.fromkeys(("use", "used"), _Miner.use)
    handlers |= dict.fromkeys(_DECADES.values(), _Miner.when)
    handlers["easy"] = _Miner.easy
    return handlers
