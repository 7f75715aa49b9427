"""Is the marketplace a fair world: does it look like real shops to the plainest rivals?

Its lengths, popularity skew and what popularity, item-kNN and shared words reach under the
paper's protocol (leave-one-out, 1 positive + 9 uniform random items the user has not interacted
with, seeded per user, ties against the target, 19 items of history) stand beside the same figures
of Amazon Video Games and Beauty. Rivals are fitted on all but the last two events of a user. A
figure is fair when it lies between those of the two, or within the tolerance of one of them:
.05 for hit rates, 20 % for lengths and skew.

Where minilm has been pulled, its HR@1 on the market's wishes (of the rules teacher, as said in
reviews, and vague queries) stands beside that on real ones (digital music: a strong teacher's,
and the rules teacher's).

    python benchmarks/market_fairness.py --out market_fairness.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from instructrec import metrics
from instructrec.data.catalogue import Catalogue
from instructrec.data.market import ITEMS, USERS, market_tables
from instructrec.data.sequences import Sequences
from instructrec.evaluation.baselines.words import SharedWords
from instructrec.instructions.schema import Instruction, Preference
from instructrec.instructions.teachers.base import Ask, ItemFacts
from instructrec.negatives import sample_negatives
from instructrec.protocols import Rows, Scorer
from instructrec.retrieval.encoder import TextEncoder, find_encoder
from instructrec.retrieval.neighbours import ItemNeighbours
from instructrec.retrieval.popularity import Popularity

HISTORY = 19
RATES = ("popularity HR@1", "item-kNN HR@1", "shared words HR@1")
FIGURES = (
    *("mean length", "median length", "90th percentile", "99th percentile"),
    *("Gini of popularity", "share of the top tenth", "words a title"),
    *RATES,
)
REFERENCES = {
    "amazon-games": (8.96, 6.0, 14.0, 42.0, 0.578, 0.479, 7.34, 0.386, 0.560, 0.430),
    "amazon-beauty": (8.88, 6.0, 14.0, 43.0, 0.499, 0.428, 10.85, 0.253, 0.390, 0.385),
}
"""As this script measured them, in the order of `FIGURES`; for where the data are absent."""


@dataclass(frozen=True, eq=False)
class World:
    """Items and everybody's interactions in time order."""

    catalogue: Catalogue
    sequences: Sequences

    @classmethod
    def of(cls, items: pl.DataFrame, interactions: pl.DataFrame) -> World:
        """From tables; interactions sorted by user and time."""
        catalogue = Catalogue(items.sort("item_id"))
        return cls(catalogue, Sequences.of(interactions, catalogue))


def real_world(folder: Path) -> World:
    """One of the real sets."""
    interactions = pl.read_parquet(folder / "interactions.parquet")
    time = "timestamp" if "timestamp" in interactions.columns else "position"
    return World.of(pl.read_parquet(folder / "items.parquet"), interactions.sort("user_id", time))


def made_world(users: int, items: int, seed: int) -> World:
    """The marketplace."""
    tables = market_tables(users=users, items=items, seed=seed)
    return World.of(tables.items.collect(), tables.interactions.collect())


