"""Fits the fusion of a run: weights of all evidence on validation requests, kind by kind."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
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
from instructrec.protocols import SILENT, Progress, Scorer, Scores
from instructrec.ranking.fusion import Piece, fit_fusion, fusion_content

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
    model. A kind for which the dataset has no request takes those of the kind nearest to it.

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
    requests: dict[str, int] = {}
    for known, scenarios in KINDS.items():
        scores = _scores(grounds, pieces, Scenario.parse(scenarios), progress)
        if not scores:
            continue
        requests[known] = len(next(iter(scores.values())))
        weights[known] = fit_fusion(scores)
        rest = {name: found for name, found in scores.items() if name != "lm"}
        without[known] = fit_fusion(rest) if rest else {}
    if not weights:
        raise DataError(
            f"{grounds.dataset.folder} has no validation request to fit weights on",
            "Import users with three interactions or more",
        )
    for found in (weights, without):
        for known in KINDS:
            found.setdefault(known, found.get("P,I") or next(iter(found.values())))
    return fusion_content(weights, without, {**facts, "validation_requests": requests})


def _scores(
    grounds: Grounds, pieces: Mapping[str, Scorer], scenarios: Scenario, progress: Progress
) -> dict[str, Scores]:
    """Scores of each piece on the requests of all these scenarios, the target in column 0."""
    parts: dict[str, list[Scores]] = {name: [] for name in pieces}
    for scenario in scenarios.singles():
        for trial in _trials(grounds, scenario):
            instructions, rows = trial.requests.instructions, trial.candidates
            for name, scorer in pieces.items():
                starts = range(0, len(instructions), BLOCK)
                parts[name] += [
                    scorer.score(instructions[start : start + BLOCK], rows[start : start + BLOCK])
                    for start in progress.track(starts, f"weighing {name} in {scenario}")
                ]
    return {name: np.concatenate(found) for name, found in parts.items() if found}


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
