"""The words the rules teacher knows, read once from its YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True)
class Lexicon:
    """Words by what they do in a sentence; all in lower case but for the values of `proper`.

    Attributes:
        adjectives: Say what a thing is like.
        praise: Praise without saying what the thing is like.
        faults: Say what is wrong with a thing.
        qualities: Those adjectives that may describe a whole thing.
        mass: Nouns without a plural and without an article.
        plural: Nouns in the plural.
        count: Nouns that take an article.
        telling: Nouns that tell something even without an adjective; none takes an article.
        modifiers: Nouns that tell of what kind another noun is.
        goods: Nouns that no piece of music has.
        vague: Nouns that no wish is about.
        heads: What a review calls the thing itself → what a wish calls it.
        genres: Kinds of music, film, book and game, of one or two words.
        recipients: Whom a thing can be for.
        occasions: What a thing can be for.
        not_nouns: Words that cannot be a noun after an adjective.
        negations: Words that turn what follows into its contrary.
        packing: Words of titles that say how a thing is sold.
        shelves: Shelves of a music shop that everybody knows.
        broad: Labels too broad to tell a taste.
        proper: Lower-cased word → the word with its capitals.
        labels: Lower-cased label → how it is said in a sentence.
        media: What one likes in a department → what a thing of it may be called.
        domains: Lower-cased department of a shop → what one asks for, what one likes.
    """

    adjectives: frozenset[str]
    praise: frozenset[str]
    faults: frozenset[str]
    qualities: frozenset[str]
    mass: frozenset[str]
    plural: frozenset[str]
    count: frozenset[str]
    telling: frozenset[str]
    modifiers: frozenset[str]
    goods: frozenset[str]
    vague: frozenset[str]
    heads: Mapping[str, str]
    genres: frozenset[str]
    recipients: frozenset[str]
    occasions: frozenset[str]
    not_nouns: frozenset[str]
    negations: frozenset[str]
    packing: frozenset[str]
    shelves: frozenset[str]
    broad: frozenset[str]
    proper: Mapping[str, str]
    labels: Mapping[str, str]
    domains: Mapping[str, tuple[str, str]]
    media: Mapping[str, frozenset[str]]

    def is_noun(self, word: str) -> bool:
        """Whether a word or pair of words is a noun that things are praised for."""
        return word in self.plural or word in self.mass or word in self.count


@dataclass(frozen=True)
class Grammar:
    """Closed classes of words that sentences are read by (see rules_grammar.yaml)."""

    stops: frozenset[str]
    subjects: frozenset[str]
    to_be: frozenset[str]
    degrees: frozenset[str]
    no_use: frozenset[str]
    no_shape: frozenset[str]
    fit_for: frozenset[str]
    used: frozenset[str]
    loves: frozenset[str]
    before_nouns: frozenset[str]
    no_ends: frozenset[str]
    no_cue_after: frozenset[str]
    no_thing: frozenset[str]
    no_wish: frozenset[str]
    no_aims: frozenset[str]
    owned: frozenset[str]
    no_clause_end: frozenset[str]
    no_deed: frozenset[str]
    too_plain: frozenset[str]
    numbers: Mapping[str, str]


def _read(name: str) -> dict[str, Any]:
    source = files("instructrec.instructions.teachers") / name
    content: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    return content


@lru_cache(maxsize=1)
def grammar() -> Grammar:
    """The packaged grammar."""
    lists = {name: words.split() for name, words in _read("rules_grammar.yaml").items()}
    numbers = {str(number): word for number, word in enumerate(lists.pop("numbers"), 2)}
    lists["stops"].append("\n")
    return Grammar(numbers=numbers, **{name: frozenset(words) for name, words in lists.items()})


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The packaged lexicon."""
    content = _read("rules_lexicon.yaml")
    labels = content.pop("labels")
    media = {name: frozenset(words.split()) for name, words in content.pop("media").items()}
    domains = {name: (ask, like) for name, (ask, like) in content.pop("domains").items()}
    lists = {
        name: [word.replace("_", " ") for word in words.split()] for name, words in content.items()
    }
    heads = dict(pair.split("=") for pair in lists.pop("heads"))
    proper = {word.lower(): word for word in lists.pop("proper")}
    not_qualities = set(lists.pop("not_a_quality"))
    sets = {name: frozenset(words) for name, words in lists.items()}
    qualities = sets["adjectives"] - not_qualities - sets["praise"]
    return Lexicon(
        heads=heads,
        proper=proper,
        qualities=qualities,
        labels=labels,
        domains=domains,
        media=media,
        **sets,
    )
