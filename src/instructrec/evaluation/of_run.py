"""`evaluate_run` and `evaluate_model`: what the command line and a build call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import polars as pl

from instructrec.backbones.merging import MERGED
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.evaluation.baselines.base import reads_validation
from instructrec.evaluation.evaluate import World, gather, measure, validation_trial
from instructrec.evaluation.field import Field, gather_field, ours_alone, retrievers_of
from instructrec.evaluation.judging import judge_all
from instructrec.evaluation.plan import Plan, Wanted
from instructrec.evaluation.report import Report, Spread
from instructrec.evaluation.templates import known_spread, measure_spread, with_templates
from instructrec.evaluation.trials import Trial
from instructrec.folders import MANIFEST, new_folder, read_manifest, sha256
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.requests import MAX_HISTORY
from instructrec.instructions.schema import Scenario
from instructrec.protocols import SILENT, Progress

if TYPE_CHECKING:
    from instructrec.ranking.ranker import Ranker

SERVING = "retrievers-serving"
_STAGES = ("dataset", "corpus", "model")
_CHOOSING = ("sequential", "tower")
"""Retrievers whose best weights are chosen on validation requests."""
_REFITTED = (
    "Retrievers and rivals were fitted again on training and validation rows, all that comes "
    "before a test item, after every choice had been made without them; the language model was "
    "tuned on training rows alone. Test rows served for nothing but this report."
)
_SAME_ROWS = (
    "All models were fitted on the same training rows; validation rows served for choices "
    "(weights, scoring rules, templates, early stopping), test rows for nothing but this report."
)


def evaluate_run(
    run: Path,
    scenarios: Sequence[Scenario],
    out: Path,
    *,
    protocol: Protocol | str | None = None,
    device: str = "auto",
    memory: float | None = None,
    replace: bool = False,
    command: str = "instructrec evaluate",
    progress: Progress = SILENT,
    **wanted: Unpack[Wanted],
) -> Report:
    """Measure a run beside its rivals on the same requests.

    Rows: random, popularity, shared words, BM25, item-kNN, MiniLM, the sequential model (a
    text-aware SASRec), the untuned backbone and `fused-without-lm`; ours are `instructrec-lm` (the
    likelihood alone) and `instructrec` (all evidence). A rival that cannot be made is left out
    with a note.

    Args:
        run: A folder with dataset/, corpus/, model/, retrievers/ and fusion.json.
        scenarios: What is to be measured; alternatives are measured one by one. T3 ranks the
            candidates, T2 the whole catalogue; T0 judges items, T1 compares two.
        out: The report folder to make.
        protocol: Must be the one the run was made under; taken from it when left out.
        device: Where models compute (see `instructrec.backbones.load`).
        memory: About how many MiB a model may take beside its weights.
        replace: Whether a report that is there gives way.
        command: For the manifest.
        progress: Told how far it is.
        **wanted: Whose requests, how many, which candidates: see
            `instructrec.evaluation.plan.Plan`.

    Raises:
        UsageError: Another protocol, a scenario that cannot be measured, or a folder that is no
            run or holds what is fitted on test rows.
        FolderError: A stage is missing or incomplete.
    """
    plan = Plan.of(scenarios, wanted)
    world = _world_of(run, plan, protocol)
    learnt = _REFITTED if reads_validation(run / "retrievers") else _SAME_ROWS
    chose = [read_manifest(run / "model"), *_chose(run / "retrievers")]
    inputs = {name: run / name for name in _STAGES}
    optional = {"retrievers": run / "retrievers" / MANIFEST, "fusion": run / "fusion.json"}
    inputs |= {name: path for name, path in optional.items() if path.is_file()}
    what = _Subject(
        world=world,
        plan=plan,
        model=run / "model",
        place=(device, memory),
        inputs=inputs,
        settings={},
        notes=[*_looked_at(chose, plan), learnt],
        field=lambda ranker: gather_field(run, world, ranker, plan.seed, (device, memory)),
    )
    return _evaluate(what, out, command, replace, progress)


def evaluate_model(
    model: Path | str,
    dataset: Path,
    scenarios: Sequence[Scenario],
    out: Path,
    *,
    protocol: Protocol | str | None = None,
    annotations: pl.DataFrame | None = None,
    device: str = "auto",
    memory: float | None = None,
    replace: bool = False,
    command: str = "instructrec evaluate",
    progress: Progress = SILENT,
    **wanted: Unpack[Wanted],
) -> Report:
    """Measure a model alone: the row `instructrec-lm` of each scenario.

    Args:
        model: A model folder; or any checkpoint `instructrec.backbones.load` takes, which was not
            tuned here and may be asked under any protocol.
        dataset: A dataset folder; another than the model was tuned on measures transfer.
        scenarios: What is to be measured; alternatives are measured one by one.
        out: The report folder to make.
        protocol: Must be the one the model was made under; taken from it when left out.
        annotations: Preferences and intentions; written by the rules teacher where a scenario
            needs them and there are none here.
        device: Where models compute (see `instructrec.backbones.load`).
        memory: About how many MiB a model may take beside its weights.
        replace: Whether a report that is there gives way.
        command: For the manifest.
        progress: Told how far it is.
        **wanted: See `evaluate_run`.

    Raises:
        UsageError: See `evaluate_run`.
        FolderError: A folder is missing, incomplete or of another kind.
    """
    plan = Plan.of(scenarios, wanted)
    refuse_serving(Path(model))
    known = _tuned_here(Path(model))
    chosen, note = _model_protocol(model, known, protocol)
    data = Dataset(dataset)
    texts = annotations if annotations is not None else _texts(data, chosen, plan, progress)
    what = _Subject(
        world=World(data, chosen, Annotations.of(texts), plan.max_history or MAX_HISTORY),
        plan=plan,
        model=model,
        place=(device, memory),
        inputs={**_identified(model), "dataset": dataset},
        settings={"model": str(model)},
        notes=[*note, *_looked_at([known] if known else [], plan)],
        field=lambda ranker: (ours_alone(ranker, plan.seed), []),
    )
    return _evaluate(what, out, command, replace, progress)


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is measured, whichever way it was named.

    Attributes:
        world: What requests are made of.
        plan: Which of them.
        model: The language model's folder, or the name of a checkpoint.
        place: Device, and memory in MiB.
        inputs: For the manifest, with the plan's own.
        settings: For the manifest, beside the plan's.
        notes: What a reader must know.
        field: Who takes part, and a line about each who cannot.
    """

    world: World
    plan: Plan
    model: Path | str
    place: tuple[str, float | None]
    inputs: Mapping[str, Path]
    settings: Mapping[str, Any]
    notes: Sequence[str]
    field: Callable[[Ranker], tuple[Field, list[str]]]


