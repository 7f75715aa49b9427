"""The marketplace: a made-up shop with people in it, good enough to show the product.

Ten departments, 88 leaf categories, made-up brands, shoppers with a taste of their own, reviews
that say why, and search queries. Nothing in it is copied from a real shop. Every figure that
decides whether it is a fair world (popularity skew, lengths, what popularity, item-kNN and shared
words reach) is held beside two real sets by ``benchmarks/market_fairness.py``.

**What makes a shopper's next choice**

1. A shopper has four interests (leaves) of different weight, two favourite themes that cut across
   departments (trains, the sea, …), two qualities they look for (sturdy, funny, …), a price level
   and a console. Household, garden and pets make some leaves likelier. Before each purchase one
   interest gives way with a chance of 7 %: in six cases of ten to a leaf that goes with it, else
   to one that suits the person; a favourite theme changes with a chance of 2 %.
2. Each purchase has one reason, by chance: the *series* of a recent purchase goes on (19 %); the
   same *brand* makes something else (11 %); a leaf *complements* a recent purchase (10 %); an
   interest, the shopper's *taste* (35 %); what everybody takes, a *trend* (19 %); *browsing*, that
   is anything at all (6 %). The recent purchase thought of is the last one in half of all cases,
   the one before in a quarter, and so on back. The first purchase knows only the last three.
3. The reason brings up six items, in proportion to how much they appeal to people in general
   (evenly when browsing). Of those that are on sale by then and not owned yet the shopper takes
   the one with the strongest pull: favourite theme, wanted qualities, a price near their level,
   the console they own, novelty, and a random part. If none is left, they browse on.

So a fifth to a quarter of all choices follow nothing but general appeal, and no model can foresee
them. Stars come from how well the item suits, how good it is, and luck. Item and user ids are
shuffled: they tell nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.data.market._choices import REASONS, Market, Purchases
from instructrec.data.market._items import Numbers, Shelf, build_shelf, items_frame
from instructrec.data.market._queries import queries_frame
from instructrec.data.market._reviews import Reviewer
from instructrec.data.market._shoppers import MOST, Shoppers, build_shoppers, purchase_times
from instructrec.data.market._vocabulary import Vocabulary, vocabulary
from instructrec.errors import UsageError
from instructrec.folders import new_folder
from instructrec.protocols import SILENT, Progress

__all__ = ["ITEMS", "USERS", "HiddenTaste", "hidden_taste", "make_market", "market_tables"]

USERS, ITEMS = 3000, 1500
"""The size of the demo: about 26,000 interactions."""
_FEWEST_ITEMS = 40


@dataclass(frozen=True, eq=False)
class HiddenTaste:
    """What no model may see, and a test may.

    Attributes:
        users: user_id, interests_at_first, interests_at_last (leaf names), interest_weights,
            themes_at_first, themes_at_last, qualities, price_level (0 to 1), platform (number).
        choices: user_id, item_id, timestamp, reason (see the module), fit; sorted like the
            interactions.
        items: item_id, line, theme, qualities, appeal.
    """

    users: pl.DataFrame
    choices: pl.DataFrame
    items: pl.DataFrame


@dataclass(frozen=True, eq=False)
class _World:
    """Everything before it becomes tables."""

    words: Vocabulary
    shelf: Shelf
    shoppers: Shoppers
    times: Numbers
    purchases: Purchases
    item_ids: list[str]
    user_ids: list[str]


def make_market(
    out: Path,
    *,
    users: int = USERS,
    items: int = ITEMS,
    seed: int = 0,
    replace: bool = False,
    progress: Progress = SILENT,
) -> Dataset:
    """Write a marketplace as a dataset folder.

    Args:
        out: The folder to make.
        users: How many shoppers; each makes 9 purchases on average.
        items: How many items.
        seed: The same seed and sizes give the same bytes.
        replace: Whether a dataset that is there already gives way.
        progress: Told what is being made.

    Raises:
        UsageError: There are too few users or items to make a market.
        FolderError: ``out`` is there already and ``replace`` is false.
    """
    _check(users, items)
    command = f"instructrec data market --users {users} --items {items} --seed {seed}"
    settings = {"source": "market", "users": users, "items": items}
    with new_folder(
        out, "dataset", command=command, settings=settings, seed=seed, replace=replace
    ) as draft:
        progress.note(f"making a marketplace of {users} shoppers and {items} items")
        write_tables(draft, market_tables(users=users, items=items, seed=seed), seed=seed)
    return Dataset(out)


def market_tables(*, users: int = USERS, items: int = ITEMS, seed: int = 0) -> Tables:
    """A marketplace in memory; see `make_market`.

    Raises:
        UsageError: There are too few users or items to make a market.
    """
    world = _world(users, items, seed)
    reviewer = Reviewer(world.words, world.shelf, np.random.default_rng([seed, 5]))
    stars = reviewer.stars(world.purchases)
    review, title = reviewer.texts(world.purchases, stars)
    interactions = _events(world).with_columns(
        pl.Series("rating", stars),
        review.alias("review"),
        title.alias("review_title"),
    )
    queries = queries_frame(
        world.words, world.shelf, world.item_ids, items, np.random.default_rng([seed, 6])
    )
    people = world.shoppers.facts.with_columns(pl.Series("user_id", world.user_ids))
    return Tables(
        items_frame(world.shelf, world.words, world.item_ids, seed).sort("item_id").lazy(),
        interactions.sort("user_id", "timestamp", maintain_order=True).lazy(),
        queries.lazy(),
        people.select("user_id", pl.exclude("user_id")).sort("user_id").lazy(),
    )


def hidden_taste(*, users: int = USERS, items: int = ITEMS, seed: int = 0) -> HiddenTaste:
    """The hidden side of the marketplace of the same sizes and seed.

    Raises:
        UsageError: There are too few users or items to make a market.
    """
    world = _world(users, items, seed)
    words, shelf, shoppers, done = world.words, world.shelf, world.shoppers, world.purchases
    leaves = [leaf.name for leaf in words.leaves]
    people = pl.DataFrame(
        {
            "user_id": world.user_ids,
            "interests_at_first": _named(shoppers.interests, leaves),
            "interests_at_last": _named(done.interests, leaves),
            "interest_weights": shoppers.weights.tolist(),
            "themes_at_first": _named(shoppers.themes, words.theme_names),
            "themes_at_last": _named(done.themes, words.theme_names),
            "qualities": _named(shoppers.traits, words.trait_names),
            "price_level": shoppers.level,
            "platform": shoppers.platform,
        }
    )
    choices = _events(world).with_columns(
        pl.Series("reason", np.array(REASONS)[done.reason]), pl.Series("fit", done.fit)
    )
    things = pl.DataFrame(
        {
            "item_id": world.item_ids,
            "line": shelf.line,
            "theme": [words.theme_names[theme] if theme >= 0 else None for theme in shelf.theme],
            "qualities": _named(shelf.traits, words.trait_names),
            "appeal": shelf.appeal,
        }
    )
    return HiddenTaste(
        people.sort("user_id"), choices.sort("user_id", "timestamp"), things.sort("item_id")
    )


def _named(numbers: Numbers, names: list[str] | tuple[str, ...]) -> list[list[str]]:
    return [[names[number] for number in line] for line in numbers.tolist()]


def _check(users: int, items: int) -> None:
    if users < 1:
        raise UsageError(f"a market of {users} users has nobody in it", "Give --users 1 or more")
    if items < _FEWEST_ITEMS:
        raise UsageError(
            f"a market of {items} items is too small", f"Give --items {_FEWEST_ITEMS} or more"
        )


def _world(users: int, items: int, seed: int) -> _World:
    _check(users, items)
    words = vocabulary()
    shelf = build_shelf(words, items, np.random.default_rng([seed, 1]))
    sizes = np.bincount(shelf.leaf, minlength=len(words.leaves))
    most = min(MOST, items // 4)
    shoppers = build_shoppers(words, users, sizes, most, np.random.default_rng([seed, 2]))
    times = purchase_times(shoppers.lengths, np.random.default_rng([seed, 3]))
    market = Market(words, shelf, shoppers, times, np.random.default_rng([seed, 4]))
    purchases = market.run()
    shuffled = np.random.default_rng([seed, 7])
    return _World(
        words,
        shelf,
        shoppers,
        times,
        purchases,
        _ids("M", items, shuffled),
        _ids("U", users, shuffled),
    )


def _ids(letter: str, count: int, rng: np.random.Generator) -> list[str]:
    """Shuffled ids of one length, so that their order tells nothing."""
    width = max(5, len(str(count)))
    return [f"{letter}{number:0{width}d}" for number in rng.permutation(count)]


def _events(world: _World) -> pl.DataFrame:
    people = np.repeat(np.arange(len(world.shoppers)), world.shoppers.lengths)
    return pl.DataFrame(
        {
            "user_id": pl.Series(world.user_ids).gather(people),
            "item_id": pl.Series(world.item_ids).gather(world.purchases.item),
            "timestamp": world.times,
        }
    )
