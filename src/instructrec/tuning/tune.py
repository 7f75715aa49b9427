"""Tuning from end to end: a Corpus in, a model folder out (paper §3.4; docs/paper.md §4)."""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from instructrec.backbones import SHAPES, Backbone
from instructrec.data.dataset import Dataset
from instructrec.errors import UsageError
from instructrec.folders import LOG, MANIFEST, Draft, new_folder, sha256, write_json
from instructrec.hashing import stable_hash
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.requests import MAX_HISTORY
from instructrec.protocols import SILENT, Progress
from instructrec.ranking.scoring import TRIED, ScoringConfig
from instructrec.training import SavePoints, State, Store, computing_with, put, take
from instructrec.tuning.card import write_card
from instructrec.tuning.choice import Choice, choose
from instructrec.tuning.config import DEFAULT_EPOCHS, TuneConfig
from instructrec.tuning.figures import write_losses
from instructrec.tuning.loop import Trainer, Updater, measure
from instructrec.tuning.plan import Measured, Plan, plan_budget, plan_steps
from instructrec.tuning.start import merge_adapters, origin, start_backbone
from instructrec.tuning.stream import Stream
from instructrec.tuning.validation import Panel, gather_panels, validate

STATE = "state"
"""Sub-folder of the unfinished model folder that holds what a resume needs."""

TRIAL_SHARE = 0.02
"""Of a time budget, for finding out how long an update takes."""
TRIAL_REQUESTS = 32


@dataclass(frozen=True)
class Tuned:
    """What came of a tuning.

    Attributes:
        folder: The model folder.
        plan: What was decided before the first step.
        state: Where training ended.
        choice: Template and scoring rule.
    """

    folder: Path
    plan: Plan
    state: State
    choice: Choice


def tune(
    corpus: Corpus,
    out: Path,
    config: TuneConfig | None = None,
    *,
    dataset: Dataset | None = None,
    held_out: Collection[str] = (),
    command: str = "instructrec tune",
    replace: bool = False,
    saves: SavePoints | None = None,
    progress: Progress = SILENT,
) -> Tuned:
    """Tune a language model on a corpus.

    Killed and called again with the same arguments it goes on where it was saved last and gives
    the same weights, bit for bit, as an unbroken run. Same settings and seed give the same bytes
    on one machine with one number of threads; another number adds up in another order.

    Args:
        corpus: A complete corpus.
        out: The folder to make, of kind ``model``: an ordinary transformers folder with the best
            weights, ``last/`` with the last ones, scoring.json, templates.json, loss.json,
            loss.png, README.md.
        config: See `TuneConfig`.
        dataset: What the corpus was made from; ``dataset/`` beside the corpus when left out.
        held_out: User ids that no choice (early stopping, template, rule) may look at.
        command: What to write into the manifest.
        replace: Whether a complete folder at ``out`` gives way.
        saves: When the state is saved.
        progress: Told how far it is.

    Raises:
        FolderError: ``out`` is taken, or there is no dataset.
        UsageError: The corpus was made from another dataset.
        DataError: There is nothing to train or to validate on.
        ModelError: The backbone cannot be loaded, or the loss is not a number any more.
    """
    config = config or TuneConfig()
    dataset = dataset or Dataset(corpus.folder.parent / "dataset")
    _check_pair(corpus, dataset)
    held = sorted(held_out)
    settings = config.model_dump(mode="json")
    settings["held_out"] = {"users": len(held), "hash": stable_hash(*held)}
    with new_folder(
        out,
        "model",
        command=command,
        settings=settings,
        seed=config.seed,
        inputs={"corpus": corpus.folder, "dataset": dataset.folder},
        replace=replace,
        resume=True,
    ) as draft:
        tuning = _Tuning(draft, corpus, dataset, config, held, progress)
        tuned = tuning.run(out, saves or SavePoints())
    return tuned


def _check_pair(corpus: Corpus, dataset: Dataset) -> None:
    made_from = corpus.manifest["inputs"].get("dataset")
    if made_from != sha256(dataset.folder / MANIFEST):
        raise UsageError(
            f"{corpus.folder} was not made from {dataset.folder}",
            "Name the corpus's own dataset with --dataset",
        )


