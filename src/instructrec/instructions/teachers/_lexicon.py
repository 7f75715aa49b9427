"""The words the rules teacher knows, read once from its YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

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
        vague: Nouns that no wish is about.
        heads: What a review calls the thing itself → what a wish calls it.
        genres: Kinds of music, film, book and game, of one or two words.
        recipients: Whom a thing can be for.
        occasions: What a thing can be for.
        not_nouns: Words that cannot be a noun after an adjective.
        negations: Words that turn what follows into its contrary.
        packing: Words of titles that say how a thing is sold.
        broad: Labels too broad to tell a taste.
        proper: Lower-cased word → the word with its capitals.
    """

    adjectives: frozenset[str]
    praise: frozenset[str]
    faults: frozenset[str]
    qualities: frozenset[str]
    mass: frozenset[str]
    plural: frozenset[str]
    count: frozenset[str]
    vague: frozenset[str]
    heads: Mapping[str, str]
    genres: frozenset[str]
    recipients: frozenset[str]
    occasions: frozenset[str]
    not_nouns: frozenset[str]
    negations: frozenset[str]
    packing: frozenset[str]
    broad: frozenset[str]
    proper: Mapping[str, str]

    def is_noun(self, word: str) -> bool:
        """Whether a word or pair of words is a noun that things are praised for."""
        return word in self.plural or word in self.mass or word in self.count


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The packaged lexicon."""
    source = files("instructrec.instructions.teachers") / "rules_lexicon.yaml"
    lists = {
        name: [word.replace("_", " ") for word in words.split()]
        for name, words in yaml.safe_load(source.read_text(encoding="utf-8")).items()
    }
    heads = dict(pair.split("=") for pair in lists.pop("heads"))
    proper = {word.lower(): word for word in lists.pop("proper")}
    not_qualities = set(lists.pop("not_a_quality"))
    sets = {name: frozenset(words) for name, words in lists.items()}
    qualities = sets["adjectives"] - not_qualities - sets["praise"]
    return Lexicon(heads=heads, proper=proper, qualities=qualities, **sets)
