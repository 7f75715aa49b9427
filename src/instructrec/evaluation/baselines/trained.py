"""Folders of rivals that learn: searched, trained and written once, then read by every report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from instructrec.errors import FolderError, UsageError
from instructrec.evaluation.baselines.base import Material, UnavailableError, reads_validation
from instructrec.evaluation.baselines.bert4rec import BERT4Rec
from instructrec.evaluation.baselines.dssm import DSSM
from instructrec.evaluation.baselines.gru4rec import GRU4Rec
from instructrec.evaluation.baselines.learned import ABOUT, Effort, Learned
from instructrec.evaluation.baselines.sasrec import SASRec
from instructrec.evaluation.baselines.search import search
from instructrec.evaluation.baselines.settings import Budget, RivalConfig
from instructrec.evaluation.baselines.tem import TEM
from instructrec.evaluation.baselines.two_tower import TwoTower
from instructrec.folders import (
    MANIFEST,
    identity,
    new_folder,
    read_json,
    read_manifest,
    write_json,
)
from instructrec.hashing import stable_hash
from instructrec.protocols import SILENT, Progress

KIND = "rival"
TRAINED: Mapping[str, type[Learned]] = {
    kind.name: kind for kind in (SASRec, GRU4Rec, BERT4Rec, TwoTower, DSSM, TEM)
}
"""Every rival that learns, by name."""
_STATE = "state"


def make_rival(
    name: str,
    material: Material,
    target: Path,
    *,
    config: RivalConfig | None = None,
    budget: Budget | None = None,
    reuse: Path | None = None,
    inputs: Mapping[str, Path] | None = None,
    command: str = "benchmarks/rivals.py",
    progress: Progress = SILENT,
) -> Learned:
    """Search, train and write a rival; what is there and was made of the same is read.

    Killed and called again it goes on where it was.

    Args:
        name: One of `TRAINED`.
        material: What may be learnt from.
        target: The folder to make.
        config: Where the search starts; the defaults when left out.
        budget: What search and training may cost.
        reuse: The same rival fitted on training rows: ``material`` is then to be refitted
            (`Material.refit`), and settings and length of the training are taken over.
        inputs: Further folders that the texts came from, by role, for the manifest.
        command: For the manifest.
        progress: Told how far it is.

    Raises:
        UsageError: There is no such rival, or one is to be refitted that was never fitted.
        UnavailableError: There is nothing here that it could learn from.
        FolderError: ``target`` holds something else.
    """
    kind, budget = _checked(name, material, reuse), budget or Budget()
    config = config or kind.config_type(seed=material.seed)
    settings = _settings(name, material, config, budget)
    known = {"dataset": material.dataset.folder, "rival": reuse, **(inputs or {})}
    sources = {role: path for role, path in known.items() if path is not None}
    if _is_made(target, identity(KIND, settings, material.seed, sources)):
        progress.note(f"{name}: {target} is there already")
        return load_rival(target, material)
    with new_folder(
        target,
        KIND,
        command=command,
        settings=settings,
        seed=material.seed,
        inputs=sources,
        resume=True,
    ) as draft:
        start, state = time.perf_counter(), draft.path / _STATE
        found = _made(kind, material, config, budget, state, reuse, progress)
        found.save(draft.path)
        _log(draft.path, state, time.perf_counter() - start)
        draft.facts |= {"protocol": material.protocol.value, "rival": name}
    return found


def _checked(name: str, material: Material, reuse: Path | None) -> type[Learned]:
    """The kind of a rival, if it can be made of this."""
    if name not in TRAINED:
        raise UsageError(f"there is no rival {name!r}", f"Use one of {', '.join(TRAINED)}")
    if (reuse is not None) != _is_late(material):
        raise UsageError(
            f"{name} is to be fitted on validation rows without a choice made before",
            "Fit it on training rows first, and hand that over",
        )
    return TRAINED[name]


def _is_late(material: Material) -> bool:
    """Whether validation rows are learnt from."""
    return material.refit or reads_validation(material.retrievers)


def _settings(name: str, material: Material, config: RivalConfig, budget: Budget) -> dict[str, Any]:
    """All that decides a rival, beside its inputs and the seed."""
    held = sorted(material.held_out)
    return {
        "rival": name,
        "protocol": material.protocol.value,
        "refit": _is_late(material),
        "config": config.model_dump(),
        "budget": budget.model_dump(),
        "held_out": {"users": len(held), "hash": stable_hash(*held)},
    }


def _made(
    kind: type[Learned],
    material: Material,
    config: RivalConfig,
    budget: Budget,
    state: Path,
    reuse: Path | None,
    progress: Progress,
) -> Learned:
    """Search and train, or train as another fit was found to be best."""
    share, tried = 1.0, []
    if reuse is not None:
        before = kind.load(reuse, material.catalogue)
        config = before.config.model_copy(
            update={"budget": None, "epochs": None, "steps": before.about["plan"]["steps"]}
        )
        share, tried = before.best_share, before.about["trials"]
    else:
        if budget.trials > 1:
            config, tried = search(kind, material, config, budget, state, progress)
        config = config.model_copy(update={"budget": budget.training_seconds})
    found = kind.fit(material, config, Effort(state / "final", share, progress=progress))
    found.about["trials"] = [{k: v for k, v in one.items() if k != "seconds"} for one in tried]
    return found


def _log(folder: Path, state: Path, seconds: float) -> None:
    """Keep how long it took since it was last started, and throw the unfinished state away."""
    from instructrec.evaluation.baselines.search import TRIALS
    from instructrec.training import Store

    trials = read_json(state / TRIALS) if (state / TRIALS).is_file() else []
    write_json(folder / "log" / "seconds.json", {"seconds": round(seconds, 1), "trials": trials})
    Store(state).clear()


def _is_made(target: Path, made_by: Mapping[str, object]) -> bool:
    if not (target / MANIFEST).is_file():
        return False
    manifest = read_manifest(target)
    return all(manifest.get(name) == value for name, value in made_by.items())


def load_rival(folder: Path, material: Material) -> Learned:
    """Read a rival that `make_rival` wrote.

    Raises:
        FolderError: It is damaged, or was fitted for another protocol or on other rows than
            ``material`` has for training.
    """
    manifest = read_manifest(folder, KIND)
    settings = manifest["settings"]
    where = (material.protocol.value, _is_late(material))
    if (settings["protocol"], settings["refit"]) != where:
        raise FolderError(
            f"{folder} was fitted on other rows than this report's training rows",
            "Train the rivals again for this protocol",
        )
    return TRAINED[settings["rival"]].load(folder, material.catalogue)


def load_rivals(material: Material) -> tuple[list[Learned], list[str]]:
    """Every rival in the material's folder of rivals, in order of `TRAINED`.

    Returns:
        The rivals, and a line about each that cannot be read or is not there.
    """
    folder = material.rivals
    if folder is None:
        return [], []
    found, notes = [], []
    for name in TRAINED:
        if not (folder / name / ABOUT).is_file():
            notes.append(f"The row {name} is left out: {folder / name} is not there.")
            continue
        try:
            found.append(load_rival(folder / name, material))
        except FolderError as error:
            notes.append(f"The row {name} is left out: {error}")
    return found, notes


def make_rivals(
    material: Material,
    folder: Path,
    names: Sequence[str] = tuple(TRAINED),
    *,
    budget: Budget | None = None,
    reuse: Path | None = None,
    inputs: Mapping[str, Path] | None = None,
    command: str = "benchmarks/rivals.py",
    progress: Progress = SILENT,
) -> list[str]:
    """Make rivals below a folder, one after another (see `make_rival`).

    Returns:
        A line about each that cannot be made here.
    """
    notes = []
    for name in names:
        try:
            make_rival(
                name,
                replace(material, refit=reuse is not None),
                folder / name,
                budget=budget,
                reuse=None if reuse is None else reuse / name,
                inputs=inputs,
                command=command,
                progress=progress,
            )
        except UnavailableError as reason:
            notes.append(str(reason))
    return notes
