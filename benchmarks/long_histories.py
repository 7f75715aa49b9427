"""Does more of a long history help, and what does it cost? Methods beside lengths of history.

Asks for the next item of users with long histories, ⟨P1,I0,T3⟩ leave-one-out, with uniform
negatives, telling each method the latest 10, 20, 50 or 200 items. Every row has the same users;
differences are paired: against the model that reads as many titles as it was tuned to read, of
mixes against the first of them.

    python benchmarks/long_histories.py --run runs/games --least 30

RUN is a run folder with dataset/, model/, retrievers/ and fusion.json. One request after another is
timed in a cold and in a warm state: of chunks, read before or not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from instructrec import metrics
from instructrec.cli.progress import make_progress
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.evaluation.plan import users_of
from instructrec.evaluation.significance import difference
from instructrec.evaluation.trials import NEGATIVES, CandidateList, make_trial
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.requests import MAX_HISTORY
from instructrec.instructions.schema import Instruction, Preference, Scenario
from instructrec.instructions.teachers.rules import ItemFacts, RulesTeacher
from instructrec.protocols import Rows, Scorer, Scores
from instructrec.ranking.fusion import Fusion, fit_fusion
from instructrec.ranking.long_history import chunks, spell
from instructrec.ranking.ranker import Ranker
from instructrec.retrieval import load_retrievers

LENGTHS = (10, 20, 50, 200)
TIMED = 40
"""Requests that are timed one by one."""
_COUNTED = ("popularity", "neighbours", "shared")
MIXES = {
    "mix by mean vector": (*_COUNTED, "similar", "lm"),
    "mix by nearest": (*_COUNTED, "nearest", "lm"),
    "mix by nearest, no lm": (*_COUNTED, "nearest"),
}
"""Evidence that is weighed anew on long histories of validation."""
Method = Callable[[int], tuple[Scorer, list[Instruction]]]


class World:
    """A run, its long histories and their candidates."""

    def __init__(self, options: argparse.Namespace) -> None:
        run: Path = options.run
        self.dataset = Dataset(run / "dataset")
        self.catalogue = self.dataset.catalogue
        held_out = users_of(options.held_out) if options.held_out else frozenset()
        self.instructions, self.candidates = self._requests("test", frozenset(), options)
        self.validation = self._requests("validation", held_out, options)
        self.retrievers = load_retrievers(run / "retrievers", self.catalogue, to_choose=True)
        self.lm = Ranker.load(run / "model", self.catalogue)
        # A model of before this was stored was tuned on the paper's 20 items, target included.
        self.spelled = self.lm.scoring.spelled or MAX_HISTORY - 1
        self.fusion_file = run / "fusion.json"

    def _requests(
        self, split: str, without: frozenset[str], options: argparse.Namespace
    ) -> tuple[list[Instruction], Rows]:
        trial = make_trial(
            self.dataset,
            Protocol.LEAVE_ONE_OUT,
            Scenario.parse("P1,I0,T3"),
            Annotations.of(pl.DataFrame(schema=ANNOTATION_SCHEMA)),
            CandidateList(first=options.negatives if split == "test" else NEGATIVES),
            split=split,
            max_history=10**6,
        )
        pairs = enumerate(zip(trial.requests.seen, trial.requests.user_ids, strict=True))
        long = [
            n for n, (seen, user) in pairs if len(seen) >= options.least and user not in without
        ]
        if options.users and options.users < len(long):
            rng = np.random.default_rng(0)
            long = sorted(rng.choice(long, options.users, replace=False).tolist())
        return [trial.requests.instructions[number] for number in long], trial.candidates[long]

    def fitted(self, length: int, names: tuple[str, ...]) -> Fusion:
        """These pieces together, weighed on validation requests of such users."""
        pieces: dict[str, Scorer] = {"lm": self.ranker(), **self.retrievers}
        pieces = {name: pieces[name] for name in names if name in pieces}
        asked, rows = [spell(one, length) for one in self.validation[0]], self.validation[1]
        scores = {name: piece.score(asked, rows) for name, piece in pieces.items()}
        return Fusion(pieces, {"P,I0": fit_fusion(scores)}, "fitted")

    def told(self, length: int) -> list[Instruction]:
        """All requests with no more than their latest ``length`` items."""
        return [spell(one, length) for one in self.instructions]

    def ranker(self, **settings: Any) -> Ranker:
        """The run's model under other settings, with nothing remembered."""
        scoring = self.lm.scoring.model_copy(update={"spelled": self.spelled, **settings})
        return Ranker(self.lm.backbone, self.catalogue, self.lm.bank, scoring)


