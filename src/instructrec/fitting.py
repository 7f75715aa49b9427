"""Fits the fusion of a run: weights of all evidence on validation requests, kind by kind."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import DataError, UsageError
from instructrec.evaluation.trials import CandidateList, Trial, make_trial
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.requests import MAX_HISTORY, relevant_queries
from instructrec.instructions.schema import Scenario
from instructrec.negatives import score_lists
from instructrec.protocols import SILENT, Progress, Retriever, Rows, Scorer, Scores
from instructrec.ranking.fusion import RETRIEVAL, Piece, fit_fusion, fusion_content
from instructrec.retrieval.shares import DEPTH, fit_shares, unseen

KINDS: Mapping[str, str] = {
    "P,I0": "P1/P2,I0,T3",
    "P0,I": "P0,I1/I2,T3",
    "P,I": "P1/P2,I1/I2,T3",
}
"""What is known → the scenarios whose validation requests its weights are fitted on."""
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Grounds:
    """What a fit is made on.

    Attributes:
        dataset: Items, interactions, splits.
        protocol: How targets are set apart.
        texts: Preferences and intentions.
        users: Validation requests of each single scenario, at most.
        held_out: Users that no choice may look at.
        max_history: Items a sequence has at most, target included.
        seed: Seeds negatives and the draw of requests.
    """

    dataset: Dataset
    protocol: Protocol
    texts: Annotations
    users: int = 300
    held_out: Collection[str] = ()
    max_history: int = MAX_HISTORY
    seed: int = 0


def fit_run(
    grounds: Grounds,
    pieces: Mapping[str, Scorer],
    facts: Mapping[str, Any],
    progress: Progress = SILENT,
) -> Any:
    """What fusion.json is to hold.

    Each kind of request gets weights of its own, and another set fitted anew without the language
    model, and the shares of the retrievers in the hybrid. A kind for which the dataset has no
    request takes those of the kind nearest to it.

    Args:
        grounds: See `Grounds`.
        pieces: Scorers fitted on training rows only, by name; ``lm`` is the language model.
        facts: Further entries of the file.
        progress: Told how far it is.

    Raises:
        DataError: No validation request can be made at all.
    """
    weights: dict[str, dict[str, Piece]] = {}
    without: dict[str, dict[str, Piece]] = {}
    shares: dict[str, dict[str, float]] = {}
    requests: dict[str, int] = {}
    for known, scenarios in KINDS.items():
        singles = Scenario.parse(scenarios).singles()
        trials = [trial for single in singles for trial in _trials(grounds, single)]
        if not trials:
            continue
        scores = _scores(grounds, pieces, trials, progress)
        shares[known] = _shares(pieces, trials, progress)
        requests[known] = len(next(iter(scores.values())))
        weights[known] = fit_fusion(scores)
        rest = {name: found for name, found in scores.items() if name != "lm"}
        without[known] = fit_fusion(rest) if rest else {}
    if not weights:
        raise DataError(
            f"{grounds.dataset.folder} has no validation request to fit weights on",
            "Import users with three interactions or more",
        )
    for known in KINDS:
        near = known if known in weights else "P,I" if "P,I" in weights else next(iter(weights))
        weights[known], without[known] = weights[near], without[near]
        shares[known] = shares[near]
    told = {**facts, RETRIEVAL: shares, "validation_requests": requests}
    return fusion_content(weights, without, told)


def _scores(
    grounds: Grounds, pieces: Mapping[str, Scorer], trials: Sequence[Trial], progress: Progress
) -> dict[str, Scores]:
    """Scores of each piece on the requests of all these trials, the target in column 0."""
    parts: dict[str, list[Scores]] = {name: [] for name in pieces}
    for trial in trials:
        instructions, rows = trial.requests.instructions, trial.candidates
        for name, scorer in pieces.items():
            starts = range(0, len(instructions), BLOCK)
            parts[name] += [
                score_lists(
                    scorer,
                    instructions[start : start + BLOCK],
                    rows[start : start + BLOCK],
                    grounds.seed,
                )
                for start in progress.track(starts, f"weighing {name} in {trial.scenario}")
            ]
    return {name: np.concatenate(found) for name, found in parts.items()}


def _shares(
    pieces: Mapping[str, Scorer], trials: Sequence[Trial], progress: Progress
) -> dict[str, float]:
    """What the places of each retriever's list count; popularity only fills lists up."""
    found = [one for one in pieces.values() if isinstance(one, Retriever)]
    requests = [trial.requests for trial in trials]
    lists: dict[str, Rows] = {}
    for retriever in progress.track(found, "weighing retrievers"):
        if retriever.name != "popularity":
            lists[retriever.name] = np.concatenate(
                [unseen(retriever, one.instructions, one.seen, DEPTH) for one in requests]
            )
    return fit_shares(lists, np.concatenate([one.targets for one in requests]))


def _trials(grounds: Grounds, scenario: Scenario) -> Iterator[Trial]:
    """Validation requests with uniform negatives, none where no request can be made.

    A teacher writes wishes from the catalogue's labels, so its words are nearer to the catalogue
    than a stranger's. Where people's own queries are known, those of the item split's validation
    items, which are in no training row, are weighed as well.
    """
    users = None
    if grounds.held_out:
        targets = grounds.dataset.split(grounds.protocol).targets("validation")
        users = set(targets.user_ids) - set(grounds.held_out)
    protocols = [grounds.protocol]
    (preference,), (kind,), _ = scenario.axes
    if preference == "P0" and kind in set(relevant_queries(grounds.dataset)["kind"]):
        protocols = list(dict.fromkeys([grounds.protocol, Protocol.ITEMS]))
    for protocol in protocols:
        with contextlib.suppress(UsageError):
            yield make_trial(
                grounds.dataset,
                protocol,
                scenario,
                grounds.texts,
                CandidateList(),
                split="validation",
                users=users if protocol is grounds.protocol else None,
                limit=grounds.users,
                max_history=grounds.max_history,
                seed=grounds.seed,
            )
