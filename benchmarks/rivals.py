"""The rivals that learn, trained and measured on real users: the rows of tables 6 to 8.

Each rival's settings are searched on a sample of users, then it is trained on training rows for at
most so many minutes; validation requests of users outside the file choose settings and when to
stop, and no test row is looked at. Each ends in a folder of its own that is read when it is there
already and made of the same; what was stopped goes on.

    python benchmarks/rivals.py --data RUN/dataset --users-of candidates.parquet --out runs/rivals

candidates.parquet has strategy, user_id, candidates: the first nine of each --strategy are ranked
with the target. --hard FILE writes the two-tower's lists for these users (table 9) and measures
on them too. --refit trains each again on all that comes before the test item, with nothing chosen
anew. Rivals that read words need --corpus, whose texts they learn from.
--zero-shot asks a language model that was never tuned: one that was pulled, by its likelihoods, or
openai:MODEL at --base-url, which writes an order down; with --limit, for it is slow or dear.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from instructrec.cli.progress import make_progress
from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.evaluation.baselines import Baseline, Material, fit_baselines
from instructrec.evaluation.baselines.learned import Learned
from instructrec.evaluation.baselines.likelihood import ZeroShotLikelihood
from instructrec.evaluation.baselines.settings import Budget
from instructrec.evaluation.baselines.trained import TRAINED, load_rivals, make_rivals
from instructrec.evaluation.baselines.two_tower import TwoTower, write_lists
from instructrec.evaluation.baselines.zero_shot import ZeroShot, tell
from instructrec.evaluation.measure import Contestant, answer, row_of
from instructrec.evaluation.plan import users_of
from instructrec.evaluation.trials import CandidateList, Trial, make_trial
from instructrec.folders import read_json
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.schema import Scenario
from instructrec.instructions.teachers.cache import AnswerCache
from instructrec.instructions.teachers.openai import OpenAICompletions

SHOWN = ("HR@1", "HR@3", "HR@5", "NDCG@3", "NDCG@5")
QUICK = ("random", "popularity", "words", "bm25", "item-kNN", "sequential")


def main() -> None:
    options = read_options()
    progress = make_progress()
    dataset = Dataset(options.data)
    texts = Annotations.of(pl.DataFrame(schema=ANNOTATION_SCHEMA))
    if options.corpus is not None:
        texts = Corpus(options.corpus).texts
    held_out = frozenset() if options.users_of is None else users_of(options.users_of)
    material = Material(
        dataset,
        Protocol.parse(options.protocol),
        options.retrievers,
        rivals=options.out,
        texts=texts,
        held_out=held_out,
    )
    names = list(TRAINED) if options.rivals is None else options.rivals
    budget = Budget(
        training_seconds=60 * options.minutes,
        trials=options.trials,
        trial_users=options.trial_users,
        trial_seconds=options.trial_seconds,
    )
    inputs = {} if options.corpus is None else {"corpus": options.corpus}
    notes = make_rivals(
        material, options.out, names, budget=budget, inputs=inputs, progress=progress
    )
    if options.refit:
        notes += make_rivals(
            material,
            options.out / "refit",
            names,
            budget=budget,
            reuse=options.out,
            inputs=inputs,
            progress=progress,
        )
        material = replace(material, rivals=options.out / "refit", refit=True)
    for note in notes:
        progress.note(note)
    told = measured(material, options, texts)
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        show(told)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--corpus", type=Path, help="whose texts are learnt from and asked")
    parser.add_argument("--users-of", type=Path, help="a candidates file: the test users")
    parser.add_argument("--strategy", nargs="+", default=["random"], help="which of its lists")
    parser.add_argument("--retrievers", type=Path, help="of a run, for its sequential model")
    parser.add_argument("--protocol", default="leave-one-out")
    parser.add_argument(
        "--scenario", default="P1,I0,T3", help="alternatives make rows of their own"
    )
    parser.add_argument("--rivals", nargs="*", choices=list(TRAINED), help="all when left out")
    parser.add_argument("--out", type=Path, default=Path("runs/rivals"))
    parser.add_argument("--zero-shot", nargs="*", default=[], help="a model, or openai:MODEL")
    parser.add_argument("--base-url", help="of an OpenAI-compatible server")
    parser.add_argument("--minutes", type=float, default=15, help="of a final training, at most")
    parser.add_argument("--trials", type=int, default=6, help="settings tried of each rival")
    parser.add_argument("--trial-users", type=int, default=10_000)
    parser.add_argument("--trial-seconds", type=float, default=60)
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--hard", type=Path, help="write the two-tower's lists there")
    parser.add_argument("--limit", type=int, help="test requests of a scenario, at most")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measured(material: Material, options: argparse.Namespace, texts: Annotations) -> dict:
    """Every rival on every trial."""
    quick, notes = fit_baselines(replace(material, rivals=None))
    learned, more = load_rivals(material)
    field: list[Baseline] = [one for one in quick if one.name in QUICK]
    field += learned
    asked = [zero_shot(name, options, material.catalogue) for name in options.zero_shot]
    field += asked
    contestants = [Contestant(one.name, "rival", one.reads, one) for one in field]
    hard = next((one for one in learned if isinstance(one, TwoTower)), None)
    rows = []
    for single in Scenario.parse(options.scenario).singles():
        for trial in trials(material, options, single, texts, hard):
            start = time.perf_counter()
            for outcome in answer(trial, contestants, material.catalogue):
                row = row_of(outcome, 0)
                took, start = time.perf_counter() - start, time.perf_counter()
                rows.append(
                    {
                        "scenario": str(single),
                        "candidates": row.candidates,
                        "model": row.model,
                        "users": row.users,
                        "metrics": row.metrics,
                        "interval": row.interval,
                        "ms a request": 1000 * took / row.users,
                        **cost(outcome.contestant.scorer, material),
                    }
                )
    for one in asked:
        notes += tell(one.told) if isinstance(one, ZeroShot) else []
    return {"rows": rows, "notes": [*notes, *more], "refit": material.refit}


def zero_shot(name: str, options: argparse.Namespace, catalogue: Catalogue) -> Baseline:
    """A language model that was never tuned, asked for an order or by its likelihoods."""
    if not name.startswith("openai:"):
        return ZeroShotLikelihood.load(name, catalogue)
    options.out.mkdir(parents=True, exist_ok=True)
    completions = OpenAICompletions(name.removeprefix("openai:"), options.base_url)
    return ZeroShot(completions, catalogue, cache=AnswerCache(options.out))


def trials(
    material: Material,
    options: argparse.Namespace,
    scenario: Scenario,
    texts: Annotations,
    hard: TwoTower | None,
) -> list[Trial]:
    """The scenario on each list of candidates, that of the two-tower among them."""
    sources = [CandidateList()]
    if options.users_of is not None:
        sources = [CandidateList(options.users_of, name) for name in options.strategy]
    found: list[Trial] = []
    for source in sources:
        found.append(
            make_trial(
                material.dataset,
                material.protocol,
                scenario,
                texts,
                source,
                limit=options.limit,
                users=None if options.users_of is None else users_of(options.users_of),
            )
        )
    if options.hard is not None and hard is not None and scenario.axes[0] != ("P0",):
        write_lists(hard, found[0].requests, options.hard)
        source = CandidateList(options.hard, hard.name)
        requests = {"users": material.held_out} if material.held_out else {}
        found.append(
            make_trial(material.dataset, material.protocol, scenario, texts, source, **requests)
        )
    return found


def cost(scorer: object, material: Material) -> dict:
    """What a rival that learns has cost."""
    if not isinstance(scorer, Learned) or material.rivals is None:
        return {}
    spent = read_json(material.rivals / scorer.name / "log" / "seconds.json")
    return {
        "seconds": spent["seconds"],
        "parameters": scorer.about["parameters"],
        "trials": max(len(scorer.about["trials"]), 1),
        "settings": {name: scorer.about["config"][name] for name in sorted(scorer.config.space)},
    }


def show(told: dict) -> None:
    """Print a table a trial."""
    console = Console(width=150)
    rows = told["rows"]
    for key in dict.fromkeys((row["scenario"], row["candidates"]) for row in rows):
        mine = [row for row in rows if (row["scenario"], row["candidates"]) == key]
        title = f"⟨{key[0]}⟩, {key[1]}, {mine[0]['users']:,} requests"
        table = Table("", *SHOWN, "seconds", "parameters", "trials", title=title)
        for row in mine:
            low, high = row["interval"]["HR@1"]
            cells = [f"{row['metrics'][name]:.4f}" for name in SHOWN]
            cells[0] += f" [{low:.4f}, {high:.4f}]"
            costs = [
                f"{row[name]:,.0f}" if name in row else "" for name in ("seconds", "parameters")
            ]
            table.add_row(row["model"], *cells, *costs, str(row.get("trials", "")))
        console.print(table)
    for note in told["notes"]:
        console.print(note, markup=False)


if __name__ == "__main__":
    main()
