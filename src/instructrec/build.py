"""A run: every stage in one folder, each skipped where what made it has not changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructrec.errors import UsageError
from instructrec.folders import MANIFEST, identity, read_json, sha256, write_json
from instructrec.protocols import SILENT, Progress

RECORD = "run.json"
"""What made each stage of the run, so that a stage is made again only where that has changed."""


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: The folder (or file) it makes in the run.
        settings: What decides its content; plain JSON values.
        make: Makes it at the path it is handed, replacing what is there.
        after: Names of the stages it reads.
        files: Input files outside the run, by role.
        seed: Its random seed.
    """

    name: str
    settings: Mapping[str, Any]
    make: Callable[[Path], None]
    after: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0


def run_stages(run: Path, stages: Sequence[Stage], progress: Progress = SILENT) -> list[str]:
    """Make the stages of a run that are not there, or not from these settings and inputs.

    A run that was stopped goes on at the stage where it stopped, and that stage, where it can,
    goes on where it stopped. A changed setting makes its stage again, and those that read it
    again where its content has changed.

    Args:
        run: The run's folder; made where it is missing.
        stages: In an order in which each comes after what it reads.
        progress: Told of each stage.

    Returns:
        Names of the stages that were made.

    Raises:
        UsageError: The folder holds something else.
    """
    record = _record(run)
    made = []
    for number, stage in enumerate(stages, 1):
        inputs = {name: run / name for name in stage.after}
        made_by = identity(stage.name, stage.settings, stage.seed, {**inputs, **stage.files})
        head = f"{number}/{len(stages)} {stage.name}"
        target = run / stage.name
        known = record.get(stage.name, {})
        if known.get("made_by") == made_by and known.get("content") == _content(target):
            progress.note(f"{head}: done before")
            continue
        progress.note(f"{head} …")
        start = time.monotonic()
        stage.make(target)
        record[stage.name] = {"made_by": made_by, "content": _content(target)}
        write_json(run / RECORD, record)
        made.append(stage.name)
        progress.note(f"{head}: {time.monotonic() - start:.0f} s")
    return made


def _record(run: Path) -> dict[str, Any]:
    if run.exists() and not run.is_dir():
        raise UsageError(f"{run} is a file, not a folder", "Name another folder")
    if (run / RECORD).is_file():
        record: dict[str, Any] = read_json(run / RECORD)
        return record
    if run.is_dir() and any(not path.name.startswith(".") for path in run.iterdir()):
        raise UsageError(f"{run} is not empty and is no run", "Name another folder")
    run.mkdir(parents=True, exist_ok=True)
    return {}


def _content(target: Path) -> str | None:
    """What stands for a stage's content: its manifest, which holds every file's hash."""
    path = target / MANIFEST if target.is_dir() else target
    return sha256(path) if path.is_file() else None
