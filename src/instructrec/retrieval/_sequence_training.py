"""What one update of the sequential retriever does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrec.errors import ModelError
from instructrec.protocols import Rows
from instructrec.retrieval._sequence_batches import Batches
from instructrec.retrieval._sequence_net import SequenceNet, cross_entropy
from instructrec.retrieval.settings import DEFAULT_EPOCHS, FEWEST_STEPS, SequentialConfig

Validate = Callable[[SequenceNet], float]


class Updater:
    """The net with its optimiser: what one update does (`instructrec.retrieval._training`).

    Args:
        net: On the device it is to be trained on.
        batches: The sequences, rows of the net's items.
        texts: (items, text dimensions) on that device, or none.
        config: See `SequentialConfig`.
    """

    what = "sequences"

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

    @property
    def usual_epochs(self) -> int:
        """How long it trains when neither epochs nor steps are set."""
        return max(DEFAULT_EPOCHS, math.ceil(FEWEST_STEPS / len(self.batches)))

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