def methods(world: World) -> Iterator[tuple[str, Method]]:
    """Every row of the table: from a length to a scorer and what it is asked."""
    wide = {"max_tokens": 16_384, "spelled": 10**6}
    recent, all_of_it = world.ranker(), world.ranker(**wide)
    pmi = world.ranker(rule="pmi", pmi_weight=0.3)
    apart = world.ranker(long_history="chunks")
    yield "lm, recent titles", lambda n: (recent, world.told(n))
    yield "lm, all spelled out", lambda n: (all_of_it, world.told(n))
    yield "lm, recent, pmi .3", lambda n: (pmi, world.told(n))
    yield "lm, recent + chunks", lambda n: (apart, world.told(n))
    if "nearest" in world.retrievers:
        yield "lm, relevant to candidates", lambda n: (all_of_it, relevant(world, n))
    if any("P2" in scenario for scenario in world.lm.scoring.templates):
        yield "lm, recent + summary", lambda n: (recent, summarised(world, n))
    for name in ("neighbours", "shared", "similar", "nearest", "sequential"):
        if name in world.retrievers:
            piece = world.retrievers[name]
            yield name, lambda n, piece=piece: (piece, world.told(n))
    if world.fusion_file.is_file():
        for without_lm in (True, False):
            pieces = {**world.retrievers, "lm": recent}
            fused = Fusion.load(world.fusion_file, pieces, without_lm=without_lm)
            yield fused.name, lambda n, fused=fused: (fused, world.told(n))
    for label, names in MIXES.items():
        yield label, lambda n, names=names: (world.fitted(n, names), world.told(n))


def relevant(world: World, length: int, recent: int = 10) -> list[Instruction]:
    """The latest 10 titles and, of the older, those most like any candidate; in time order.

    Source: ReLLa (Lin et al., WWW 2024), SIM (Pi et al., CIKM 2020).
    """
    vectors = world.retrievers["nearest"].items.vectors  # type: ignore[attr-defined]
    found = []
    for one, rows in zip(world.told(length), world.candidates, strict=True):
        ids = one.preference.history_ids
        known = world.catalogue.rows(ids[:-recent])
        likeness = (vectors[known] @ vectors[rows[rows >= 0]].T).max(axis=1)
        older = np.sort(np.argsort(-likeness)[: world.spelled - recent])
        kept = [*older.tolist(), *range(len(known), len(ids))]
        titles = tuple(one.preference.history[place] for place in kept)
        chosen = Preference(titles, tuple(ids[place] for place in kept))
        found.append(replace(one, preference=chosen))
    return found


def summarised(world: World, length: int) -> list[Instruction]:
    """The older part as one line of stated preference, written by rules."""
    items, teacher = world.catalogue.items, RulesTeacher()
    found = []
    for one in world.told(length):
        older = one.preference.history_ids[: -world.spelled]
        rows = items[world.catalogue.rows(older).tolist()].to_dicts()
        facts = [
            ItemFacts(row["title"], tuple(row.get("categories") or ()), row.get("brand") or "")
            for row in rows
        ]
        text = teacher.preference(facts, "overall", np.random.default_rng(0)) if facts else ""
        found.append(replace(one, preference=replace(one.preference, text=text)))
    return found


def figures(scores: Scores, base: Scores | None) -> dict[str, Any]:
    """HR@1 and NDCG@5, and by how much they are above those of ``base``."""
    told: dict[str, Any] = {}
    for name, values in _values(scores).items():
        told[name] = round(float(values.mean()), 4)
        if base is not None:
            gap = difference(values, _values(base)[name], shuffles=200)
            told[f"{name} over recent"] = [round(v, 4) for v in (gap.mean, gap.low, gap.high)]
    return told


