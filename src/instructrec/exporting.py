"""A model folder made into one of ONNX graphs, and the proof that it ranks as before."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy.stats import rankdata

from instructrec import metrics
from instructrec.backbones import load
from instructrec.backbones.merging import MERGED
from instructrec.backbones.onnx import FORMATS, GRAPHS, export_onnx
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.evaluation.trials import CandidateList, Trial, make_trial
from instructrec.folders import MANIFEST, carried, new_folder, read_manifest
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.schema import Scenario
from instructrec.protocols import SILENT, Progress, Scores
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import SCORING, TRIED

LEAST_SPEARMAN = 0.99
"""An export that ranks less alike than that, on average over requests, fails its check."""
REQUESTS = 300
LISTED = 100
"""Candidates a request of the check has; HR@1 is taken among the first ten."""

_BATCH = 32


@dataclass(frozen=True)
class Sizes:
    """Bytes of weights (and graphs) before and after an export."""

    before: int
    after: int


@dataclass(frozen=True)
class ExportCheck:
    """How a model and its export rank the same requests.

    Attributes:
        requests: Validation requests that both were asked.
        candidates: Candidates of each.
        spearman: Rank correlation of the two within a request's list, mean over requests.
        lowest: The lowest of them.
        hit_rate: HR@1 among ten candidates, of the model and of its export.
        milliseconds: A request takes, of the model and of its export, all candidates scored.
    """

    requests: int
    candidates: int
    spearman: float
    lowest: float
    hit_rate: tuple[float, float]
    milliseconds: tuple[float, float]

    @property
    def passed(self) -> bool:
        """Whether the export may stand for the model."""
        return self.spearman >= LEAST_SPEARMAN


def export_model(
    model: Path | str,
    out: Path,
    *,
    to: str = "onnx-int8",
    replace: bool = False,
    progress: Progress = SILENT,
) -> Sizes:
    """Make a folder of ONNX graphs from a model; `Ranker.load` reads it like any other model.

    How the model is asked (scoring.json) and what its manifest says of its making go along.

    Args:
        model: A model folder, or whatever else `backbones.load` takes.
        out: The folder to make.
        to: ``onnx`` (float32) or ``onnx-int8``.
        replace: Whether a folder of ours that is there gives way.
        progress: Told how far it is.

    Raises:
        UsageError: The format is unknown, the extra is missing, or the model cannot be exported.
        ModelError: The model cannot be loaded.
    """
    if to not in FORMATS:
        raise UsageError(f"there is no format {to!r}", f"Use one of {', '.join(FORMATS)}")
    source = Path(model)
    if not any((source / name).is_file() for name in _NAMING[1:]) and (source / "model").is_dir():
        raise UsageError(f"{source} is a run, not a model", f"Name {source / 'model'}")
    known = read_manifest(source) if (source / MANIFEST).is_file() else {}
    backbone = load(model)
    origin = next((source / name for name in _NAMING if (source / name).is_file()), None)
    with new_folder(
        out,
        str(known.get("kind", MERGED)),
        command="instructrec export",
        settings={**known.get("settings", {}), "export": to},
        seed=int(known.get("seed", 0)),
        inputs={} if origin is None else {"model": origin},
        replace=replace,
    ) as draft:
        export_onnx(backbone, draft.path, int8=to == "onnx-int8", progress=progress)
        for name in (SCORING, TRIED):
            if (source / name).is_file():
                shutil.copyfile(source / name, draft.path / name)
        draft.rows |= known.get("rows", {})
        draft.facts |= carried(known) | {"format": to}
        return Sizes(_bytes(source, "*.safetensors"), _bytes(draft.path, "*.onnx*"))


_NAMING = (MANIFEST, "config.json", "adapter_config.json")


def _bytes(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))


def check_export(
    model: Path | str,
    exported: Path,
    dataset: Path,
    *,
    requests: int = REQUESTS,
    progress: Progress = SILENT,
) -> ExportCheck:
    """Ask a model and its export the same validation requests.

    Args:
        model: What was exported.
        exported: The folder that was made of it.
        dataset: Users and items to ask about.
        requests: So many requests, drawn at random.
        progress: Told how far it is.

    Raises:
        UsageError: The folder holds no export, or the dataset no validation request.
    """
    if not (exported / GRAPHS).is_file():
        raise UsageError(f"{exported} is no exported model", "Make it by instructrec export")
    data = Dataset(dataset)
    trial = make_trial(
        data,
        _protocol(exported),
        Scenario.parse("P1,I0,T3"),
        Annotations.of(ANNOTATION_SCHEMA.to_frame()),
        CandidateList(first=LISTED - 1),
        split="validation",
        limit=requests,
    )
    scores, times = [], []
    for name in (model, exported):
        ranker = Ranker.load(name, data.catalogue)
        found, seconds = _scores(ranker, trial, progress, f"scoring by {name}")
        scores.append(found)
        times.append(1000 * seconds / len(found))
    before, after = scores
    alike = np.array([_spearman(*pair) for pair in zip(before, after, strict=True)])
    hits = [float(metrics.hit_rate(metrics.ranks(one[:, :10]), 1).mean()) for one in scores]
    return ExportCheck(
        requests=len(before),
        candidates=LISTED,
        spearman=float(alike.mean()),
        lowest=float(alike.min()),
        hit_rate=(hits[0], hits[1]),
        milliseconds=(times[0], times[1]),
    )


def _protocol(folder: Path) -> Protocol:
    known = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    return Protocol.parse(known.get("protocol", Protocol.LEAVE_ONE_OUT))


def _scores(ranker: Ranker, trial: Trial, progress: Progress, title: str) -> tuple[Scores, float]:
    """All scores, and the seconds they took once the model was warm."""
    asked, candidates = trial.requests.instructions, trial.candidates
    ranker.score(asked[:1], candidates[:1])
    start = perf_counter()
    parts = [
        ranker.score(asked[at : at + _BATCH], candidates[at : at + _BATCH])
        for at in progress.track(range(0, len(candidates), _BATCH), title)
    ]
    return np.concatenate(parts), perf_counter() - start


def _spearman(first: Scores, second: Scores) -> float:
    """Rank correlation of two lists of scores, ties at their mean rank."""
    known = np.isfinite(first)
    ranks = np.stack([rankdata(scores[known]) for scores in (first, second)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return float((ranks[0] == ranks[1]).all())
    return float(np.corrcoef(ranks)[0, 1])