def _evaluate(what: _Subject, out: Path, command: str, replace: bool, progress: Progress) -> Report:
    """Ask, measure and write."""
    plan, world = what.plan, what.world
    trials, notes = gather(world, plan, progress)
    with new_folder(
        out,
        "report",
        command=command,
        settings={**plan.settings(), **what.settings},
        seed=plan.seed,
        inputs={**what.inputs, **dict(plan.inputs())},
        replace=replace,
    ) as draft:
        ranker, spreads = _load_ranker(what.model, world, plan, trials, what.place, progress)
        field, missing = what.field(ranker)
        answered, unasked = judge_all(world, plan, field.contestants, progress)
        for memory in field.shared.memories:
            memory.forget()
        return measure(
            draft,
            world,
            trials,
            field.contestants,
            seed=plan.seed,
            spreads=spreads,
            order_requests=plan.order_requests,
            probe_requests=plan.probe_requests,
            answered=answered,
            shared=field.shared,
            model=Path(what.model),
            notes=[*notes, *unasked, *missing, *what.notes],
            progress=progress,
        )


def _world_of(run: Path, plan: Plan, protocol: Protocol | str | None) -> World:
    """What the requests of a run are made of, once it is certain that they were kept apart."""
    refuse_serving(run)
    _check_is_run(run)
    manifests = {name: read_manifest(run / name) for name in _STAGES}
    chosen = same_protocol(manifests["model"], run / "model", protocol)
    same_protocol(manifests["corpus"], run / "corpus", chosen)
    _check_retrievers(run / "retrievers", chosen)
    for name in ("corpus", "model", "retrievers"):
        _check_dataset(run / name, run / "dataset")
    longest = manifests["corpus"].get("settings", {}).get("max_history", MAX_HISTORY)
    dataset = Dataset(run / "dataset")
    asked = plan.named_retrievers() or plan.judged()
    return World(
        dataset,
        chosen,
        Corpus(run / "corpus").texts,
        plan.max_history or longest,
        retrievers_of(run, dataset.catalogue) if asked else {},
    )


def refuse_serving(folder: Path) -> None:
    """Refuse what is fitted on all rows, test rows among them.

    Raises:
        UsageError: It is a retrievers-serving folder or lies in one.
    """
    if SERVING in folder.resolve().parts:
        raise UsageError(
            f"{folder} was fitted on all rows, test rows among them, so it is never evaluated",
            "Name the run itself: its retrievers/ saw training rows alone",
        )


def same_protocol(
    manifest: Mapping[str, Any], folder: Path, wanted: Protocol | str | None
) -> Protocol:
    """The protocol a folder was made under, which must be the wanted one.

    Raises:
        UsageError: It is another, or the folder does not say.
    """
    made = manifest.get("protocol")
    if made is None:
        raise UsageError(f"{folder} does not say which protocol it was made under", "Make it again")
    if wanted is not None and Protocol.parse(wanted) != Protocol.parse(made):
        raise UsageError(
            f"{folder} was made under {made}, so {wanted} would test what it was trained on",
            f"Evaluate with --protocol {made}, or make it anew with --protocol {wanted}",
        )
    return Protocol.parse(made)


