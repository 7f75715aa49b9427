"""What a better teacher is worth: one small model tuned on each teacher's texts, ranking with both.

Two corpora hold the same rows of the same users; one has a strong teacher's texts, the other those
of rules for the same reviews and histories. The same small model is tuned on each with the same
steps and seed. Then each ranks the last item of every user among 1 + 9 uniform ones under
P0,I1,T3, P1,I1,T3 and P2,I1,T3, asked with its own teacher's words and with the other's: what the
strong teacher writes is nearer to what a person would ask.

The strong teacher wrote of each user's last two reviews. So that the one before the last is a
training target, four in five users have it twice in their sequence, and its repetition stands where
validation rows are taken from; all choices are made on the others, whose sequence is left as it is.

    python benchmarks/teacher_worth.py --data digital-music --texts digital-music/teacher.parquet \
        --out worth --steps 600
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from teachers import VIEWS, Source

from instructrec import metrics
from instructrec.data.dataset import Dataset
from instructrec.data.importing import ImportConfig, import_dataset
from instructrec.data.splits import Protocol
from instructrec.evaluation.baselines import Input
from instructrec.evaluation.measure import Contestant, score_trial
from instructrec.evaluation.significance import difference, interval
from instructrec.evaluation.trials import CandidateList, make_trial
from instructrec.fitting import Grounds, fit_run
from instructrec.folders import write_json
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.schema import Scenario
from instructrec.instructions.teachers.rules import RulesTeacher
from instructrec.protocols import Scorer
from instructrec.ranking.fusion import Fusion
from instructrec.ranking.ranker import Ranker
from instructrec.retrieval import load_retrievers
from instructrec.retrieval.making import make_retrievers
from instructrec.tuning import TuneConfig, tune

SCENARIOS = ("P0,I1,T3", "P1,I1,T3", "P2,I1,T3")
TEACHERS = ("strong", "rules")
FIGURES = ("HR@1", "HR@3", "HR@5", "NDCG@5")
RETRIEVERS = ("popularity", "neighbours", "lexical", "dense")
READS: frozenset[Input] = frozenset({"history", "words"})
_FIFTH = 5


@dataclass(frozen=True, eq=False)
class Bench:
    """What both teachers share.

    Attributes:
        folder: Where everything is made.
        dataset: Users with texts, the items that anybody had.
        held_out: Users on whom nothing is chosen.
        steps: Updates of each model.
        seed: Seeds everything.
    """

    folder: Path
    dataset: Dataset
    held_out: frozenset[str]
    steps: int
    seed: int


def prepare(data: Path, texts: Path, folder: Path, steps: int, seed: int) -> Bench:
    """Import the users with texts and write both teachers' texts."""
    source = Source.read(data, texts)
    users = source.texts["user_id"].unique().sort().to_list()
    choosing = users[::_FIFTH]
    events = source.events.filter(pl.col("user_id").is_in(users))
    events = events.with_columns(
        position=pl.int_range(pl.len()).over("user_id"), size=pl.len().over("user_id")
    )
    again = events.filter(
        (pl.col("position") == pl.col("size") - 2) & ~pl.col("user_id").is_in(choosing)
    )
    events = pl.concat([events.with_columns(part=0), again.with_columns(part=1)])
    events = events.sort("user_id", "position", "part").with_columns(
        position=pl.int_range(pl.len()).over("user_id")
    )
    folder.mkdir(parents=True, exist_ok=True)
    events.select("user_id", "item_id", "position", "rating", "review").write_parquet(
        folder / "events.parquet"
    )
    had = source.events["item_id"].unique()
    items = pl.read_parquet(data / "items.parquet").filter(pl.col("item_id").is_in(had.implode()))
    items.select("item_id", "title", "categories").write_parquet(folder / "items.parquet")
    if not (folder / "dataset" / "manifest.json").is_file():
        import_dataset(
            ImportConfig(
                out=folder / "dataset",
                interactions=folder / "events.parquet",
                items=folder / "items.parquet",
                clock="order",
                repeats="keep",
                columns={"timestamp": "position"},
            )
        )
    write_texts(source, folder, seed)
    held_out = frozenset(users) - frozenset(choosing)
    return Bench(folder, Dataset(folder / "dataset"), held_out, steps, seed)