class _Tuning:
    """One call of `tune`, from the unfinished folder to its last file."""

    def __init__(
        self,
        draft: Draft,
        corpus: Corpus,
        dataset: Dataset,
        config: TuneConfig,
        held_out: Sequence[str],
        progress: Progress,
    ) -> None:
        self.began = time.monotonic()
        self.draft, self.corpus, self.config = draft, corpus, config
        self.progress = progress
        self.store = Store(draft.path / STATE)
        self.store.folder.mkdir(parents=True, exist_ok=True)
        self.seconds: dict[str, float] = {}
        progress.note(f"preparing {config.backbone}")
        self.backbone: Backbone = start_backbone(
            corpus, dataset, config, self.store.folder / "tokenizer"
        )
        self.backbone.model.to("cuda" if torch.cuda.is_available() else "cpu")
        count = max(config.validation_users, config.choice_users)
        self.panels: list[Panel] = gather_panels(corpus, count, held_out=held_out, seed=config.seed)
        self.stream = Stream(corpus, self.backbone, config)
        peak = config.peak(is_new=config.backbone in SHAPES)
        self.updater = Updater(self.backbone, config, peak)
        self._lap("preparing", self.began)

    def run(self, out: Path, saves: SavePoints) -> Tuned:
        """Train, choose, write."""
        plan = self._plan()
        with computing_with(plan.threads):
            return self._run(plan, out, saves)

    def _run(self, plan: Plan, out: Path, saves: SavePoints) -> Tuned:
        started = time.monotonic()
        trainer = Trainer(
            self.updater, self.stream, self.panels, plan, self.store, saves, self.progress
        )
        state = trainer.run()
        self._lap("training", started)
        last = trainer.last_weights()
        put(self.updater.parameters, trainer.best_weights())
        started = time.monotonic()
        panels = [panel.take(plan.choice_requests) for panel in self.panels]
        choice = choose(
            self.backbone, panels, self.config.null_prompt, self.config.max_tokens, self.progress
        )
        self._lap("choosing", started)
        self._write(plan, state, choice, last)
        return Tuned(out, plan, state, choice)

    def _plan(self) -> Plan:
        if (kept := self.store.noted("plan")) is not None:
            return Plan.model_validate(kept)
        config, scenarios = self.config, len(self.panels)
        if config.budget is not None:
            templates = sum(len(panel.templates) for panel in self.panels)
            measured = self._measure(config.budget)
            plan = plan_budget(config, config.budget, measured, scenarios, templates)
        else:
            threads = config.threads or torch.get_num_threads()
            plan = plan_steps(config, config.steps or self._count(), scenarios, threads)
        self.store.note("plan", plan.model_dump())
        self.progress.note(f"{plan.steps} steps, validated every {plan.validate_every}")
        return plan

    def _count(self) -> int:
        epochs = range(self.config.epochs or DEFAULT_EPOCHS)
        counted = self.progress.track(epochs, "counting the steps of each epoch")
        return sum(self.stream.count(epoch) for epoch in counted)

    def _measure(self, budget: float) -> Measured:
        began = time.monotonic()
        step, threads = self._fastest(TRIAL_SHARE * budget)
        few = [panel.take(max(TRIAL_REQUESTS // len(self.panels), 1)) for panel in self.panels]
        with computing_with(threads):
            started = time.monotonic()
            validate(self.backbone, few, self.config.max_tokens)
            request = (time.monotonic() - started) / sum(len(panel) for panel in few)
        self.seconds |= {"one_step": step, "one_request": request}
        self._lap("measuring", began)
        elapsed = time.monotonic() - self.began
        return Measured(elapsed=elapsed, step=step, request=request, threads=threads)

    def _fastest(self, seconds: float) -> tuple[float, int]:
        """Seconds of an update with the number of threads that is fastest, and that number."""
        usual = torch.get_num_threads()
        is_cpu = self.backbone.model.device.type == "cpu"
        tried = [usual, usual // 2, 1] if is_cpu else [usual]
        counts = [self.config.threads] if self.config.threads else sorted({*tried} - {0})[::-1]
        times = []
        for count in counts:
            with computing_with(count):
                took = measure(self.updater, self.stream, seconds / len(counts))
            times.append((took, count))
        return min(times, key=lambda pair: pair[0])

    def _write(self, plan: Plan, state: State, choice: Choice, last: Any) -> None:
        """Everything the folder holds; the best weights are in the backbone at first."""
        folder, config = self.draft.path, self.config
        best = take(self.updater.parameters)
        put(self.updater.parameters, last)
        _save(self.backbone, folder / "last")
        put(self.updater.parameters, best)
        _save(self.backbone, folder)
        ScoringConfig(
            rule=choice.rule.name,
            pmi_weight=choice.pmi_weight,
            null_prompt=choice.null_prompt,
            templates=choice.templates,
            max_tokens=config.max_tokens,
            spelled=self._longest_history(),
        ).save(folder)
        write_json(folder / TRIED, choice.by_template)
        write_losses(folder, state.curve, state.validations, state.best)
        self.draft.facts |= self._facts(plan, state)
        self.draft.rows["train"] = self.corpus.size("train")
        write_card(folder, self.corpus, config, self.draft.facts, state, choice)
        self._log(state)
        self.store.clear()

    def _longest_history(self) -> int:
        """Titles of a history in training at most: no prompt may spell out more."""
        settings = self.corpus.manifest.get("settings", {})
        return int(settings.get("max_history", MAX_HISTORY)) - 1

    def _facts(self, plan: Plan, state: State) -> dict[str, Any]:
        return {
            "protocol": self.corpus.protocol.value,
            "backbone": self.config.backbone,
            "family": self.backbone.family,
            "origin": origin(self.config),
            "parameters": sum(value.numel() for value in self.backbone.model.parameters()),
            "plan": plan.model_dump(),
            "steps": state.step,
            "tokens": state.tokens,
            "best_step": state.best["step"] if state.best else state.step,
            "stopped_early": state.stopped,
        }

    def _lap(self, name: str, started: float) -> None:
        self.seconds[name] = time.monotonic() - started

    def _log(self, state: State) -> None:
        """Times and rates, which differ from run to run, in the part that is not hashed."""
        write_json(
            self.draft.path / LOG / "timings.json",
            {
                "seconds": {name: round(took, 3) for name, took in self.seconds.items()},
                "seconds_in_updates": round(state.seconds, 3),
                "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
                "threads": torch.get_num_threads(),
                "device": str(self.backbone.model.device),
                "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            },
        )


def _save(backbone: Backbone, folder: Path) -> None:
    """Save a backbone with any adapters merged, leaving it as it is."""
    if any("lora_" in name for name, _ in backbone.model.named_parameters()):
        backbone = copy.copy(backbone)
        backbone.model = copy.deepcopy(backbone.model)
        merge_adapters(backbone.model)
    backbone.save(folder)
