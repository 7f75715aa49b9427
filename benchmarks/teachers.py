"""The rules teacher beside texts of a strong teacher, on the very same reviews and histories.

For every view: words a text; distinct 1- to 3-grams of equally many words; content words a text and
their mean idf among the reviews; the share of texts that no other equals; the mean cosine by minilm
to the strong teacher's text of the same review (beside that to a shuffled one); whether a text
names the title, three words in a row of it or all of its content words; and for wishes how telling
they are: HR@1 of untrained minilm against 1 + 9 uniform items, by title and by title and
categories. Where minilm has not been pulled, its columns are left out.

    python benchmarks/teachers.py --data digital-music --texts digital-music/teacher.parquet
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from instructrec import metrics
from instructrec.data.catalogue import Catalogue
from instructrec.instructions.annotations import names_title
from instructrec.instructions.teachers._intentions import wish_of
from instructrec.instructions.teachers._mining import mine
from instructrec.instructions.teachers._needs import deed_said, wish_said
from instructrec.instructions.teachers.base import Ask, ItemFacts
from instructrec.instructions.teachers.rules import RulesTeacher
from instructrec.negatives import sample_negatives
from instructrec.retrieval.encoder import TextEncoder, find_encoder

VIEWS = ("what_i_want", "what_it_is_like", "overall", "long_term", "short_term")
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_NO_CONTENT = """
a about after all also always am an and any are as at be been but by can could do for from get
give had has have he her him his i i'd i'll i'm i've if in into is it its it's just like lately
looking love me more most much my need no nothing not of on one or other our over please really
she should so some something that that's the their them then there they they're thing things
this to too up us very want was we were what when where which while who will with without would
you your
"""
_EMPTY = frozenset(_NO_CONTENT.split())
"""Words that tell of no wish in particular."""


@dataclass(frozen=True, eq=False)
class Told:
    """What one view holds: asks, the strong teacher's texts and those of rules, row by row."""

    asks: list[Ask]
    strong: list[str]
    rules: list[str]


@dataclass(frozen=True, eq=False)
class Source:
    """Reviews, items and the strong teacher's texts."""

    items: dict[str, ItemFacts]
    events: pl.DataFrame
    texts: pl.DataFrame

    @classmethod
    def read(cls, data: Path, texts: Path) -> Source:
        """From a folder with items.parquet and interactions.parquet."""
        rows = pl.read_parquet(data / "items.parquet").iter_rows(named=True)
        events = pl.read_parquet(data / "interactions.parquet")
        return cls(
            {row["item_id"]: _facts(row) for row in rows},
            events.sort("user_id", "timestamp", "item_id"),
            pl.read_parquet(texts),
        )

    def told(self, view: str, seed: int) -> Told:
        """Both teachers' texts of a view; for intentions those of test."""
        chosen = self.texts.filter(
            (pl.col("view") == view)
            & ((pl.col("kind") == "preference") | (pl.col("split") == "test"))
        ).sort("user_id")
        asks = self.asks(chosen, seed)
        rules = [written.text for written in RulesTeacher().write(asks)]
        return Told(asks, chosen["text"].to_list(), rules)

    def asks(self, texts: pl.DataFrame, seed: int) -> list[Ask]:
        """What rules are asked to write in the place of these texts."""
        events = {
            user: frame.to_dicts()
            for (user,), frame in self.events.group_by("user_id", maintain_order=True)
        }
        return [
            self._ask(row, events[row["user_id"]], seed + number)
            for number, row in enumerate(texts.iter_rows(named=True))
        ]

    def _ask(self, row: dict[str, str], events: list[dict[str, object]], seed: int) -> Ask:
        dealt = {str(event["item_id"]): self._dealt(event) for event in events}
        user, view = row["user_id"], row["view"]
        if row["kind"] == "preference":
            history = tuple(dealt[str(event["item_id"])] for event in events[:-2])
            return Ask("preference", view, user, None, "train", history, seed=seed)
        item = dealt[row["item_id"]]
        item_id, split = row["item_id"], row["split"]
        return Ask("intention", view, user, item_id, split, (), item, item.review, seed)

    def _dealt(self, event: dict[str, object]) -> ItemFacts:
        rating, review = event["rating"], event["review"]
        assert rating is None or isinstance(rating, float)
        return replace(self.items[str(event["item_id"])], rating=rating, review=str(review or ""))


def _facts(row: dict[str, object]) -> ItemFacts:
    categories, price = row.get("categories"), row.get("price")
    assert isinstance(categories, list | None) and isinstance(price, float | None)
    return ItemFacts(
        str(row["title"]),
        tuple(categories or ()),
        str(row.get("brand") or ""),
        str(row.get("description") or ""),
        price=price,
    )


def words_of(text: str) -> list[str]:
    """Lower-cased words."""
    return _WORD.findall(text.lower())


def idf_of(reviews: Sequence[str]) -> dict[str, float]:
    """The natural logarithm of reviews to reviews with the word."""
    counts: Counter[str] = Counter()
    for review in reviews:
        counts.update(set(words_of(review)))
    return {word: float(np.log(len(reviews) / count)) for word, count in counts.items()}


def figures(texts: Sequence[str], idf: dict[str, float], words: int) -> dict[str, float]:
    """What texts look like by themselves; distinct n-grams of their first so many words."""
    told = [text for text in texts if text]
    rarest = max(idf.values())
    content = [[word for word in words_of(text) if word not in _EMPTY] for text in told]
    row = {
        "none": 1 - len(told) / len(texts),
        "words": float(np.mean([len(text.split()) for text in told])),
        "content": float(np.mean([len(one) for one in content])),
        "idf": float(np.mean([idf.get(word, rarest) for one in content for word in one])),
        "unique": sum(count == 1 for count in Counter(told).values()) / len(told),
    }
    for size in (1, 2, 3):
        grams = list(_grams(told, size))[:words]
        row[f"distinct-{size}"] = len(set(grams)) / len(grams)
    return row


