"""What one update of a model of item sequences does."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from instructrec.errors import ModelError
from instructrec.protocols import Rows
from instructrec.retrieval._sequence_batches import Batches
from instructrec.retrieval._sequence_net import SequenceNet, cross_entropy
from instructrec.retrieval.settings import (
    DEFAULT_EPOCHS,
    FEWEST_STEPS,
    SequentialConfig,
    TrainingConfig,
)

Validate = Callable[[SequenceNet], float]


class Descent(ABC):
    """A net with its optimiser: AdamW, which leaves vectors alone, and a bounded gradient.

    Args:
        net: On the device it is to be trained on.
        config: How it is trained.
    """

    what = "sequences"

    def __init__(self, net: nn.Module, config: TrainingConfig) -> None:
        self._module, self._settings = net, config
        self.parameters = dict(net.named_parameters())
        matrices = [value for value in self.parameters.values() if value.ndim > 1]
        others = [value for value in self.parameters.values() if value.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)

    @abstractmethod
    def batch_loss(self, examples: NDArray[np.int64], step: int) -> Tensor:
        """The loss of one batch, nats a target."""

    def update(self, examples: NDArray[np.int64], step: int, rate: float) -> float:
        """Follow the gradient of one batch's loss, and return it: nats a target.

        Raises:
            ModelError: The loss is not a number any more.
        """
        self._module.train()
        loss = self.batch_loss(examples, step)
        loss.backward()  # type: ignore[no-untyped-call]
        told = loss.item()
        if not math.isfinite(told):
            raise ModelError(
                f"the loss of learning {self.what} is not a number any more",
                "Lower the learning rate",
            )
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self._settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return told


class Updater(Descent):
    """The sequential retriever: what one update does (`instructrec.retrieval._training`).

    Args:
        net: On the device it is to be trained on.
        batches: The sequences, rows of the net's items.
        texts: (items, text dimensions) on that device, or none.
        config: See `SequentialConfig`.
    """

    def __init__(
        self, net: SequenceNet, batches: Batches, texts: Tensor | None, config: SequentialConfig
    ) -> None:
        super().__init__(net, config)
        self.net, self.batches, self.texts, self.config = net, batches, texts, config

    @property
    def usual_epochs(self) -> int:
        """How long it trains when neither epochs nor steps are set."""
        return max(DEFAULT_EPOCHS, math.ceil(FEWEST_STEPS / len(self.batches)))

    def batch_loss(self, examples: NDArray[np.int64], step: int) -> Tensor:
        """See `Descent.batch_loss`."""
        return self.loss(self.batches.rows(examples), step)

    def loss(self, rows: Rows, step: int) -> Tensor:
        """Mean cross-entropy of every item of these sequences but the first of each.

        Args:
            rows: (sequences, places), -1 behind the end of a sequence.
            step: Seeds the sample of items where the catalogue is too large for all of them.
        """
        chosen, bias = compared(
            rows, len(self.net.ids), self.config.softmax_items, (self.config.seed, 1, step)
        )
        which = None if chosen is None else torch.from_numpy(chosen).to(self.net.ids.device)
        items = self.net.item_vectors(self.texts, which)
        return next_item_loss(self.net, items, rows, chosen, bias)


def next_item_loss(
    states_of: Callable[[Tensor], Tensor],
    items: Tensor,
    rows: Rows,
    chosen: Rows | None,
    bias: NDArray[np.float32] | None,
) -> Tensor:
    """Mean cross-entropy of every item of these sequences but the first of each.

    Args:
        states_of: (sequences, places, dimensions) item vectors to what comes after each place.
        items: (m, dimensions) vectors of the items that targets are compared with.
        rows: (sequences, places), -1 behind the end of a sequence.
        chosen: See `compared`.
        bias: See `compared`.
    """
    if chosen is not None:
        rows = np.where(rows < 0, -1, np.searchsorted(chosen, rows))
    known = torch.from_numpy(rows).to(items.device)
    wanted = known[:, 1:]
    there = wanted >= 0
    states = states_of(items[known[:, :-1].clamp_min(0)])[there]
    weights = None if bias is None else torch.from_numpy(bias).to(items.device)
    return cross_entropy(states, items, wanted[there], weights) / len(states)


def compared(
    rows: Rows, items: int, most: int, seed: tuple[int, ...]
) -> tuple[NDArray[np.int64] | None, NDArray[np.float32] | None]:
    """Which items targets are compared with, and what is added to the logit of each.

    All, or those of the batch and a uniform sample of the others, which then stand for all
    others: each counts as often as it takes for the sum to be expected right.

    Args:
        rows: The items of a batch; -1 for none.
        items: How many there are in all.
        most: All of them up to so many, a sample of so many beyond.
        seed: Of the sample.

    Returns:
        Ascending rows and (rows,) biases; none and none for all items and zeros.
    """
    if items <= most:
        return None, None
    own = np.unique(rows[rows >= 0])
    rng = np.random.default_rng(seed)
    drawn = np.setdiff1d(rng.choice(items, most, replace=False, shuffle=False), own)
    chosen = np.union1d(own, drawn)
    more = np.float32(math.log(max(items - len(own), 1) / max(len(drawn), 1)))
    return chosen, np.where(np.isin(chosen, own), np.float32(0), more)
