"""The paper's sequential row on its own Games data: ⟨P1,I0,T3⟩ beside every rival of a run.

Imports all users, tunes a causal model from nothing, fits the retrievers (the text-aware SASRec
among them) on training rows and the fusion on validation requests of 3,000 users outside the
candidates file, and evaluates on that file's users with the first nine random candidates. A
second report (again/) has retrievers and rivals fitted again on all that comes before the test
item, as the figures of docs/paper.md §7 are, with nothing chosen anew. Stages that are there are
kept, so a stopped run goes on.

    python benchmarks/amazon_games.py --data DATA/amazon-games --run runs/games --budget 45m

DATA/amazon-games holds interactions.parquet (user_id, item_id, position), items.parquet (item_id,
title, platform, kind) and candidates.parquet (strategy, user_id, candidates).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from instructrec.cli.app import run as command
from instructrec.cli.progress import make_progress
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.evaluation.of_run import evaluate_run
from instructrec.evaluation.plan import users_of
from instructrec.evaluation.trials import CandidateList
from instructrec.fitting import Grounds, fit_run
from instructrec.folders import MANIFEST, read_json, write_json
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.schema import Scenario
from instructrec.ranking.ranker import Ranker
from instructrec.retrieval import load_retrievers
from instructrec.retrieval.making import make_retrievers
from instructrec.retrieval.sequential import ABOUT
from instructrec.retrieval.settings import SequentialConfig

PROTOCOL = Protocol.LEAVE_ONE_OUT
TASKS = "P1,I0,T0/T1/T2/T3"
MIX = "--mix T0=0.1 --mix T1=0.1 --mix T2=0.3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/games"))
    parser.add_argument("--backbone", default="tiny-causal")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--budget", default="45m", help="of tuning")
    limit.add_argument("--steps", type=int)
    parser.add_argument("--epochs", type=int, help="of the sequential model")
    options = parser.parse_args()
    data, run = options.data, options.run
    lists = data / "candidates.parquet"
    length = f"--steps {options.steps}" if options.steps else f"--budget {options.budget}"
    lines = {
        "dataset": f"data import --interactions {data}/interactions.parquet --items "
        f"{data}/items.parquet --columns timestamp=position,categories=platform+kind "
        f"--clock order --out {run}/dataset",
        "corpus": f"corpus build {run}/dataset --scenario {TASKS} --out {run}/corpus",
        "model": f"tune {run}/corpus --backbone {options.backbone} {length} {MIX} "
        f"--held-out-users {lists} --out {run}/model",
    }
    seconds = {name: once(run / name, lambda line=line: _do(line)) for name, line in lines.items()}
    seconds["retrievers"] = once(run / "retrievers", lambda: retrievers(run, lists, options.epochs))
    seconds["fusion"] = once(run / "fusion.json", lambda: fusion(run, lists))
    report = run / "report"
    seconds["report"] = once(report, lambda: evaluate(run, lists, report))
    seconds["again"] = once(run / "again" / "report", lambda: again(run, lists))
    for path in (report, run / "again" / "report"):
        Console().print((path / "report.md").read_text(), markup=False)
    Console().print_json(json.dumps({"seconds": seconds}))


def once(target: Path, make: Callable[[], None]) -> float:
    """Make what is not there; the seconds it took, 0 where it was there."""
    if (target / MANIFEST).is_file() or target.is_file():
        return 0.0
    start = time.perf_counter()
    make()
    return round(time.perf_counter() - start, 1)


def _do(line: str) -> None:
    if code := command(line.split()):
        raise SystemExit(code)


def retrievers(run: Path, lists: Path, epochs: int | None) -> None:
    """Fit the retrievers on training rows, the weights chosen on users that are not tested."""
    make_retrievers(
        Dataset(run / "dataset"),
        run / "retrievers",
        protocol=PROTOCOL,
        sequential=SequentialConfig(epochs=epochs),
        held_out=users_of(lists),
        command="benchmarks/amazon_games.py",
        progress=make_progress(),
    )


def again(run: Path, lists: Path) -> None:
    """The same run with retrievers fitted again on all that comes before a test item."""
    other = run / "again"
    other.mkdir(exist_ok=True)
    for name in ("dataset", "corpus", "model", "fusion.json"):
        if not (other / name).exists():
            (other / name).symlink_to(Path("..") / name)
    known = run / "retrievers"
    once(
        other / "retrievers",
        lambda: make_retrievers(
            Dataset(run / "dataset"),
            other / "retrievers",
            protocol=PROTOCOL,
            sequential=SequentialConfig(**read_json(known / "sequential" / ABOUT)["config"]),
            reuse=known,
            refit=True,
            command="benchmarks/amazon_games.py",
            progress=make_progress(),
        ),
    )
    evaluate(other, lists, other / "report")


def fusion(run: Path, lists: Path) -> None:
    """Fit the weights on validation requests of users that are not tested."""
    dataset = Dataset(run / "dataset")
    texts = Corpus(run / "corpus").texts
    grounds = Grounds(dataset, PROTOCOL, texts, users=3000, held_out=users_of(lists))
    pieces = {
        **load_retrievers(run / "retrievers", dataset.catalogue, to_choose=True),
        "lm": Ranker.load(run / "model", dataset.catalogue),
    }
    facts = {"protocol": PROTOCOL.value, "seed": 0}
    write_json(run / "fusion.json", fit_run(grounds, pieces, facts, make_progress()))


def evaluate(run: Path, lists: Path, out: Path) -> None:
    """Every row on the candidates file's users, first nine random candidates."""
    candidates = CandidateList(path=lists, first=9, strategy="random")
    scenario = Scenario.parse("P1,I0,T3")
    evaluate_run(run, [scenario], out, candidates=[candidates], progress=make_progress())


if __name__ == "__main__":
    main()
