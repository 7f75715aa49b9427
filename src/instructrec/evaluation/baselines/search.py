"""Finds settings of a rival: a few trials on a sample of users, each with so much time."""

from __future__ import annotations

import itertools
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from instructrec.evaluation.baselines.base import Material
from instructrec.evaluation.baselines.learned import Effort, Learned
from instructrec.evaluation.baselines.settings import Budget, RivalConfig
from instructrec.folders import read_json, write_json
from instructrec.protocols import SILENT, Progress
from instructrec.retrieval._training import METRIC

TRIALS = "trials.json"


def search(
    kind: type[Learned],
    material: Material,
    config: RivalConfig,
    budget: Budget,
    state: Path,
    progress: Progress = SILENT,
) -> tuple[RivalConfig, list[dict[str, Any]]]:
    """Try settings and take those that validate best.

    The settings given are the first trial, the others are drawn from the rival's ``space``. All
    trials see the same sample of users, no test row and no user that is held out. Killed and
    called again it goes on with the trial that was not finished.

    Args:
        kind: Which rival.
        material: What may be learnt from.
        config: The settings to start from.
        budget: How many trials, on how many users, for how long.
        state: Where what was tried is kept; removed by the caller.
        progress: Told what each trial reached.

    Returns:
        The best settings, and every trial with its settings, seconds and validation NDCG.
    """
    tried: list[dict[str, Any]] = []
    if (state / TRIALS).is_file():
        tried = read_json(state / TRIALS)
    sample = sampled(material, budget.trial_users)
    wanted = drawn(config, budget.trials, material.seed)
    for number, changed in enumerate(wanted[len(tried) :], len(tried)):
        own = config.model_copy(update={**changed, "budget": budget.trial_seconds})
        start = time.perf_counter()
        folder = state / f"trial-{number}"
        found = kind.fit(sample, own, Effort(folder, progress=progress))
        reached = max((entry[METRIC] for entry in found.about["validations"]), default=0.0)
        seconds = round(time.perf_counter() - start, 1)
        tried.append({"settings": changed, METRIC: reached, "seconds": seconds})
        write_json(state / TRIALS, tried)
        shutil.rmtree(folder, ignore_errors=True)
        progress.note(f"{kind.name}, trial {number + 1} of {budget.trials}: {tried[-1]}")
    best = max(range(len(tried)), key=lambda number: (tried[number][METRIC], -number))
    return config.model_copy(update=tried[best]["settings"]), tried


def drawn(config: RivalConfig, trials: int, seed: int) -> list[dict[str, Any]]:
    """What each trial changes: nothing in the first, then distinct draws from the space."""
    names = sorted(config.space)
    every = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(config.space[name] for name in names))
    ]
    own = {name: getattr(config, name) for name in names}
    others = [one for one in every if one != own]
    order = np.random.default_rng((seed, 12)).permutation(len(others))
    return [{}, *(others[at] for at in order[: trials - 1].tolist())]


def sampled(material: Material, users: int) -> Material:
    """A material of so many users alone, all of them where there are no more."""
    targets = material.validation
    if len(targets) <= users:
        return material
    chosen = np.random.default_rng((material.seed, 11)).choice(len(targets), users, replace=False)
    return replace(material, only=frozenset(targets.user_ids[at] for at in chosen.tolist()))