def _values(scores: Scores) -> dict[str, NDArray[np.float64]]:
    ranks = metrics.ranks(scores)
    return {
        "HR@1": metrics.hit_rate(ranks, 1).astype(np.float64),
        "NDCG@5": metrics.ndcg(ranks, 5).astype(np.float64),
    }


def cost(world: World, scorer: Scorer, asked: list[Instruction]) -> dict[str, float]:
    """Median milliseconds of a request, first as nobody has asked before and then again."""
    step = max(len(asked) // TIMED, 1)
    chosen = range(0, len(asked), step)
    seconds: dict[str, list[float]] = {"cold ms": [], "warm ms": []}
    if isinstance(scorer, Ranker):
        scorer.older.memories.forget()
    for taken in seconds.values():
        for number in chosen:
            start = time.perf_counter()
            scorer.score([asked[number]], world.candidates[number : number + 1])
            taken.append(time.perf_counter() - start)
    told = {name: round(1000 * float(np.median(taken)), 2) for name, taken in seconds.items()}
    if isinstance(scorer, Ranker):
        told["cold tokens"] = float(np.median([_tokens(scorer, asked[n], True) for n in chosen]))
        told["warm tokens"] = float(np.median([_tokens(scorer, asked[n], False) for n in chosen]))
    return told


def _tokens(ranker: Ranker, asked: Instruction, cold: bool) -> int:
    """Tokens of prompts that a request has the model read."""
    read = [asked]
    if cold and ranker.scoring.long_history == "chunks":
        read += chunks(asked, ranker.scoring.spelled or MAX_HISTORY - 1)
    prompts = [ranker.render(one) for one in read]
    return sum(map(len, ranker.backbone.prompt_ids(prompts, ranker.scoring.max_tokens)))


def measure(world: World, lengths: list[int]) -> list[dict[str, Any]]:
    """A row for each method and length."""
    progress = make_progress()
    base = world.lm.score(world.told(world.spelled), world.candidates)
    mixed = None
    rows = []
    plan = [(name, method, length) for name, method in methods(world) for length in lengths]
    for name, method, length in progress.track(plan, "methods and lengths"):
        scorer, asked = method(length)
        scores = scorer.score(asked, world.candidates)
        if name.startswith("mix"):
            mixed = scores if mixed is None else mixed
            told = figures(scores, mixed)
        else:
            told = figures(scores, base if name.startswith("lm") else None)
        rows.append({"method": name, "items": length, **told, **cost(world, scorer, asked)})
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for people."""
    found = Table("method", "items", "HR@1", "over recent", "NDCG@5", "over recent")
    costs = ("cold ms", "warm ms", "cold tokens", "warm tokens")
    for name in costs:
        found.add_column(name, justify="right")
    for row in rows:
        gaps = [row.get(f"{name} over recent") for name in ("HR@1", "NDCG@5")]
        said = [f"{g[0]:+.4f} [{g[1]:+.4f}, {g[2]:+.4f}]" if g else "" for g in gaps]
        cells = [f"{row['HR@1']:.4f}", said[0], f"{row['NDCG@5']:.4f}", said[1]]
        paid = [str(row.get(name, "")) for name in costs]
        found.add_row(row["method"], str(row["items"]), *cells, *paid)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--least", type=int, default=30, help="items of a history at least")
    parser.add_argument("--users", type=int, default=300, help="so many at most; 0: all")
    parser.add_argument("--negatives", type=int, default=9)
    parser.add_argument("--held-out", type=Path, help="users whose validation is not looked at")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    world = World(options)
    rows = measure(world, options.lengths)
    about = {"users": len(world.instructions), "least": options.least}
    if options.json:
        print(json.dumps({**about, "negatives": options.negatives, "rows": rows}))
        return
    console = Console()
    console.print(f"{about['users']} users of {options.least} items or more")
    console.print(table(rows))


if __name__ == "__main__":
    main()
