"""Has every model answer a trial, and turns the ranks into rows and paired differences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from instructrec import metrics
from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines.base import Input, applies, inputs_of
from instructrec.evaluation.report import (
    GROUPS,
    HEADLINE,
    LM,
    OURS,
    WITHOUT_LM,
    Comparison,
    Row,
)
from instructrec.evaluation.significance import difference, interval
from instructrec.evaluation.trec import settled, write_trec
from instructrec.evaluation.trials import Trial
from instructrec.metrics import METRICS, Ranks
from instructrec.negatives import score_lists
from instructrec.protocols import SILENT, Progress, Scorer, Scores

BLOCK = 256
"""Requests scored in one call: memory stays bounded and progress is seen."""
_INPUTS: tuple[Input, ...] = ("history", "words")


@dataclass(frozen=True, eq=False)
class Contestant:
    """A model that takes part.

    Attributes:
        name: In reports.
        kind: Whose it is.
        reads: What it makes use of; without any of it in a scenario it does not take part there.
        scorer: What scores.
        above: It takes part only where lists have more candidates than this.
    """

    name: str
    kind: Literal["ours", "rival"]
    reads: frozenset[Input]
    scorer: Scorer
    above: int = 0

    def takes_part(self, trial: Trial) -> bool:
        """Whether it has anything to do in a trial."""
        return trial.candidates.shape[1] > self.above and applies(self.reads, trial.scenario)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model made of a trial.

    Attributes:
        trial: What was asked.
        contestant: Who answered.
        ranks: (n,) rank of each target, counted from 1.
    """

    trial: Trial
    contestant: Contestant
    ranks: Ranks

    @property
    def slug(self) -> str:
        """A folder name for this scenario, protocol, candidates and model."""
        trial = self.trial
        parts = (str(trial.scenario), trial.protocol, trial.source.name, self.contestant.name)
        return "_".join(re.sub(r"[^\w+.-]+", "-", part) for part in parts)


def score_trial(trial: Trial, contestant: Contestant, progress: Progress = SILENT) -> Scores:
    """Scores of all candidates of a trial, (n, candidates), block by block."""
    scores = np.empty(trial.candidates.shape, dtype=np.float32)
    starts = range(0, len(trial.requests), BLOCK)
    for start in progress.track(starts, f"{contestant.name} in {trial.scenario}"):
        block = slice(start, start + BLOCK)
        instructions = trial.requests.instructions[block]
        lists = trial.candidates[block]
        scores[block] = score_lists(contestant.scorer, instructions, lists, trial.seed)
    return scores


def answer(
    trial: Trial,
    contestants: Sequence[Contestant],
    catalogue: Catalogue,
    rows: Path | None = None,
    progress: Progress = SILENT,
) -> Iterator[Outcome]:
    """Have every model that applies answer a trial.

    Args:
        trial: Requests and candidates.
        contestants: Those that have nothing to do in this trial are passed over.
        catalogue: The items.
        rows: Where each outcome gets a folder with run.trec and qrels.trec.
        progress: Told how far it is.
    """
    for contestant in contestants:
        if not contestant.takes_part(trial):
            continue
        scores = settled(score_trial(trial, contestant, progress), trial.candidates)
        outcome = Outcome(trial, contestant, metrics.ranks(scores))
        if rows is not None:
            keys, folder = trial.requests.keys, rows / outcome.slug
            write_trec(folder, keys, trial.candidates, scores, catalogue, contestant.name)
        yield outcome


def row_of(outcome: Outcome, seed: int) -> Row:
    """Means and intervals of one outcome."""
    trial, contestant = outcome.trial, outcome.contestant
    values = metrics.per_request(outcome.ranks)
    ends = interval(np.stack([values[name] for name in METRICS], axis=1), seed=seed)
    read = contestant.reads & inputs_of(trial.scenario)
    return Row(
        scenario=str(trial.scenario),
        protocol=trial.protocol.value,
        candidates=trial.description,
        model=contestant.name,
        kind=contestant.kind,
        reads=tuple(name for name in _INPUTS if name in read),
        users=len(trial.requests),
        metrics=metrics.means(values),
        interval={
            name: (float(ends[0, column]), float(ends[1, column]))
            for column, name in enumerate(METRICS)
        },
        slug=outcome.slug,
    )


def compare(outcomes: Sequence[Outcome], seed: int) -> list[Comparison]:
    """Paired differences in HR@1 of each model of ours to every rival of one trial.

    The best rival is the one with the highest HR@1 here, our own system without its language
    model and with lists cut to groups aside.
    """
    values = {
        outcome.contestant.name: metrics.measure(HEADLINE, outcome.ranks) for outcome in outcomes
    }
    rivals = [o.contestant.name for o in outcomes if o.contestant.kind == "rival"]
    outside = [name for name in rivals if name not in (WITHOUT_LM, GROUPS)]
    best = max(outside, key=lambda name: float(values[name].mean()), default=None)
    found = []
    for ours in (name for name in (OURS, LM) if name in values):
        for other in rivals:
            gap = difference(values[ours], values[other], seed=seed)
            trial = outcomes[0].trial
            found.append(
                Comparison(
                    scenario=str(trial.scenario),
                    protocol=trial.protocol.value,
                    candidates=trial.description,
                    model=ours,
                    other=other,
                    metric=HEADLINE,
                    difference=gap.mean,
                    interval=(gap.low, gap.high),
                    p_value=gap.p_value,
                    best_rival=other == best,
                )
            )
    return found


def per_user(outcome: Outcome) -> pl.DataFrame:
    """Rank and metrics of every request: what per_user.parquet holds."""
    trial = outcome.trial
    requests = trial.requests
    constant = {
        "scenario": str(trial.scenario),
        "protocol": trial.protocol.value,
        "candidates": trial.source.name,
        "model": outcome.contestant.name,
    }
    frame = pl.DataFrame(
        {
            "key": requests.keys,
            "user_id": pl.Series(requests.user_ids, dtype=pl.String),
            "item_id": requests.item_ids,
            "rank": outcome.ranks.astype(np.int32),
            **metrics.per_request(outcome.ranks),
        }
    )
    return frame.select(*(pl.lit(value).alias(name) for name, value in constant.items()), pl.all())
