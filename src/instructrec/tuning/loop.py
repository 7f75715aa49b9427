"""The training loop: steps, validations, checkpoints; resumed exactly where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from instructrec.backbones import Backbone
from instructrec.errors import ModelError
from instructrec.protocols import SILENT, Progress
from instructrec.training import (
    EVERY_MINUTE,
    SavePoints,
    State,
    Store,
    Weights,
    learning_rate,
    pack,
    put,
    seeded,
    take,
    unpack,
)
from instructrec.tuning.config import TuneConfig
from instructrec.tuning.plan import Plan
from instructrec.tuning.stream import Position, Step, Stream
from instructrec.tuning.validation import Panel, validate

WINDOW = ("loss", "response_nll", "response_tokens", "span_nll", "span_tokens", "steps")


@dataclass(frozen=True)
class StepResult:
    """Sums of one update, as plain numbers."""

    response_nll: float
    response_tokens: int
    span_nll: float
    span_tokens: int
    tokens: int
    loss: float


class Updater:
    """A backbone with its optimiser: what one update does.

    Args:
        backbone: In float32.
        config: See `TuneConfig`.
        peak: The highest learning rate.
    """

    def __init__(self, backbone: Backbone, config: TuneConfig, peak: float) -> None:
        self.backbone, self.config, self.peak = backbone, config, peak
        self.parameters: dict[str, torch.nn.Parameter] = {
            name: parameter
            for name, parameter in backbone.model.named_parameters()
            if parameter.requires_grad
        }
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        matrices = [value for value in self.parameters.values() if value.ndim > 1]
        others = [value for value in self.parameters.values() if value.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.peak, fused=True)

    def update(self, step: Step, rate: float) -> StepResult:
        """Follow the gradient of one step's loss: the mean over its tokens, titles of the history
        weighted by ``span_loss_weight``.

        Raises:
            ModelError: The loss is not a number any more.
        """
        model = self.backbone.model
        model.train()
        batches = [self.backbone.collate(piece).to(model.device) for piece in step]
        weight = self.config.span_loss_weight
        response_tokens = sum(len(batch.response_labels) for batch in batches)
        span_tokens = sum(len(batch.span_labels) for batch in batches)
        scale = 1.0 / max(response_tokens + weight * span_tokens, 1.0)
        response_nll = span_nll = 0.0
        for batch in batches:
            with self._precision():
                parts = self.backbone.loss_parts(batch)
            loss = (parts.response_nll + weight * parts.span_nll) * scale
            loss.backward()  # type: ignore[no-untyped-call]
            response_nll += parts.response_nll.item()
            span_nll += parts.span_nll.item()
        total = (response_nll + weight * span_nll) * scale
        if not math.isfinite(total):
            raise ModelError(
                "the training loss is not a number any more",
                "Lower the learning rate, or use float32",
            )
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(batch.tokens for batch in batches)
        return StepResult(response_nll, response_tokens, span_nll, span_tokens, tokens, total)

    def _precision(self) -> torch.autocast:
        device = self.backbone.model.device.type
        is_half = self.config.dtype == "bfloat16"
        return torch.autocast(device, torch.bfloat16, enabled=is_half)


class Trainer:
    """Takes a backbone through a plan.

    Args:
        updater: The backbone with its optimiser.
        stream: The order of steps.
        panels: What is validated on.
        plan: How long.
        store: Where the state is kept.
        saves: When it is written.
        progress: Told how far it is.
    """

    def __init__(
        self,
        updater: Updater,
        stream: Stream,
        panels: Sequence[Panel],
        plan: Plan,
        store: Store,
        saves: SavePoints = EVERY_MINUTE,
        progress: Progress = SILENT,
    ) -> None:
        self.updater, self.stream, self.plan, self.store = updater, stream, plan, store
        self.panels = [panel.take(plan.validation_requests) for panel in panels]
        self.saves, self.progress = saves, progress
        self.state = State()

    def run(self) -> State:
        """Train to the end of the plan, from wherever an earlier try was stopped."""
        with seeded(self.updater.config.seed):
            if (kept := self.store.load()) is not None:
                self.state, tensors = kept
                unpack(tensors, self.updater.parameters, self.updater.optimizer)
                self.progress.note(f"going on after step {self.state.step} of {self.plan.steps}")
            self._train()
        return self.state

    def last_weights(self) -> Weights:
        """The weights after the last update."""
        return take(self.updater.parameters)

    def best_weights(self) -> Weights:
        """The weights of the best validation."""
        if self.state.best is None:
            return self.last_weights()
        return self.store.load_best(self.state.best["step"])

    def _train(self) -> None:
        state, plan = self.state, self.plan
        if state.stopped or state.step >= plan.steps:
            return
        saved = time.monotonic()
        walk = self.stream.walk(Position(*state.position))
        numbers = range(state.step, plan.steps)
        for number in self.progress.track(numbers, f"tuning {self.updater.backbone.name}"):
            started = time.monotonic()
            position, step = next(walk)
            self._step(number, step)
            state.position = position
            state.seconds += time.monotonic() - started
            is_validation = state.step % plan.validate_every == 0 or state.step == plan.steps
            if is_validation:
                self._validate()
            if is_validation or self.saves.is_due(state.step, time.monotonic() - saved):
                self._save()
                saved = time.monotonic()
            if state.stopped:
                self.progress.note(f"no better validation for a while: stopped at {state.step}")
                break

    def _step(self, number: int, step: Step) -> None:
        state, plan = self.state, self.plan
        config = self.updater.config
        rate = learning_rate(number, plan.steps, self.updater.peak, config.warmup)
        result = self.updater.update(step, rate)
        state.step = number + 1
        state.tokens += result.tokens
        for name in WINDOW:
            value = 1 if name == "steps" else getattr(result, name)
            state.window[name] = state.window.get(name, 0) + value
        if state.step % plan.curve_every == 0 or state.step == plan.steps:
            state.curve.append(_point(state, rate))
            state.window = {}

    def _validate(self) -> None:
        state, config = self.state, self.updater.config
        hits = validate(self.updater.backbone, self.panels, config.max_tokens, self.progress)
        entry = {"step": state.step, "HR@1": sum(hits.values()) / len(hits), "scenarios": hits}
        state.validations.append(entry)
        self.progress.note(f"step {state.step}: validation HR@1 {entry['HR@1']:.4f}")
        if state.best is None or entry["HR@1"] > state.best["HR@1"]:
            state.best, state.stale = entry, 0
            self.store.save_best(state.step, self.last_weights())
        else:
            state.stale += 1
            state.stopped = config.patience is not None and state.stale >= config.patience

    def _save(self) -> None:
        self.store.save(self.state, pack(self.updater.parameters, self.updater.optimizer))


def _point(state: State, rate: float) -> dict[str, float]:
    window = state.window
    point = {
        "step": state.step,
        "tokens": state.tokens,
        "learning_rate": rate,
        "loss": window["loss"] / window["steps"],
    }
    for part in ("response", "span"):
        if window[f"{part}_tokens"]:
            point[f"{part}_loss"] = window[f"{part}_nll"] / window[f"{part}_tokens"]
    return point


def measure(updater: Updater, stream: Stream, seconds: float) -> float:
    """Time updates without changing the weights.

    Args:
        updater: Its weights and optimiser are as before afterwards.
        stream: Its first steps are tried.
        seconds: How long to try; three steps at least.

    Returns:
        Seconds that making and following one step takes.
    """
    weights = take(updater.parameters)
    began = first = time.monotonic()
    done = 0
    with seeded(0):
        for _, step in stream.walk():
            updater.update(step, 0.0)
            if done == 0:
                # The first update pays for what later ones find ready.
                first = time.monotonic()
            done += 1
            if done > 2 and time.monotonic() - began >= seconds:
                break
    usual = (time.monotonic() - first) / (done - 1)
    put(updater.parameters, weights)
    updater.optimizer.state.clear()
    return usual