def _grams(texts: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    for text in texts:
        words = words_of(text)
        for at in range(len(words) - size + 1):
            yield tuple(words[at : at + size])


def leaks(asks: Sequence[Ask], texts: Sequence[str]) -> dict[str, float]:
    """Shares of texts that name a title they are made from."""
    whole = runs = scattered = 0
    for ask, text in zip(asks, texts, strict=True):
        titles = [ask.item.title] if ask.item else [item.title for item in ask.history]
        said, padded = set(words_of(text)), f" {' '.join(words_of(text))} "
        whole += any(names_title(text, title) for title in titles)
        runs += any(
            f" {' '.join(run)} " in padded for title in titles for run in _grams([title], 3)
        )
        wanted = [{word for word in words_of(title) if word not in _EMPTY} for title in titles]
        scattered += any(len(words) > 1 and words <= said for words in wanted)
    size = len(texts)
    return {"title": whole / size, "3 in a row": runs / size, "all its words": scattered / size}


def likeness(encoder: TextEncoder, told: Told) -> dict[str, float]:
    """Mean cosines of rules' texts to the strong teacher's: same review, and shuffled."""
    rows = [row for row, text in enumerate(told.rules) if text]
    ours = encoder.encode([told.rules[row] for row in rows])
    theirs = encoder.encode([told.strong[row] for row in rows])
    shuffled = np.roll(theirs, len(rows) // 2, axis=0)
    return {
        "cosine": float((ours * theirs).sum(1).mean()),
        "shuffled": float((ours * shuffled).sum(1).mean()),
        "shuffled, strong": float((theirs * shuffled).sum(1).mean()),
    }


def telling(
    encoder: TextEncoder, source: Source, asks: Sequence[Ask], texts: Sequence[str], seed: int
) -> dict[str, float]:
    """HR@1 of wishes against 1 + 9 of the items that anybody had; an empty wish misses."""
    had = source.events["item_id"].unique().sort().to_list()
    titles = [source.items[item_id].title for item_id in had]
    labels = [", ".join(source.items[item_id].categories) for item_id in had]
    catalogue = Catalogue(pl.DataFrame({"item_id": had, "title": titles}))
    targets = catalogue.rows([ask.item_id or "" for ask in asks])
    keys = [f"{number}/{ask.item_id}" for number, ask in enumerate(asks)]
    nothing = [np.zeros(0, dtype=np.int64)] * len(asks)
    candidates = sample_negatives(catalogue, targets, nothing, keys, seed=seed)
    asked = encoder.encode([text or " " for text in texts])
    said = np.array([bool(text) for text in texts])
    with_labels = [f"{title}. {label}" for title, label in zip(titles, labels, strict=True)]
    rates = {}
    for name, things in (("HR@1 title", titles), ("HR@1 + categories", with_labels)):
        vectors = encoder.encode(things)
        places = metrics.ranks(np.einsum("nd,ncd->nc", asked, vectors[candidates]))
        rates[name] = float((metrics.hit_rate(places, 1) * said).mean())
    return rates


def compare(source: Source, encoder: TextEncoder | None, seed: int) -> dict[str, dict[str, float]]:
    """A row for each view and teacher."""
    idf = idf_of([review or "" for review in source.events["review"].to_list()])
    table: dict[str, dict[str, float]] = {}
    for view in VIEWS:
        told = source.told(view, seed)
        fewest = min(sum(1 for _ in _grams(texts, 3)) for texts in (told.strong, told.rules))
        for name, texts in (("strong", told.strong), ("rules", told.rules)):
            row = figures(texts, idf, fewest) | leaks(told.asks, texts)
            if encoder and told.asks[0].item:
                row |= telling(encoder, source, told.asks, texts, seed)
            table[f"{view} {name}"] = row
        if encoder:
            table[f"{view} rules"] |= likeness(encoder, told)
    return table


def speed(source: Source, times: int = 3) -> float:
    """Wishes of every review, texts a second of processor time: the median of fresh passes."""
    asks = [
        Ask("intention", view, item=facts, review=facts.review, seed=number)
        for number, event in enumerate(source.events.iter_rows(named=True))
        for facts in [source._dealt(event)]
        for view in VIEWS[:2]
    ]
    seconds = []
    for _ in range(times):
        for remembering in (wish_of, mine, wish_said, deed_said):
            remembering.cache_clear()
        start = time.process_time()
        RulesTeacher().write(asks)
        seconds.append(time.process_time() - start)
    return len(asks) / float(np.median(seconds))


def show(table: dict[str, dict[str, float]]) -> None:
    """Print the table, a figure a line."""
    for view in VIEWS:
        strong, rules = table[f"{view} strong"], table[f"{view} rules"]
        print(f"\n{view:24}{'strong':>10}{'rules':>10}")
        for name in rules:
            left = f"{strong[name]:10.3f}" if name in strong else " " * 10
            print(f"  {name:22}{left}{rules[name]:10.3f}")


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="items and interactions")
    parser.add_argument("--texts", type=Path, required=True, help="the strong teacher's texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    source = Source.read(options.data, options.texts)
    encoder = find_encoder()
    table = compare(source, encoder, options.seed)
    rate = speed(source)
    if options.json:
        print(json.dumps({"views": table, "texts a second": rate}))
        return
    if encoder is None:
        print("minilm has not been pulled: its figures are left out")
    show(table)
    print(f"\nrules: {rate:,.0f} wishes a second on one core")


if __name__ == "__main__":
    main()
