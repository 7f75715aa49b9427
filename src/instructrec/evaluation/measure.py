"""Has every model answer a trial, and turns the ranks into rows and paired differences."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec import metrics
from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines.base import Input, applies, inputs_of
from instructrec.evaluation.memory import Clock
from instructrec.evaluation.report import (
    ASIDE,
    LM,
    OURS,
    RETRIEVAL,
    Comparison,
    Kind,
    Row,
)
from instructrec.evaluation.significance import difference, holm, interval
from instructrec.evaluation.trec import settled, write_trec
from instructrec.evaluation.trials import Trial
from instructrec.instructions.schema import Instruction
from instructrec.metrics import Ranks
from instructrec.negatives import score_lists
from instructrec.protocols import SILENT, Progress, Rows, Scorer, Scores

BLOCK = 256
"""Requests scored in one call: memory stays bounded and progress is seen."""
_CELLS = 400_000
"""Candidates scored in one call."""
PER_USER = pl.Schema(
    {
        "scenario": pl.String(),
        "protocol": pl.String(),
        "candidates": pl.String(),
        "model": pl.String(),
        "slug": pl.String(),
        "key": pl.String(),
        "user_id": pl.String(),
        "item_id": pl.String(),
        "history_length": pl.Int32(),
        "activity": pl.Int32(),
        "target_popularity": pl.Int32(),
        "rank": pl.Int32(),
    }
)
"""Columns of per_user.parquet; then one of each metric, empty where a table has it not."""
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
    kind: Kind
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
        ranks: (n,) rank of each target, counted from 1; `metrics.NOWHERE` where it is not among
            the candidates.
        spent: Seconds, and seconds of processor cores, that answering took, with those of scores
            that were remembered.
    """

    trial: Trial
    contestant: Contestant
    ranks: Ranks
    spent: tuple[float, float] = (0.0, 0.0)

    @property
    def slug(self) -> str:
        """A folder name for this scenario, protocol, candidates and model."""
        trial = self.trial
        parts = (str(trial.scenario), trial.protocol, trial.source.name, self.contestant.name)
        return "_".join(re.sub(r"[^\w+.-]+", "-", part) for part in parts)


class _AsFound:
    """The order of retrieval, which a trial knows, so that nothing is asked."""

    name = RETRIEVAL

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        raise NotImplementedError


def score_trial(trial: Trial, contestant: Contestant, progress: Progress = SILENT) -> Scores:
    """Scores of all candidates of a trial, (n, candidates), block by block."""
    if isinstance(contestant.scorer, _AsFound):
        assert trial.given is not None
        return trial.given
    scores = np.empty(trial.candidates.shape, dtype=np.float32)
    size = max(1, min(BLOCK, _CELLS // trial.candidates.shape[1]))
    starts = range(0, len(trial.requests), size)
    for start in progress.track(starts, f"{contestant.name} in {trial.scenario}"):
        block = slice(start, start + size)
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
    clock: Clock | None = None,
) -> Iterator[Outcome]:
    """Have every model that applies answer a trial.

    Args:
        trial: Requests and candidates.
        contestants: Those that have nothing to do in this trial are passed over.
        catalogue: The items.
        rows: Where each outcome gets a folder with run.trec and qrels.trec.
        progress: Told how far it is.
        clock: What remembered scores have cost, which is part of what an answer costs.
    """
    own = []
    if trial.given is not None:
        own = [Contestant(RETRIEVAL, "rival", inputs_of(trial.scenario), _AsFound())]
    for contestant in (*own, *contestants):
        if not contestant.takes_part(trial):
            continue
        start = time.perf_counter(), time.process_time()
        before = (clock.seconds, clock.core_seconds) if clock else (0.0, 0.0)
        scores = settled(score_trial(trial, contestant, progress), trial.candidates)
        spent = [time.perf_counter() - start[0], time.process_time() - start[1]]
        if clock is not None:
            lent = (clock.seconds - before[0], clock.core_seconds - before[1])
            spent = [spent[0] + lent[0], spent[1] + lent[1]]
        ranks = np.where(trial.found, metrics.ranks(scores), metrics.NOWHERE)
        outcome = Outcome(trial, contestant, ranks, (spent[0], spent[1]))
        if rows is not None:
            targets = catalogue.rows(trial.requests.item_ids)
            write_trec(
                rows / outcome.slug,
                trial.requests.keys,
                trial.candidates,
                scores,
                catalogue,
                contestant.name,
                targets=targets,
            )
        yield outcome


def row_of(outcome: Outcome, seed: int) -> Row:
    """Means and intervals of one outcome."""
    trial, contestant = outcome.trial, outcome.contestant
    values = metrics.per_request(outcome.ranks, trial.metrics)
    ends = intervals(values, seed)
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
        interval=ends,
        slug=outcome.slug,
        ranking=trial.source.ranking,
        headline=trial.headline,
        width=trial.candidates.shape[1],
    )