def write_texts(source: Source, folder: Path, seed: int) -> None:
    """Both teachers' texts of the same reviews and histories."""
    columns = ["user_id", "item_id", "kind", "view", "split", "text"]
    chosen = source.texts.filter(pl.col("view").is_in(VIEWS)).sort(
        "user_id", "item_id", "view", nulls_last=True
    )
    asks = source.asks(chosen, seed)
    texts = [written.text for written in RulesTeacher().write(asks)]
    rules = chosen.with_columns(text=pl.Series(texts)).filter(pl.col("text").str.len_chars() > 0)
    chosen.select(columns).write_parquet(folder / "strong.parquet")
    rules.select(columns).write_parquet(folder / "rules.parquet")


def make(bench: Bench, teacher: str) -> Annotations:
    """A teacher's corpus, model and weights, and its texts."""
    folder = bench.folder / teacher
    folder.mkdir(exist_ok=True)
    if not (folder / "corpus" / "manifest.json").is_file():
        build_corpus(
            bench.dataset,
            None,
            folder / "corpus",
            CorpusConfig(seed=bench.seed),
            annotations=pl.read_parquet(bench.folder / f"{teacher}.parquet"),
        )
    corpus = Corpus(folder / "corpus")
    if bench.steps and not (folder / "model" / "manifest.json").is_file():
        tune(
            corpus,
            folder / "model",
            TuneConfig(steps=bench.steps, seed=bench.seed, validations=4, choice_users=150),
            dataset=bench.dataset,
            held_out=bench.held_out,
        )
    grounds = Grounds(
        bench.dataset,
        Protocol.LEAVE_ONE_OUT,
        corpus.texts,
        held_out=bench.held_out,
        seed=bench.seed,
    )
    pieces: dict[str, Scorer] = {
        **load_retrievers(bench.folder / "retrievers", bench.dataset.catalogue, to_choose=True)
    }
    if bench.steps:
        pieces["lm"] = Ranker.load(folder / "model", bench.dataset.catalogue)
    facts = {"protocol": Protocol.LEAVE_ONE_OUT.value, "seed": bench.seed}
    write_json(folder / "fusion.json", fit_run(grounds, pieces, facts))
    return corpus.texts


def ranked(bench: Bench, tuned: str, asked: str, texts: Annotations) -> list[dict[str, object]]:
    """Everybody's ranks when the model of one teacher is asked with the words of another."""
    pieces: dict[str, Scorer] = {
        **load_retrievers(bench.folder / "retrievers", bench.dataset.catalogue)
    }
    weights = bench.folder / tuned / "fusion.json"
    scorers: dict[str, Scorer] = {}
    if bench.steps:
        pieces["lm"] = Ranker.load(bench.folder / tuned / "model", bench.dataset.catalogue)
        scorers = {"lm": pieces["lm"], "fused": Fusion.load(weights, pieces)}
    scorers["fused-without-lm"] = Fusion.load(weights, pieces, without_lm=True)
    if "dense" in pieces and tuned == asked:
        scorers["minilm"] = pieces["dense"]
    rows: list[dict[str, object]] = []
    for name in SCENARIOS:
        trial = make_trial(
            bench.dataset,
            Protocol.LEAVE_ONE_OUT,
            Scenario.parse(name),
            texts,
            CandidateList(),
            seed=bench.seed,
        )
        for evidence, scorer in scorers.items():
            scores = score_trial(trial, Contestant(evidence, "ours", READS, scorer))
            row: dict[str, object] = {"scenario": name, "evidence": evidence}
            rows.append(row | {"tuned": tuned, "asked": asked, "ranks": metrics.ranks(scores)})
    return rows


