"""Trains the net of the sequential retriever; resumed exactly where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from instructrec.errors import ModelError
from instructrec.protocols import SILENT, Progress, Rows
from instructrec.retrieval._sequence_batches import Batches
from instructrec.retrieval._sequence_net import SequenceNet, cross_entropy
from instructrec.retrieval.settings import DEFAULT_EPOCHS, SequentialConfig
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
"""What a validation measures: 1 / log2(1 + rank of the target in the whole catalogue), the mean."""
_TRIAL_SHARE = 0.03
"""Of a time budget, for finding out how long an update takes."""
_RESERVE = 0.03
"""Of a time budget, for being wrong."""

Validate = Callable[[SequenceNet], float]


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


class Updater:
    """The net with its optimiser: what one update does.

    Args:
        net: On the device it is to be trained on.
        batches: The sequences, rows of the net's items.
        texts: (items, text dimensions) on that device, or none.
        config: See `SequentialConfig`.
    """

    def __init__(
        self, net: SequenceNet, batches: Batches, texts: Tensor | None, config: SequentialConfig
    ) -> None:
        self.net, self.batches, self.texts, self.config = net, batches, texts, config
        self.parameters = dict(net.named_parameters())
        matrices = [value for value in self.parameters.values() if value.ndim > 1]
        others = [value for value in self.parameters.values() if value.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)

    def update(self, pieces: NDArray[np.int64], step: int, rate: float) -> float:
        """Follow the gradient of one batch's loss, and return it: nats a target.

        Raises:
            ModelError: The loss is not a number any more.
        """
        self.net.train()
        loss = self.loss(self.batches.rows(pieces), step)
        loss.backward()  # type: ignore[no-untyped-call]
        told = loss.item()
        if not math.isfinite(told):
            raise ModelError(
                "the sequential model's loss is not a number any more", "Lower the learning rate"
            )
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return told

    def loss(self, rows: Rows, step: int) -> Tensor:
        """Mean cross-entropy of every item of these sequences but the first of each.

        Args:
            rows: (sequences, places), -1 behind the end of a sequence.
            step: Seeds the sample of items where the catalogue is too large for all of them.
        """
        chosen, bias = self._compared(rows, step)
        if chosen is not None:
            rows = np.where(rows < 0, -1, np.searchsorted(chosen, rows))
        device = self.net.ids.device
        known = torch.from_numpy(rows).to(device)
        wanted = known[:, 1:]
        there = wanted >= 0
        which = None if chosen is None else torch.from_numpy(chosen).to(device)
        items = self.net.item_vectors(self.texts, which)
        states = self.net(items[known[:, :-1].clamp_min(0)])[there]
        weights = None if bias is None else torch.from_numpy(bias).to(device)
        return cross_entropy(states, items, wanted[there], weights) / len(states)

    def _compared(
        self, rows: Rows, step: int
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float32] | None]:
        """Which items targets are compared with, and what is added to the logit of each.

        All, or those of the batch and a uniform sample of the others, which then stand for all
        others: each counts as often as it takes for the sum to be expected right.
        """
        items, most = len(self.net.ids), self.config.softmax_items
        if items <= most:
            return None, None
        own = np.unique(rows[rows >= 0])
        rng = np.random.default_rng((self.config.seed, 1, step))
        drawn = np.setdiff1d(rng.choice(items, most, replace=False, shuffle=False), own)
        chosen = np.union1d(own, drawn)
        more = np.float32(math.log(max(items - len(own), 1) / max(len(drawn), 1)))
        return chosen, np.where(np.isin(chosen, own), np.float32(0), more)


class Trainer:
    """Takes a net through its training.

    Args:
        updater: The net with its optimiser.
        store: Where the state is kept.
        validate: Measures the net on validation targets, higher is better; none where there are
            none, and then the last weights are the best.
        share: The share of the training after which it stops.
        saves: When the state is written; it never changes the result.
        progress: Told how far it is.
    """

    def __init__(
        self,
        updater: Updater,
        store: Store,
        validate: Validate | None,
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
        for number in self.progress.track(range(state.step, plan.stop), "learning sequences"):
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
        told = f"sequences, step {state.step} of {plan.steps}: loss {loss:.4f}"
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
        steps = config.steps or (config.epochs or DEFAULT_EPOCHS) * len(self.updater.batches)
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