def intervals(values: Mapping[str, metrics.Values], seed: int) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of the means of metrics, by name."""
    names = list(values)
    ends = interval(np.stack([values[name] for name in names], axis=1), seed=seed)
    return {name: (float(ends[0, at]), float(ends[1, at])) for at, name in enumerate(names)}


def compare(outcomes: Sequence[Outcome], seed: int) -> list[Comparison]:
    """Paired differences in the headline of each model of ours to every rival of one trial.

    The best rival is the one with the highest figure here, our own system without its language
    model, lists cut to groups and what was fitted on such lists aside.
    """
    trial = outcomes[0].trial
    values = {
        outcome.contestant.name: metrics.measure(trial.headline, outcome.ranks)
        for outcome in outcomes
    }
    rivals = [o.contestant.name for o in outcomes if o.contestant.kind != "ours"]
    table = (str(trial.scenario), trial.protocol.value, trial.description)
    return compare_values(values, rivals, table, trial.headline, seed)


def compare_values(
    values: Mapping[str, metrics.Values],
    rivals: Sequence[str],
    table: tuple[str, str, str],
    headline: str,
    seed: int,
) -> list[Comparison]:
    """Paired differences of one table.

    Args:
        values: Model → (n,) the headline of each request.
        rivals: Which of them are not ours.
        table: Scenario, protocol, candidates.
        headline: The metric.
        seed: Of samples.
    """
    outside = [name for name in rivals if name not in ASIDE]
    best = max(outside, key=lambda name: float(values[name].mean()), default=None)
    found = []
    for ours in (name for name in (OURS, LM) if name in values):
        for other in rivals:
            gap = difference(values[ours], values[other], seed=seed)
            found.append(
                Comparison(
                    scenario=table[0],
                    protocol=table[1],
                    candidates=table[2],
                    model=ours,
                    other=other,
                    metric=headline,
                    difference=gap.mean,
                    interval=(gap.low, gap.high),
                    p_value=gap.p_value,
                    best_rival=other == best,
                )
            )
    return found


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of a whole report with their p-values after Holm."""
    p_values = holm([one.p_value for one in comparisons])
    return [
        one.model_copy(update={"p_holm": p_value})
        for one, p_value in zip(comparisons, p_values, strict=True)
    ]


def per_user(outcome: Outcome, popularity: NDArray[np.int64]) -> pl.DataFrame:
    """Rank and metrics of every request: what per_user.parquet holds.

    Args:
        outcome: What a model made of a trial.
        popularity: (items,) interactions of each item in training.
    """
    trial = outcome.trial
    requests = trial.requests
    constant = {
        "scenario": str(trial.scenario),
        "protocol": trial.protocol.value,
        "candidates": trial.source.name,
        "model": outcome.contestant.name,
        "slug": outcome.slug,
    }
    told = [len(one.preference.history) for one in requests.instructions]
    frame = pl.DataFrame(
        {
            "key": requests.keys,
            "user_id": pl.Series(requests.user_ids, dtype=pl.String),
            "item_id": requests.item_ids,
            "history_length": np.array(told, dtype=np.int32),
            "activity": np.array([len(rows) for rows in requests.seen], dtype=np.int32),
            "target_popularity": popularity[requests.targets].astype(np.int32),
            "rank": outcome.ranks.astype(np.int32),
            **metrics.per_request(outcome.ranks, trial.metrics),
        }
    )
    return frame.select(*(pl.lit(value).alias(name) for name, value in constant.items()), pl.all())
