"""Reviews of the marketplace: stars, and why somebody bought a thing, in their own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.market._choices import REASONS, Purchases
from instructrec.data.market._items import Numbers, Shelf
from instructrec.data.market._vocabulary import Ragged, Vocabulary

_STARS = (0.025, 0.055, 0.13, 0.34)
"""Share of reviews with at most 1, 2, 3, 4 stars, about that of digital music."""
_STYLES = (0.07, 0.2, 0.18, 0.55)
"""No text at all; a useless cry; one sentence; a few sentences."""
_WHYS = (0.5, 0.17, 0.15, 0.18)
"""A need, a quality, a gift, a fondness."""
_MOODS = ("bad", "middling", "good")
_PEOPLE = ("kid", "teen", "adult", "any", "pet")


@dataclass(frozen=True, eq=False)
class Table:
    """Every filling of a few sentence frames, looked up by frame and filling.

    Attributes:
        texts: frames x fillings sentences, frame after frame.
        fillings: How many fillings there are.
        frames: How many frames there are.
    """

    texts: pl.Series
    fillings: int
    frames: int

    @classmethod
    def of(cls, frames: Sequence[str], fillings: Sequence[dict[str, str]]) -> Table:
        """Fill every frame with every filling; each starts with a capital."""
        texts = [_sentence(frame.format(**filling)) for frame in frames for filling in fillings]
        return cls(pl.Series(texts, dtype=pl.String), len(fillings), len(frames))

    def draw(self, filling: Numbers, rng: np.random.Generator) -> pl.Series:
        """A sentence a filling, the frame at random; null where the filling is -1."""
        frame = (rng.random(len(filling)) * self.frames).astype(np.int64)
        return _take(self.texts, np.where(filling < 0, -1, frame * self.fillings + filling))


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOUaeiou' else 'a'} {noun}"


def _as_thing(need: str) -> str:
    """A need as somebody says it who has found what they needed."""
    if not need.startswith("to "):
        return need
    return f"{'a way' if len(need) % 2 else 'something'} {need}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _take(texts: pl.Series, places: Numbers) -> pl.Series:
    """Texts by place, null where the place is -1."""
    index = pl.Series(np.maximum(places, 0), dtype=pl.UInt32)
    if not len(texts):
        return pl.Series([None] * len(places), dtype=pl.String)
    return _where(places >= 0, texts.gather(index))


def _where(keep: NDArray[np.bool_], texts: pl.Series) -> pl.Series:
    nothing = pl.Series([None], dtype=pl.String)
    return texts.alias("text").zip_with(pl.Series(keep), nothing.new_from_index(0, len(texts)))


def _unless(first: pl.Series, second: pl.Series, keep: NDArray[np.bool_]) -> pl.Series:
    """``first`` where ``keep``, ``second`` elsewhere."""
    return first.alias("text").zip_with(pl.Series(keep), second.alias("text"))


class Reviewer:
    """Writes a review for every purchase.

    Args:
        words: The vocabulary.
        shelf: The items.
        rng: Decides.
    """

    def __init__(self, words: Vocabulary, shelf: Shelf, rng: np.random.Generator) -> None:
        self._words, self._shelf, self._rng = words, shelf, rng
        phrases = words.phrases
        self._needs = Ragged.of([leaf.needs for leaf in words.leaves])
        self._likes = Ragged.of([leaf.like for leaf in words.leaves])
        self._dislikes = Ragged.of([leaf.dislike for leaf in words.leaves])
        self._wants = Ragged.of([trait["want"] for trait in words.traits])
        self._trait_likes = Ragged.of([trait["like"] for trait in words.traits])
        self._trait_dislikes = Ragged.of([trait["dislike"] for trait in words.traits])
        self._praise = Ragged.of([theme["praise"] for theme in words.themes])
        self._talk = Ragged.of([theme["talk"] for theme in words.themes])
        self._people = Ragged.of([phrases["people"][group] for group in _PEOPLE])
        self._audience = Ragged.of([leaf.audience for leaf in words.leaves])
        self._occasions = tuple(phrases["occasions"])
        needs = [{"need": _as_thing(need)} for need in self._needs.texts]
        self._need_table = Table.of(phrases["wants"], needs)
        self._want_table = Table.of(
            phrases["trait_wants"], [{"want": w} for w in self._wants.texts]
        )
        people = self._people.texts
        self._gift_table = Table.of(
            phrases["gifts"],
            [
                {"who": who, "occasion": when, "an_occasion": _with_article(when)}
                for who in people
                for when in self._occasions
            ],
        )
        self._fond_table = Table.of(
            phrases["fond"],
            [{"who": who, "talk": talk} for who in people for talk in self._talk.texts],
        )
        nouns = sorted({fact["noun"].lower() for fact in shelf.facts if "noun" in fact})
        place = {noun: number for number, noun in enumerate(nouns)}
        self._noun = np.array([place.get(f.get("noun", "").lower(), -1) for f in shelf.facts])
        self._mention_table = Table.of(
            phrases["mentions"], [{"kind": noun, "a_kind": _with_article(noun)} for noun in nouns]
        )

    def stars(self, purchases: Purchases) -> NDArray[np.float32]:
        """(events,) 1 to 5, from how well the item suits, how good it is, and luck."""
        quality = self._rng.normal(size=len(self._shelf))[purchases.item]
        spread = max(float(purchases.fit.std()), 1e-6)
        delight = purchases.fit / spread + 1.2 * quality
        delight = delight + 1.5 * self._rng.normal(size=len(delight))
        return (1 + np.searchsorted(np.quantile(delight, _STARS), delight)).astype(np.float32)

    def texts(
        self, purchases: Purchases, stars: NDArray[np.float32]
    ) -> tuple[pl.Series, pl.Series]:
        """(review, review_title) of every purchase; the text is null where nobody wrote one."""
        rng, count = self._rng, len(stars)
        mood = np.where(stars <= 2, 0, np.where(stars == 3, 1, 2))
        style = rng.choice(4, count, p=_STYLES)
        why = self._why(purchases)
        like, more = self._judgement(purchases, mood), self._judgement(purchases, mood)
        again = self._frame(self._words.phrases["again"], count)
        connected = np.isin(purchases.reason, [REASONS.index("series"), REASONS.index("brand")])
        verdict = self._by_mood(self._words.phrases["verdicts"], mood)
        first = rng.random(count) < 0.65
        parts = [
            _unless(why, like, first),
            _where(connected & self._some(count, 0.4), again),
            _unless(like, why, first),
            _where(self._some(count, 0.45) & (more != like).to_numpy(), more),
            _where(
                self._some(count, 0.1), self._mention_table.draw(self._noun[purchases.item], rng)
            ),
            _where(self._some(count, 0.12), self._frame(self._words.phrases["noise"], count)),
            _where(self._some(count, 0.5), verdict),
        ]
        columns = {str(number): part for number, part in enumerate(parts)}
        long = (
            pl.DataFrame(columns)
            .select(pl.concat_str(list(columns), separator=" ", ignore_nulls=True))
            .to_series()
        )
        pick = rng.random(count)
        short = _unless(like, _unless(why, verdict, pick < 0.75), pick < 0.5)
        useless = self._by_mood(self._words.phrases["useless"], mood)
        text = _unless(long, _unless(short, useless, style == 2), style == 3)
        titles = self._by_mood(self._words.phrases["titles"], mood)
        return _where(style > 0, text), _where(self._some(count, 0.85), titles)

    def _why(self, purchases: Purchases) -> pl.Series:
        """What people wanted: one sentence an event."""
        rng, shelf = self._rng, self._shelf
        leaf, theme = shelf.leaf[purchases.item], shelf.theme[purchases.item]
        kind = rng.choice(4, len(leaf), p=_WHYS)
        who = self._people.draw(_audience_numbers(self._audience, leaf, rng), rng)
        pet = np.array(["pet" in entry.audience for entry in self._words.leaves])[leaf]
        kind = np.where((kind == 3) & ((theme < 0) | pet), 0, kind)
        trait = shelf.traits[purchases.item, rng.integers(2, size=len(leaf))]
        when = rng.integers(len(self._occasions), size=len(leaf))
        talk = self._talk.draw(theme, rng)
        need = self._need_table.draw(self._needs.draw(leaf, rng), rng)
        want = self._want_table.draw(self._wants.draw(trait, rng), rng)
        gift = self._gift_table.draw(who * len(self._occasions) + when, rng)
        fond = self._fond_table.draw(
            np.where(talk < 0, -1, who * len(self._talk.texts) + talk), rng
        )
        return _unless(_unless(need, want, kind == 0), _unless(gift, fond, kind == 2), kind < 2)

    def _judgement(self, purchases: Purchases, mood: Numbers) -> pl.Series:
        """What the item is like: one sentence an event."""
        rng, shelf = self._rng, self._shelf
        leaf, theme = shelf.leaf[purchases.item], shelf.theme[purchases.item]
        trait = shelf.traits[purchases.item, rng.integers(2, size=len(leaf))]
        about = rng.random(len(leaf))
        likes = _draw(self._likes, leaf, rng)
        praise = _unless(_draw(self._praise, theme, rng), likes, theme >= 0)
        good = _unless(
            likes, _unless(_draw(self._trait_likes, trait, rng), praise, about < 0.87), about < 0.6
        )
        bad = _unless(
            _draw(self._dislikes, leaf, rng), _draw(self._trait_dislikes, trait, rng), about < 0.7
        )
        middling = rng.random(len(leaf)) < 0.5
        return _unless(good, bad, (mood == 2) | ((mood == 1) & middling))

    def _by_mood(self, phrases: dict[str, list[str]], mood: Numbers) -> pl.Series:
        return _draw(Ragged.of([phrases[name] for name in _MOODS]), mood, self._rng)

    def _frame(self, phrases: Sequence[str], count: int) -> pl.Series:
        return _draw(Ragged.of([phrases]), np.zeros(count, dtype=np.int64), self._rng)

    def _some(self, count: int, share: float) -> NDArray[np.bool_]:
        return self._rng.random(count) < share


def _draw(texts: Ragged, groups: Numbers, rng: np.random.Generator) -> pl.Series:
    return _take(pl.Series(texts.texts, dtype=pl.String), texts.draw(groups, rng))


def _audience_numbers(audience: Ragged, leaf: Numbers, rng: np.random.Generator) -> Numbers:
    """(events,) a number of `_PEOPLE` that the leaf is for."""
    numbers = np.array([_PEOPLE.index(name) for name in audience.texts], dtype=np.int64)
    return numbers[audience.draw(leaf, rng)]
