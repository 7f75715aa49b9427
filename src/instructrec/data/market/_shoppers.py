"""The people of the marketplace: who they are, what they like and when they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.market._items import OPENED, SPAN, Numbers
from instructrec.data.market._vocabulary import Vocabulary

INTERESTS = 4
"""How many leaves a shopper is interested in at a time."""
FEWEST = 5
"""Nobody has fewer purchases, as in the 5-core sets of the paper."""
MOST = 150
_HOUR = 3_600_000
_HOUSEHOLDS = ("lives alone", "couple", "family with young children", "family with teenagers")
_PETS = ("none", "dog", "cat")
_AGES = ("18-29", "30-44", "45-59", "60 and over")


@dataclass(frozen=True, eq=False)
class Shoppers:
    """All shoppers, by number; those who buy most come first.

    Attributes:
        lengths: (n,) how many purchases each makes, descending.
        interests: (n, 4) leaves they are interested in at the start.
        weights: (n, 4) how much, summing to 1.
        themes: (n, 2) favourite themes at the start.
        traits: (n, 2) the qualities they look for.
        level: (n,) how dear they usually buy, 0 to 1.
        platform: (n,) the console they own.
        leaf_odds: (n, leaves) float32 log odds of taking up an interest in a leaf.
        facts: Profile facts, one row a shopper.
    """

    lengths: Numbers
    interests: Numbers
    weights: NDArray[np.float64]
    themes: Numbers
    traits: Numbers
    level: NDArray[np.float64]
    platform: Numbers
    leaf_odds: NDArray[np.float32]
    facts: pl.DataFrame

    def __len__(self) -> int:
        return len(self.lengths)


def build_shoppers(
    words: Vocabulary, users: int, leaf_sizes: Numbers, most: int, rng: np.random.Generator
) -> Shoppers:
    """Make ``users`` shoppers.

    Args:
        words: The vocabulary.
        users: How many.
        leaf_sizes: (leaves,) items of each leaf; nobody is interested in an empty one.
        most: The most that anybody buys.
        rng: Decides.
    """
    lengths = np.sort(_lengths(users, most, rng))[::-1]
    household = rng.choice(4, users, p=[0.3, 0.3, 0.25, 0.15])
    garden = rng.random(users) < 0.45
    pet = rng.choice(3, users, p=[0.6, 0.22, 0.18])
    platform = rng.choice(5, users, p=[0.24, 0.26, 0.18, 0.17, 0.15])
    odds = _leaf_odds(words, leaf_sizes, household, garden, pet, rng)
    noise = rng.gumbel(size=odds.shape).astype(np.float32)
    interests = np.argsort(-(odds + noise), axis=1, kind="stable")[:, :INTERESTS]
    facts = pl.DataFrame(
        {
            "age_group": np.array(_AGES)[rng.choice(4, users, p=[0.25, 0.35, 0.25, 0.15])],
            "household": np.array(_HOUSEHOLDS)[household],
            "garden": pl.Series(np.where(garden, "yes", "no")).replace("no", None),
            "pet": pl.Series(np.array(_PETS)[pet]).replace("none", None),
            "console": np.array(("Orbis 4", "Orbis 5", "Vectra One", "Pocketplay", "PC"))[platform],
        }
    )
    return Shoppers(
        lengths,
        interests.astype(np.int64),
        rng.dirichlet(np.full(INTERESTS, 0.8), users),
        _pairs(len(words.themes), users, rng),
        _pairs(len(words.traits), users, rng),
        rng.beta(2.0, 2.0, users),
        platform,
        odds,
        facts,
    )


def _lengths(users: int, most: int, rng: np.random.Generator) -> Numbers:
    """Purchases of each: half make 6 or fewer, one in a hundred more than 40."""
    further = np.exp(rng.normal(np.log(1.6), 1.38, users))
    lengths: Numbers = np.minimum(FEWEST + further.astype(np.int64), most)
    return lengths


def _pairs(choices: int, users: int, rng: np.random.Generator) -> Numbers:
    one = rng.integers(choices, size=users)
    two = (one + 1 + rng.integers(choices - 1, size=users)) % choices
    return np.stack([one, two], axis=1)


def _leaf_odds(
    words: Vocabulary,
    leaf_sizes: Numbers,
    household: Numbers,
    garden: NDArray[np.bool_],
    pet: Numbers,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Log odds: personal liking of departments, times what the household calls for."""
    departments = sorted({leaf.path[0] for leaf in words.leaves})
    owner = np.array([departments.index(leaf.path[0]) for leaf in words.leaves])
    liking = np.log(rng.gamma(0.6, size=(len(household), len(departments))) + 1e-3)
    odds = liking[:, owner]
    odds += np.where(leaf_sizes > 0, np.log(np.maximum(leaf_sizes, 1)), -np.inf)
    kids = np.array(["kid" in leaf.audience for leaf in words.leaves])
    young = np.array([0.3, 0.5, 3.0, 0.8])[household]
    odds += np.log(np.where(kids, young[:, None], 1.0))
    outdoors = np.array([leaf.path[0] == "Garden" for leaf in words.leaves])
    odds += np.log(np.where(outdoors, np.where(garden, 1.8, 0.4)[:, None], 1.0))
    for number, name in enumerate(_PETS[1:], start=1):
        theirs = np.array([f"{name.capitalize()}s" in leaf.path[1] for leaf in words.leaves])
        theirs &= np.array(
            [name.capitalize() in leaf.name or name == "dog" for leaf in words.leaves]
        )
        odds += np.log(np.where(theirs, np.where(pet == number, 3.0, 0.15)[:, None], 1.0))
    return odds.astype(np.float32)


def purchase_times(lengths: Numbers, rng: np.random.Generator) -> Numbers:
    """When each purchase is made, shopper after shopper, in ascending milliseconds.

    Gaps are log-normal: several purchases in one sitting, or months between two. Whoever would
    not be done before the market's last day shops faster.

    Args:
        lengths: (n,) purchases of each.
        rng: Decides.
    """
    total = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    gaps = np.exp(rng.normal(np.log(12 * 24), 2.0, total)) * _HOUR + 60_000
    gaps[offsets] = 0
    since = np.cumsum(gaps)
    since -= np.repeat(since[offsets], lengths)
    last = since[offsets + lengths - 1]
    start = rng.random(len(lengths)) * 0.9 * SPAN
    speed = np.minimum(1.0, (SPAN - start) / np.maximum(last, 1.0))
    times = np.repeat(start, lengths) + since * np.repeat(speed, lengths)
    counter = np.arange(total) - np.repeat(offsets, lengths)
    moments: Numbers = (OPENED + times).astype(np.int64) + counter
    return moments
