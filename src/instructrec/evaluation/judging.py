"""Judgements (T0) and comparisons (T1): answers of all who can give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from instructrec.errors import UsageError
from instructrec.evaluation.findings import answers
from instructrec.evaluation.measure import BLOCK, Contestant, score_trial
from instructrec.evaluation.memory import Remembering
from instructrec.evaluation.plan import Plan
from instructrec.evaluation.report import GROUPS, TRAP
from instructrec.evaluation.trials import CandidateList, Trial
from instructrec.evaluation.world import World
from instructrec.instructions.requests import Requests, make_requests
from instructrec.negatives import sample_negatives
from instructrec.protocols import SILENT, Progress, Rows
from instructrec.retrieval.shares import unseen

if TYPE_CHECKING:
    from instructrec.ranking.ranker import Ranker

POPULAR = 100
"""A popular partner is one of so many items that occur most often in training."""
HARD = ("hybrid", "lexical", "neighbours")
"""Whose first is a hard partner: the first of these that is here."""


def ranker_of(contestant: Contestant) -> Ranker | None:
    """The language model of a contestant that is nothing else."""
    from instructrec.ranking.ranker import Ranker

    scorer = contestant.scorer
    scorer = scorer.scorer if isinstance(scorer, Remembering) else scorer
    return scorer if isinstance(scorer, Ranker) else None


def judge_all(
    world: World, plan: Plan, contestants: Sequence[Contestant], progress: Progress = SILENT
) -> tuple[list[pl.DataFrame], list[str]]:
    """Ask all T0 and T1 scenarios of a plan.

    Returns:
        Lines of answers.parquet, and a line about every scenario that cannot be asked.
    """
    found: list[pl.DataFrame] = []
    notes = []
    for scenario in plan.judged():
        try:
            requests = make_requests(
                world.dataset,
                world.protocol,
                "test",
                scenario,
                world.texts,
                max_history=world.max_history,
                limit=plan.limit,
                users=plan.users,
                seed=plan.seed,
            )
            ask = _judgements if scenario.axes[2] == ("T0",) else _comparisons
            found += ask(world, requests, contestants, plan.seed, progress)
        except UsageError as error:
            notes.append(f"Left out: {error}.")
    return found, notes


def _judgements(
    world: World,
    requests: Requests,
    contestants: Sequence[Contestant],
    seed: int,
    progress: Progress,
) -> Iterator[pl.DataFrame]:
    catalogue = world.dataset.catalogue
    rows = sample_negatives(
        catalogue, requests.targets, requests.seen, requests.keys, n=1, seed=seed
    )
    asked = f"the target and 1 uniform, seed {seed}, {len(requests):,} requests each"
    labels = ("judgements", str(requests.scenario), world.protocol.value, asked)
    for contestant in contestants:
        ranker = ranker_of(contestant)
        if ranker is None:
            continue
        said = np.empty(rows.shape, dtype=np.float64)
        starts = range(0, len(requests), BLOCK)
        for start in progress.track(starts, f"{contestant.name} judges {requests.scenario}"):
            block = slice(start, start + BLOCK)
            for column in (0, 1):
                titles = [ranker.titles[row] for row in rows[block, column].tolist()]
                said[block, column] = ranker.judge(requests.instructions[block], titles)
        for column, is_right in ((0, True), (1, False)):
            yield answers(
                labels,
                contestant.name,
                "",
                requests.keys,
                probability=said[:, column],
                label=np.full(len(rows), is_right),
            )


def _comparisons(
    world: World,
    requests: Requests,
    contestants: Sequence[Contestant],
    seed: int,
    progress: Progress,
) -> Iterator[pl.DataFrame]:
    for name, partners in _partners(world, requests, seed).items():
        there = np.flatnonzero(partners >= 0)
        asked = requests.take(there)
        rows = np.stack([asked.targets, partners[there]], axis=1)
        source = CandidateList(first=1)
        trial = Trial(requests.scenario, world.protocol, asked, rows, source, seed)
        labels = (
            "comparisons",
            str(requests.scenario),
            world.protocol.value,
            f"the target and one partner, seed {seed}",
        )
        for contestant in contestants:
            if not contestant.takes_part(trial) or contestant.name in (GROUPS, TRAP):
                continue
            ranker = ranker_of(contestant)
            if ranker is None:
                scores = score_trial(trial, contestant, progress)
                chosen = (np.sign(scores[:, 0] - scores[:, 1]).astype(np.float64) + 1) / 2
            else:
                chosen = _compared(ranker, trial, contestant.name, progress)
            yield answers(labels, contestant.name, name, asked.keys, probability=chosen)


def _compared(ranker: Ranker, trial: Trial, name: str, progress: Progress) -> np.ndarray:
    parts = []
    starts = range(0, len(trial.requests), BLOCK)
    for start in progress.track(starts, f"{name} compares in {trial.scenario}"):
        block = slice(start, start + BLOCK)
        pairs = [[ranker.titles[row] for row in pair] for pair in trial.candidates[block].tolist()]
        parts.append(ranker.compare(trial.requests.instructions[block], pairs))
    return np.concatenate(parts)


def _partners(world: World, requests: Requests, seed: int) -> Mapping[str, Rows]:
    """(n,) partners by kind, -1 where there is none."""
    catalogue = world.dataset.catalogue
    targets, seen, keys = requests.targets, requests.seen, requests.keys
    found = {
        "random partner": sample_negatives(catalogue, targets, seen, keys, n=1, seed=seed)[:, 1]
    }
    order = np.argsort(-world.popularity, kind="stable")
    rare = order[POPULAR:]
    popular = sample_negatives(catalogue, targets, seen, keys, n=1, seed=seed, barred=rare)[:, 1]
    found[f"one of the {POPULAR} most popular"] = popular
    name = next((name for name in HARD if name in world.retrievers), None)
    if name is not None:
        first = unseen(world.retrievers[name], requests.instructions, seen, 2)
        own = first[:, 0] == targets
        found[f"the first of {name}"] = np.where(own, first[:, 1], first[:, 0])
    return found