def figures(world: World, users: int, seed: int = 0) -> dict[str, float]:
    """Everything in `FIGURES`; hit rates of at most ``users`` users."""
    lengths = world.sequences.lengths
    counts = np.sort(world.sequences.counts(len(world.catalogue)))
    size = len(counts)
    gini = (2 * np.arange(1, size + 1) - size - 1) @ counts / (size * counts.sum())
    words = [len(title.split()) for title in world.catalogue.titles]
    shape = (
        lengths.mean(),
        *np.percentile(lengths, [50, 90, 99]),
        gini,
        counts[-(size // 10) :].sum() / counts.sum(),
        np.mean(words),
    )
    values = (*shape, *hit_rates(world, users, seed))
    return {name: round(float(value), 4) for name, value in zip(FIGURES, values, strict=True)}


def hit_rates(world: World, users: int, seed: int) -> list[float]:
    """HR@1 of popularity, item-kNN and shared words."""
    sequences, catalogue = world.sequences, world.catalogue
    rng = np.random.default_rng(seed)
    chosen = np.flatnonzero(sequences.lengths >= 3)
    if users < len(chosen):
        chosen = np.sort(rng.choice(chosen, users, replace=False))
    place = np.arange(len(sequences.rows))
    kept = place < np.repeat(sequences.offsets[1:], sequences.lengths) - 2
    lengths = np.maximum(sequences.lengths - 2, 0)
    train = Sequences(
        sequences.user_ids, np.concatenate([[0], np.cumsum(lengths)]), sequences.rows[kept]
    )
    histories = [sequences[user][:-1] for user in chosen]
    targets = np.array([sequences[user][-1] for user in chosen])
    keys = [sequences.user_ids[user] for user in chosen]
    candidates = sample_negatives(catalogue, targets, histories, keys, seed=seed)
    requests = [_request(catalogue, history[-HISTORY:]) for history in histories]
    rivals: list[Scorer] = [
        Popularity.fit(train, catalogue),
        ItemNeighbours.fit(train, catalogue),
        SharedWords(catalogue),
    ]
    return [_hit_rate(rival.score(requests, candidates)) for rival in rivals]


def _request(catalogue: Catalogue, rows: Rows) -> Instruction:
    titles, ids = catalogue.titles, catalogue.item_ids
    return Instruction(
        Preference(tuple(titles[row] for row in rows), tuple(ids[row] for row in rows))
    )


def _hit_rate(scores: np.ndarray) -> float:
    return float(metrics.hit_rate(metrics.ranks(scores), 1).mean())


def fair_range(name: str, references: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest fair value of a figure."""
    low, high = min(references), max(references)
    return (low - 0.05, high + 0.05) if name in RATES else (0.8 * low, 1.2 * high)


def wish_rates(
    encoder: TextEncoder, items: pl.DataFrame, wishes: Sequence[tuple[str, str]], seed: int
) -> dict[str, float]:
    """HR@1 of the encoder on (wish, item_id) pairs: 1 positive + 9 uniform random items."""
    catalogue = Catalogue(items.sort("item_id"))
    with_categories = items.sort("item_id").select(
        pl.format("{}. {}", "title", pl.col("categories").list.join(", "))
    )
    targets = catalogue.rows([item_id for _, item_id in wishes])
    keys = [f"{number}/{item_id}" for number, (_, item_id) in enumerate(wishes)]
    nothing = [np.zeros(0, dtype=np.int64)] * len(wishes)
    candidates = sample_negatives(catalogue, targets, nothing, keys, seed=seed)
    asked = encoder.encode([text for text, _ in wishes])
    rates = {}
    texts = {
        "titles": catalogue.titles,
        "titles + categories": with_categories.to_series().to_list(),
    }
    for name, texts_of_items in texts.items():
        vectors = encoder.encode(texts_of_items)
        rates[name] = _hit_rate(np.einsum("nd,ncd->nc", asked, vectors[candidates]))
    return rates


def rules_wishes(
    interactions: pl.DataFrame, items: pl.DataFrame, limit: int, seed: int
) -> list[tuple[str, str]]:
    """What the rules teacher makes of the reviews of last interactions."""
    from instructrec.instructions.annotations import names_title
    from instructrec.instructions.teachers.rules import RulesTeacher

    last = interactions.group_by("user_id", maintain_order=True).last()
    last = last.filter(pl.col("review").str.len_chars() > 0).join(items, on="item_id")
    last = last.sample(min(limit, last.height), seed=seed)
    asks = []
    for row in last.iter_rows(named=True):
        facts = ItemFacts(row["title"], tuple(row["categories"]), rating=row["rating"])
        view = "what_i_want"
        asks.append(
            Ask("intention", view, row["user_id"], row["item_id"], "test", (), facts, row["review"])
        )
    texts = [one.text for one in RulesTeacher().write(asks)]
    return [
        (text, ask.item_id or "")
        for ask, text in zip(asks, texts, strict=True)
        if text and ask.item and not names_title(text, ask.item.title)
    ]


def said_wishes(interactions: pl.DataFrame, limit: int, seed: int) -> list[tuple[str, str]]:
    """The sentence of each last review that says what was wanted, as it stands, if one does."""
    sentences = pl.col("review").str.extract_all(r"[^.?!]+[.?!]")
    wanted = sentences.list.eval(
        pl.element().filter(pl.element().str.contains(r"(?i)\b(want|need|looking for|present)"))
    )
    last = interactions.group_by("user_id", maintain_order=True).last()
    last = last.with_columns(wanted.list.first().str.strip_chars().alias("said"))
    last = last.drop_nulls("said")
    chosen = last.sample(min(limit, last.height), seed=seed)
    return list(chosen.select("said", "item_id").iter_rows())


def wish_table(
    encoder: TextEncoder, shared: Path, users: int, items: int, seed: int, limit: int = 800
) -> dict[str, dict[str, float]]:
    """minilm's HR@1 on made-up and on real wishes."""
    tables = market_tables(users=users, items=items, seed=seed)
    goods, events = tables.items.collect(), tables.interactions.collect()
    table = {
        "market, rules teacher": wish_rates(
            encoder, goods, rules_wishes(events, goods, limit, seed), seed
        ),
        "market, said in reviews": wish_rates(
            encoder, goods, said_wishes(events, limit, seed), seed
        ),
    }
    if tables.queries is not None:
        asked = tables.queries.collect().filter(
            (pl.col("relevance") == 1) & pl.col("query_id").str.starts_with("qv")
        )
        pairs = list(asked.head(limit).select("text", "item_id").iter_rows())
        table["market, vague queries"] = wish_rates(encoder, goods, pairs, seed)
    folder = shared / "digital-music"
    if folder.is_dir():
        events = pl.read_parquet(folder / "interactions.parquet").sort("user_id", "timestamp")
        albums = pl.read_parquet(folder / "items.parquet")
        albums = albums.filter(pl.col("item_id").is_in(events["item_id"].unique().sort().to_list()))
        table["digital music, rules teacher"] = wish_rates(
            encoder, albums, rules_wishes(events, albums, limit, seed), seed
        )
        texts = pl.read_parquet(folder / "teacher.parquet").filter(
            (pl.col("view") == "what_i_want") & (pl.col("split") == "test")
        )
        pairs = list(texts.select("text", "item_id").iter_rows())
        table["digital music, strong teacher"] = wish_rates(encoder, albums, pairs, seed)
    return table


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=6000, help="users that rivals are measured on")
    parser.add_argument(
        "--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data"
    )
    parser.add_argument("--out", type=Path, default=Path("market_fairness.json"))
    options = parser.parse_args()
    table = {
        "market": figures(made_world(options.users, options.items, options.seed), options.limit)
    }
    for name, known in REFERENCES.items():
        folder = options.shared / name
        table[name] = (
            figures(real_world(folder), options.limit)
            if folder.is_dir()
            else dict(zip(FIGURES, known, strict=True))
        )
    print(f"{'':24}" + "".join(f"{name:>15}" for name in table) + "   fair range")
    for name in FIGURES:
        values = [column[name] for column in table.values()]
        low, high = fair_range(name, values[1:])
        verdict = "" if low <= values[0] <= high else "  NOT FAIR"
        cells = "".join(f"{value:15.3f}" for value in values)
        print(f"{name:24}{cells}   {low:.3f} to {high:.3f}{verdict}")
    result: dict[str, object] = {"figures": table}
    encoder = find_encoder()
    if encoder is None:
        print("minilm has not been pulled: its figures on wishes are left out")
    else:
        wishes = wish_table(encoder, options.shared, options.users, options.items, options.seed)
        print(f"\n{'HR@1 of minilm on wishes':32}{'titles':>12}{'+ categories':>15}")
        for name, rates in wishes.items():
            print(f"{name:32}{rates['titles']:12.3f}{rates['titles + categories']:15.3f}")
        result["wishes"] = wishes
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
