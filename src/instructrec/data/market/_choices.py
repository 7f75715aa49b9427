"""What is bought next: every shopper's purchases, one after the other, all shoppers at once.

The rules are told in words in `instructrec.data.market`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructrec.data.market._items import DAY, Numbers, Shelf
from instructrec.data.market._shoppers import INTERESTS, Shoppers
from instructrec.data.market._vocabulary import Vocabulary

REASONS = ("series", "brand", "complement", "taste", "trend", "browsing")
"""Why something was bought, by reason number."""
ODDS = (0.19, 0.11, 0.10, 0.35, 0.19, 0.06)
"""How often each reason is the one that counts, after the first purchase."""
LOOKED_AT = 6
"""How many items a shopper compares before buying one."""
DRIFT = 0.07
"""The chance, before a purchase, that one of the interests gives way to another."""
_LATER = 0.5
"""The chance that the item thought of is an earlier one than the last (and so on back)."""
_THEME, _TRAIT, _PRICE, _PLATFORM, _FRESH, _CHANCE = 1.1, 0.5, 1.2, 3.0, 0.5, 0.8
_ALL_BUT_NEW = 64


@dataclass(frozen=True, eq=False)
class Purchases:
    """All purchases, shopper after shopper, oldest first.

    Attributes:
        item: (events,) item numbers.
        reason: (events,) numbers of `REASONS`.
        fit: (events,) how well the item suits the shopper; about 0 on average.
        interests: (n, 4) leaves the shoppers are interested in at the end.
        themes: (n, 2) favourite themes at the end.
    """

    item: Numbers
    reason: Numbers
    fit: NDArray[np.float64]
    interests: Numbers
    themes: Numbers


class Pools:
    """Items in groups, drawn from by appeal.

    Args:
        group: (items,) group number of each item.
        appeal: (items,) weights.
        groups: How many groups there are.
    """

    def __init__(self, group: Numbers, appeal: NDArray[np.float64], groups: int) -> None:
        self._order = np.argsort(group, kind="stable")
        self._cumulated = np.concatenate([[0.0], np.cumsum(appeal[self._order])])
        self._bounds = np.searchsorted(group[self._order], np.arange(groups + 1))

    def draw(self, groups: Numbers, count: int, rng: np.random.Generator) -> Numbers:
        """(requests, count) items of the groups asked for; -1 from an empty group."""
        low, high = self._bounds[groups], self._bounds[groups + 1]
        start, stop = self._cumulated[low], self._cumulated[high]
        point = start[:, None] + rng.random((len(groups), count)) * (stop - start)[:, None]
        place = np.searchsorted(self._cumulated, point, side="right") - 1
        place = np.clip(place, low[:, None], np.maximum(high - 1, low)[:, None])
        items = self._order[np.minimum(place, len(self._order) - 1)]
        return np.where((low == high)[:, None], -1, items)


class Market:
    """The state of the world while people shop.

    Args:
        words: The vocabulary.
        shelf: The items.
        shoppers: The people, those who buy most first.
        times: When each purchase is made, shopper after shopper.
        rng: Decides.
    """

    def __init__(
        self,
        words: Vocabulary,
        shelf: Shelf,
        shoppers: Shoppers,
        times: Numbers,
        rng: np.random.Generator,
    ) -> None:
        self._shelf, self._shoppers, self._times, self._rng = shelf, shoppers, times, rng
        leaves, one = len(words.leaves), np.zeros(len(shelf), dtype=np.int64)
        self._lines = Pools(shelf.line, shelf.appeal, int(shelf.line.max()) + 1)
        self._brands = Pools(shelf.brand, shelf.appeal, int(shelf.brand.max()) + 1)
        self._leaves = Pools(shelf.leaf, shelf.appeal, leaves)
        self._all = Pools(one, shelf.appeal, 1)
        self._evenly = Pools(one, np.ones(len(shelf)), 1)
        self._near = _near_leaves(words, np.bincount(shelf.leaf, minlength=leaves))
        self._theme_count = len(words.themes)
        self._offsets = np.concatenate([[0], np.cumsum(shoppers.lengths)[:-1]])
        self.bought = np.full((len(shoppers), int(shoppers.lengths.max())), -1, dtype=np.int32)
        self.interests = shoppers.interests.copy()
        self.themes = shoppers.themes.copy()

    def run(self) -> Purchases:
        """Let everybody shop until they are done."""
        lengths = self._shoppers.lengths
        reasons = np.zeros(self.bought.shape, dtype=np.int8)
        fits = np.zeros(self.bought.shape, dtype=np.float32)
        for turn in range(self.bought.shape[1]):
            active = int(np.searchsorted(-lengths, -turn, side="left"))
            item, reasons[:active, turn], fits[:active, turn] = self._turn(turn, active)
            self.bought[:active, turn] = item
        done = np.arange(self.bought.shape[1]) < lengths[:, None]
        return Purchases(
            self.bought[done].astype(np.int64),
            reasons[done].astype(np.int64),
            fits[done].astype(np.float64),
            self.interests,
            self.themes,
        )

    def _turn(self, turn: int, active: int) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
        """One purchase of each of the first ``active`` shoppers: item, reason, fit."""
        now = self._times[self._offsets[:active] + turn]
        if turn:
            self._drift(active)
        reason = self._reasons(turn, active)
        looked_at = self._look(turn, active, reason)
        place, fit = self._compare(turn, looked_at, now)
        lost = place < 0
        if lost.any():
            # Nothing new among what was looked at: look through the whole market, evenly.
            who = np.flatnonzero(lost)
            more = self._evenly.draw(np.zeros(len(who), dtype=np.int64), _ALL_BUT_NEW, self._rng)
            again, fit_again = self._compare(turn, more, now[who], who)
            looked_at = looked_at.copy()
            place[who], fit[who] = 0, fit_again
            looked_at[who, 0] = more[np.arange(len(who)), np.maximum(again, 0)]
            reason[who] = REASONS.index("browsing")
        return looked_at[np.arange(active), place], reason, fit

    def _drift(self, active: int) -> None:
        """Interests move on: mostly to a leaf nearby, sometimes to something new."""
        rng = self._rng
        who = np.flatnonzero(rng.random(active) < DRIFT)
        slot = rng.integers(INTERESTS, size=len(who))
        near = self._near[self.interests[who, slot]]
        nearby = near[np.arange(len(who)), rng.integers(near.shape[1], size=len(who))]
        odds = self._shoppers.leaf_odds[who]
        fresh = np.argmax(odds + rng.gumbel(size=odds.shape), axis=1)
        moved = np.where((rng.random(len(who)) < 0.6) & (nearby >= 0), nearby, fresh)
        self.interests[who, slot] = moved
        other = np.flatnonzero(rng.random(active) < 0.3 * DRIFT)
        self.themes[other, rng.integers(2, size=len(other))] = rng.integers(
            self._theme_count, size=len(other)
        )

    def _reasons(self, turn: int, active: int) -> Numbers:
        odds = np.array(ODDS)
        if not turn:
            odds[:3] = 0.0
        return self._rng.choice(len(odds), active, p=odds / odds.sum())

    def _look(self, turn: int, active: int, reason: Numbers) -> Numbers:
        """(active, looked at) items that the reason brings up; -1 where it brings up none."""
        rng, shelf = self._rng, self._shelf
        looked_at = np.full((active, LOOKED_AT), -1, dtype=np.int64)
        back = np.minimum(rng.geometric(1.0 - _LATER, active), max(turn, 1))
        thought_of = self.bought[np.arange(active), np.maximum(turn - back, 0)]
        slot = (np.cumsum(self._shoppers.weights[:active], axis=1) < rng.random((active, 1))).sum(1)
        interest = self.interests[np.arange(active), np.minimum(slot, INTERESTS - 1)]
        near = self._near[shelf.leaf[thought_of]]
        beside = near[np.arange(active), rng.integers(near.shape[1], size=active)]
        nothing = np.zeros(active, dtype=np.int64)
        for number, (pools, group) in enumerate(
            (
                (self._lines, shelf.line[thought_of]),
                (self._brands, shelf.brand[thought_of]),
                (self._leaves, np.where(beside < 0, interest, beside)),
                (self._leaves, interest),
                (self._all, nothing),
                (self._evenly, nothing),
            )
        ):
            who = np.flatnonzero(reason == number)
            looked_at[who] = pools.draw(group[who], LOOKED_AT, rng)
        return looked_at

    def _compare(
        self, turn: int, items: Numbers, now: Numbers, who: Numbers | None = None
    ) -> tuple[Numbers, NDArray[np.float64]]:
        """Which of the items looked at each shopper takes, and how well it suits.

        Args:
            turn: How many purchases lie behind.
            items: (shoppers, looked at) items.
            now: (shoppers,) the time.
            who: Numbers of the shoppers, the first ones when left out.

        Returns:
            (shoppers,) places in ``items``, -1 where all are owned or not yet on sale, and how
            well the item taken suits.
        """
        shelf, people = self._shelf, self._shoppers
        who = np.arange(len(items)) if who is None else who
        theme = shelf.theme[items]
        liked = (theme[:, :, None] == self.themes[who][:, None, :]).any(axis=2)
        wanted = people.traits[who][:, None, None, :] == shelf.traits[items][:, :, :, None]
        dear = np.abs(shelf.level[items] - people.level[who][:, None])
        platform = shelf.platform[items]
        useless = (platform >= 0) & (platform != people.platform[who][:, None])
        fit = _THEME * liked + _TRAIT * wanted.sum(axis=(2, 3)) - _PRICE * dear
        fit = fit - _PLATFORM * useless
        age = np.maximum(now[:, None] - shelf.added[items], 0)
        pull = fit + _FRESH * np.exp(-age / (120 * DAY))
        pull = pull + _CHANCE * self._rng.gumbel(size=items.shape)
        owned = np.zeros(items.shape, dtype=bool)
        for earlier in range(turn):
            owned |= items == self.bought[who, earlier][:, None]
        closed = owned | (items < 0) | (shelf.added[items] > now[:, None])
        pull = np.where(closed, -np.inf, pull)
        place = np.argmax(pull, axis=1)
        lines = np.arange(len(items))
        return np.where(closed[lines, place], -1, place), fit[lines, place]


def _near_leaves(words: Vocabulary, sizes: Numbers) -> Numbers:
    """(leaves, most) the leaves whose items go with a leaf's, repeated to fill; -1 for none."""
    near = []
    for number, leaf in enumerate(words.leaves):
        back = [other for other, entry in enumerate(words.leaves) if number in entry.goes_with]
        near.append([n for n in dict.fromkeys((*leaf.goes_with, *back)) if sizes[n]] or [-1])
    width = max(map(len, near))
    return np.array([(line * width)[:width] for line in near], dtype=np.int64)