def _check_is_run(run: Path) -> None:
    if run.is_dir() and (run / MANIFEST).is_file():
        kind = read_manifest(run).get("kind")
        raise UsageError(
            f"{run} is a {kind}, not a run", "Name a run, or a model and a dataset after it"
        )
    for name in _STAGES:
        if not (run / name).is_dir():
            raise UsageError(
                f"{run} is no run: it has no {name}/", "Make one by instructrec build or demo"
            )


def _chose(retrievers: Path) -> list[dict[str, Any]]:
    """The manifest of a folder of retrievers where one of them chose its best weights."""
    if not (retrievers / MANIFEST).is_file():
        return []
    return [read_manifest(retrievers)] if any((retrievers / x).is_dir() for x in _CHOOSING) else []


def _looked_at(manifests: Sequence[Mapping[str, Any]], plan: Plan) -> list[str]:
    """A line where choices looked at validation requests of users named for the test."""
    if not plan.tested_users():
        return []
    if all(one.get("settings", {}).get("held_out", {}).get("users") for one in manifests):
        return []
    return [
        "Early stopping, templates and weights were chosen on validation requests of all users, "
        "those named for this test among them (never on their test rows); --held-out-users of "
        "build, tune and retrievers fit keeps them out."
    ]


def _tuned_here(model: Path) -> dict[str, Any] | None:
    """The manifest of a model that was tuned here, none of any other checkpoint."""
    if not (model / MANIFEST).is_file() or read_manifest(model)["kind"] == MERGED:
        return None
    return read_manifest(model, "model")


def _model_protocol(
    model: Path | str, manifest: Mapping[str, Any] | None, wanted: Protocol | str | None
) -> tuple[Protocol, list[str]]:
    """The protocol to ask a model under, and what a reader must know of the model."""
    if manifest is not None:
        return same_protocol(manifest, Path(model), wanted), []
    note = f"{model} was not tuned here: what it has seen before is not known."
    return Protocol.parse(wanted or Protocol.LEAVE_ONE_OUT), [note]


def _identified(model: Path | str) -> dict[str, Path]:
    """The file that identifies a model: its manifest, else its weights' configuration."""
    for path in (Path(model) / MANIFEST, Path(model) / "config.json"):
        if path.is_file():
            return {"model": path}
    return {}


def _check_retrievers(folder: Path, protocol: Protocol) -> None:
    if not folder.is_dir():
        return
    manifest = read_manifest(folder, "retrievers")
    if manifest.get("serving"):
        raise UsageError(
            f"{folder} was fitted on all rows, test rows among them, so it is never evaluated",
            "Fit it again on training rows by instructrec build",
        )
    same_protocol(manifest, folder, protocol)


def _check_dataset(folder: Path, dataset: Path) -> None:
    """Refuse what was made from another dataset, whose splits may be others as well."""
    if not folder.is_dir():
        return
    made_from = read_manifest(folder).get("inputs", {}).get("dataset")
    if made_from is not None and made_from != sha256(dataset / MANIFEST):
        raise UsageError(
            f"{folder} was not made from {dataset}, so that it may have seen test rows of it",
            "Make it anew from this dataset",
        )


def _texts(data: Dataset, protocol: Protocol, plan: Plan, progress: Progress) -> pl.DataFrame:
    """What the rules teacher writes, where a scenario needs it."""
    if all(single.axes[:2] == (("P1",), ("I0",)) for single in plan.singles()):
        return pl.DataFrame(schema=ANNOTATION_SCHEMA)
    from instructrec.instructions.annotate import annotate
    from instructrec.instructions.teachers.rules import RulesTeacher

    return annotate(data, protocol, RulesTeacher(), progress=progress).frame


def _load_ranker(
    folder: Path | str,
    world: World,
    plan: Plan,
    trials: Sequence[Trial],
    place: tuple[str, float | None],
    progress: Progress,
) -> tuple[Ranker, list[Spread]]:
    """The ranker with a template for every scenario, and what each template reached."""
    from instructrec.ranking.ranker import Ranker

    device, memory = place
    ranker = Ranker.load(folder, world.dataset.catalogue, device=device, memory=memory)
    spreads = []
    for scenario in dict.fromkeys(trial.scenario for trial in trials):
        known = known_spread(folder, ranker, scenario)
        if known is not None:
            spreads.append(known)
            continue
        if not plan.spread_users:
            continue
        validation = validation_trial(world, plan, scenario)
        if validation is not None:
            spreads.append(measure_spread(ranker, validation, progress))
    return with_templates(ranker, {spread.scenario: spread.used for spread in spreads}), spreads
