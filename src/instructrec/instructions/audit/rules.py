"""The four quality questions by rules that anybody can check.

A text's *telling words* are its words but for those of ``questions.yaml``'s list ``empty``; two
words are the same where their first six letters are. A word is *general* where more than a fifth
of the catalogue's records have it. A *record* is title, categories, brand, attributes and
description. *Own* are the records, reviews and ratings that the text was made from: of a
preference its history's, of an intention its review alone. The rules are made for English.

- own: at least `OWN_SHARE` of the telling words are in what is own, or in the item's record for an
  intention.
- knowledge: at least one telling word is not own, and stands in a record or review of an item that
  shares its narrowest category with the target or the history.
- reflects, preference: a telling word stands in the records or reviews of two items of the history
  (of the one where there is one) and is not general. Intention: two telling words stand in the
  review, or all where it has fewer.
- target: a telling word that is not general stands in the target's record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import polars as pl

from instructrec.data.dataset import Dataset
from instructrec.instructions.annotate import item_facts
from instructrec.instructions.audit.prompts import empty_words
from instructrec.instructions.audit.samples import Sample
from instructrec.instructions.teachers.base import ItemFacts
from instructrec.instructions.titles import words_of

OWN_SHARE = 0.5
GENERAL = 0.2
"""Words in more than this share of records tell of no item in particular."""
_LETTERS = 6
_AND = re.compile(r"(?<=\b\w)&(?=\w\b)")
"""R&B is one word."""
_RECORDS = 2_000
"""Records that general words are counted in, at most."""
_RELATED, _REVIEWS = 30, 10
"""Items of a category that are looked at, and reviews of each."""


@lru_cache(maxsize=65536)
def telling(text: str) -> frozenset[str]:
    """The first letters of a text's telling words."""
    empty = empty_words()
    words = words_of(_AND.sub("n", text))
    return frozenset(word[:_LETTERS] for word in words if word not in empty and len(word) > 1)


def record(item: ItemFacts) -> frozenset[str]:
    """Telling words of an item's record."""
    values = [value for _, value in item.attributes]
    return telling(" ".join([item.title, *item.categories, item.brand, *values, item.description]))


class RuleJudge:
    """Answers the four questions by the rules of this module.

    Args:
        dataset: What the samples come from.
        samples: All that will be asked about.
    """

    name = "rules"

    def __init__(self, dataset: Dataset, samples: Sequence[Sample]) -> None:
        catalogue = dataset.catalogue
        step = max(len(catalogue) // _RECORDS, 1)
        some = item_facts(dataset, np.arange(0, len(catalogue), step, dtype=np.int64))
        counts = Counter(word for item in some.values() for word in record(item))
        self._general = {word for word, count in counts.items() if count > GENERAL * len(some)}
        self._related = _related(dataset, samples)

    def answers(self, one: Sample) -> dict[str, bool]:
        """Yes or no to each of `QUESTIONS`."""
        words = telling(one.text)
        if one.kind == "preference":
            items = [record(item) | telling(item.review) for item in one.history]
            own = frozenset().union(*items)
            shared = Counter(word for item in items for word in item)
            common = {word for word, count in shared.items() if count >= min(2, len(items))}
            reflects = bool(words & common - self._general)
            known, grounds = own, one.history
        else:
            own = telling(one.review)
            reflects = bool(words) and len(words & own) >= min(2, len(words))
            grounds = ()
            known = own | (record(one.target) if one.target else frozenset())
        about = record(one.target) if one.target else frozenset()
        near = [*grounds, *([one.target] if one.target else [])]
        related: frozenset[str] = frozenset().union(
            *(
                self._related.get(item.categories[-1], frozenset())
                for item in near
                if item.categories
            )
        )
        return {
            "own": bool(words) and len(words & known) >= OWN_SHARE * len(words),
            "knowledge": bool((words - known) & related),
            "reflects": reflects,
            "target": bool(words & about - self._general),
        }


def _related(dataset: Dataset, samples: Iterable[Sample]) -> dict[str, frozenset[str]]:
    """Words that the shop's texts use of items of a narrowest category."""
    items = dataset.catalogue.items
    if "categories" not in items.columns:
        return {}
    near = (item for one in samples for item in (*one.history, one.target) if item)
    wanted = sorted({item.categories[-1] for item in near if item.categories})
    narrow = items.with_row_index("at").select(
        "at", "item_id", label=pl.col("categories").list.last()
    )
    chosen = narrow.filter(pl.col("label").is_in(wanted)).group_by("label").head(_RELATED)
    facts = item_facts(dataset, chosen["at"].cast(pl.Int64).sort().to_numpy())
    found: dict[str, set[str]] = {}
    for label, at in chosen.select("label", "at").iter_rows():
        found.setdefault(label, set()).update(record(facts[at]))
    if "review" in dataset.interactions.collect_schema().names():
        ids = chosen["item_id"].to_list()
        said = dataset.interactions.filter(pl.col("item_id").is_in(ids), pl.col("review") != "")
        some = said.select("item_id", "review").group_by("item_id").head(_REVIEWS).collect()
        joined = some.join(chosen, on="item_id")
        for label, review in joined.select("label", "review").iter_rows():
            found[label].update(telling(review))
    return {label: frozenset(words) for label, words in found.items()}