def told(row: Mapping[str, object], seed: int) -> dict[str, object]:
    """A row with figures in the place of ranks."""
    ranks = row["ranks"]
    assert isinstance(ranks, np.ndarray)
    hits = metrics.hit_rate(ranks, 1)
    low, high = interval(hits, seed=seed)
    figures = {
        "HR@1": hits,
        "HR@3": metrics.hit_rate(ranks, 3),
        "HR@5": metrics.hit_rate(ranks, 5),
        "NDCG@5": metrics.ndcg(ranks, 5),
    }
    named = {key: value for key, value in row.items() if key != "ranks"}
    means = {name: round(float(values.mean()), 4) for name, values in figures.items()}
    return {**named, "users": len(ranks), **means, "HR@1 from": low, "HR@1 to": high}


def gaps(rows: list[dict[str, object]], seed: int) -> list[dict[str, object]]:
    """HR@1 of the model tuned on strong texts less that of rules', asked with the same words."""
    found = {
        (row["scenario"], row["evidence"], row["asked"], row["tuned"]): row["ranks"] for row in rows
    }
    made: list[dict[str, object]] = []
    for (scenario, evidence, asked, tuned), strong in found.items():
        rules = found.get((scenario, evidence, asked, "rules"))
        if tuned != "strong" or rules is None:
            continue
        assert isinstance(strong, np.ndarray) and isinstance(rules, np.ndarray)
        gap = difference(metrics.hit_rate(strong, 1), metrics.hit_rate(rules, 1), seed=seed)
        row = {"scenario": scenario, "evidence": evidence, "asked": asked}
        made.append(row | {"gap": gap.mean, "from": gap.low, "to": gap.high, "p": gap.p_value})
    return made


def show(rows: list[dict[str, object]], differences: list[dict[str, object]]) -> None:
    """Print both tables."""
    head = "".join(f"{name:>9}" for name in FIGURES)
    print(f"{'scenario':10}{'evidence':18}{'tuned on':>9}{'asked by':>9}{head}   HR@1 95 %")
    for row in rows:
        cells = "".join(f"{row[name]:9.4f}" for name in FIGURES)
        bounds = f"{row['HR@1 from']:.3f} to {row['HR@1 to']:.3f}"
        print(
            f"{row['scenario']:10}{row['evidence']:18}{row['tuned']:>9}{row['asked']:>9}"
            f"{cells}   {bounds}"
        )
    print("\nHR@1 tuned on strong less tuned on rules, asked alike")
    for row in differences:
        print(
            f"{row['scenario']:10}{row['evidence']:18}{row['asked']:>9}{row['gap']:9.4f}"
            f"   {row['from']:.3f} to {row['to']:.3f}   p {row['p']:.3f}"
        )


def main() -> None:
    """Make everything and print the tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="items and interactions")
    parser.add_argument("--texts", type=Path, required=True, help="the strong teacher's texts")
    parser.add_argument("--out", type=Path, required=True, help="a folder to work in")
    parser.add_argument("--steps", type=int, default=600, help="updates of each model; 0: no model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = prepare(options.data, options.texts, options.out, options.steps, options.seed)
    if not (options.out / "retrievers" / "manifest.json").is_file():
        make_retrievers(
            bench.dataset,
            options.out / "retrievers",
            protocol=Protocol.LEAVE_ONE_OUT,
            kinds=RETRIEVERS,
            held_out=bench.held_out,
        )
    texts = {teacher: make(bench, teacher) for teacher in TEACHERS}
    rows = [
        row
        for tuned in TEACHERS
        for asked in TEACHERS
        for row in ranked(bench, tuned, asked, texts[asked])
    ]
    figures = [told(row, options.seed) for row in rows]
    differences = gaps(rows, options.seed)
    if options.json:
        print(json.dumps({"rows": figures, "differences": differences}))
    else:
        show(figures, differences)


if __name__ == "__main__":
    main()
