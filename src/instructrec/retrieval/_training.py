"""Takes a retriever that learns through its training; resumed exactly where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from instructrec.protocols import SILENT, Progress
from instructrec.retrieval.settings import TrainingConfig
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

METRIC = "NDCG"
"""What a validation measures: the targets' NDCG among the items, without a cut, ties against
them."""
_TRIAL_SHARE = 0.03
"""Of a time budget, for finding out how long an update takes."""
_RESERVE = 0.03
"""Of a time budget, for being wrong."""


class Batches(Protocol):
    """The order in which a training sees its examples."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    def epoch(self, epoch: int) -> Sequence[NDArray[np.int64]]:
        """The batches of an epoch, in order."""
        ...


def parts_of(net: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """A net's weights as they are stored; its items' id vectors are kept apart."""
    return {
        f"net.{name}": np.ascontiguousarray(value.detach().numpy())
        for name, value in net.state_dict().items()
        if name != "ids"
    }


def net_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """What `parts_of` stored, as a net takes it."""
    return {
        name.removeprefix("net."): torch.from_numpy(value)
        for name, value in arrays.items()
        if name.startswith("net.")
    }


class Learner(Protocol):
    """Weights with their optimiser, and what one update does."""

    @property
    def what(self) -> str:
        """What is learnt from, for people to read."""
        ...

    @property
    def net(self) -> Any:
        """The network, which is validated."""
        ...

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The weights that are learnt."""
        ...

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Their optimiser."""
        ...

    @property
    def batches(self) -> Batches:
        """The examples."""
        ...

    @property
    def config(self) -> TrainingConfig:
        """The settings."""
        ...

    @property
    def usual_epochs(self) -> int:
        """How long it trains when neither epochs nor steps are set."""
        ...

    def update(self, examples: NDArray[np.int64], step: int, rate: float) -> float:
        """Follow the gradient of one batch's loss, and return it."""
        ...


class Plan(BaseModel):
    """What was decided before the first step and is obeyed ever after.

    Attributes:
        steps: Updates that the learning rate is laid out for.
        stop: The last update; fewer where a known share of the training serves best.
        validate_every: Steps between validations.
    """

    model_config = ConfigDict(frozen=True)

    steps: int
    stop: int
    validate_every: int


class Trainer:
    """Takes a learner through its training.

    Args:
        updater: What learns.
        store: Where the state is kept.
        validate: Measures the net on validation targets, higher is better; none where there are
            none, and then the last weights are the best.
        share: The share of the training after which it stops.
        saves: When the state is written; it never changes the result.
        progress: Told how far it is.
    """

    def __init__(
        self,
        updater: Learner,
        store: Store,
        validate: Callable[[Any], float] | None,
        *,
        share: float = 1.0,
        saves: SavePoints = EVERY_MINUTE,
        progress: Progress = SILENT,
    ) -> None:
        self.updater, self.store, self.validate = updater, store, validate
        self.share, self.saves, self.progress = share, saves, progress
        self.state = State()

    def run(self) -> tuple[Plan, State]:
        """Train to the end, from wherever an earlier try was stopped; the net is then the best."""
        config = self.updater.config
        plan = self._plan()
        with seeded(config.seed):
            if (kept := self.store.load()) is not None:
                self.state, tensors = kept
                unpack(tensors, self.updater.parameters, self.updater.optimizer)
                self.progress.note(f"going on after step {self.state.step} of {plan.steps}")
            self._train(plan)
        if self.state.best is not None:
            put(self.updater.parameters, self.store.load_best(self.state.best["step"]))
        self.updater.net.eval()
        return plan, self.state

    def _train(self, plan: Plan) -> None:
        state, config, batches = self.state, self.updater.config, self.updater.batches
        if state.stopped or state.step >= plan.stop:
            return
        epoch, order = -1, batches.epoch(state.step // len(batches))
        saved = time.monotonic()
        for number in self.progress.track(
            range(state.step, plan.stop), f"learning {self.updater.what}"
        ):
            if number // len(batches) != epoch:
                epoch = number // len(batches)
                order = batches.epoch(epoch)
            rate = learning_rate(number, plan.steps, config.learning_rate, config.warmup)
            loss = self.updater.update(order[number % len(batches)], number, rate)
            state.step = number + 1
            state.window["loss"] = state.window.get("loss", 0.0) + loss
            state.window["steps"] = state.window.get("steps", 0) + 1
            is_point = state.step % plan.validate_every == 0 or state.step == plan.stop
            if is_point:
                self._point(plan)
            if is_point or self.saves.is_due(state.step, time.monotonic() - saved):
                self.store.save(state, pack(self.updater.parameters, self.updater.optimizer))
                saved = time.monotonic()
            if state.stopped:
                self.progress.note(f"no better validation for a while: stopped at {state.step}")
                break

    def _point(self, plan: Plan) -> None:
        """Say how it stands, validate, and keep the weights if they are the best so far."""
        state, patience = self.state, self.updater.config.patience
        loss = state.window["loss"] / state.window["steps"]
        state.curve.append({"step": state.step, "loss": loss})
        state.window = {}
        told = f"{self.updater.what}, step {state.step} of {plan.steps}: loss {loss:.4f}"
        if self.validate is None:
            self.progress.note(told)
            return
        reached = self.validate(self.updater.net)
        self.progress.note(f"{told}, validation {METRIC} {reached:.4f}")
        entry = {"step": state.step, METRIC: reached}
        state.validations.append(entry)
        if state.best is None or reached > state.best[METRIC]:
            state.best, state.stale = entry, 0
            self.store.save_best(state.step, take(self.updater.parameters))
        else:
            state.stale += 1
            state.stopped = patience is not None and state.stale >= patience

    def _plan(self) -> Plan:
        if (kept := self.store.noted("plan")) is not None:
            return Plan.model_validate(kept)
        config = self.updater.config
        steps = config.steps or (config.epochs or self.updater.usual_epochs) * len(
            self.updater.batches
        )
        if config.budget is not None:
            steps = min(steps, self._affordable(config.budget))
        stop = max(round(self.share * steps), 1)
        plan = Plan(
            steps=steps, stop=stop, validate_every=max(math.ceil(steps / config.validations), 1)
        )
        self.store.note("plan", plan.model_dump())
        return plan

    def _affordable(self, budget: float) -> int:
        """How many updates fit a time budget; weights and optimiser are as before afterwards."""
        updater, config = self.updater, self.updater.config
        weights: Weights = take(updater.parameters)
        began = first = time.monotonic()
        done = 0
        with seeded(config.seed):
            for done, pieces in enumerate(updater.batches.epoch(0)):
                if done == 1:
                    # The first update pays for what later ones find ready.
                    first = time.monotonic()
                updater.update(pieces, done, 0.0)
                if done > 2 and time.monotonic() - began >= _TRIAL_SHARE * budget:
                    break
        each = (time.monotonic() - first) / max(done, 1)
        put(updater.parameters, weights)
        updater.optimizer.state.clear()
        started = time.monotonic()
        if self.validate is not None:
            self.validate(updater.net)
        checks = config.validations * (time.monotonic() - started)
        left = (1 - _RESERVE) * budget - checks - (time.monotonic() - began)
        return max(int(left / each), 1)
