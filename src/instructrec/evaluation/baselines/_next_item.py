"""Rivals that read a history from left to right and tell what comes next at every place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from instructrec.evaluation.baselines._texts import Bag
from instructrec.evaluation.baselines.base import Input, Material, UnavailableError
from instructrec.evaluation.baselines.learned import Asked, Learned, Learner, RivalNet, as_asked
from instructrec.evaluation.baselines.settings import RivalConfig
from instructrec.protocols import Rows
from instructrec.retrieval._sequence_batches import Batches
from instructrec.retrieval._sequence_training import compared, next_item_loss

_INIT = 0.02


class HistoryNet(RivalNet):
    """A net whose items are id vectors alone, the same to be read and to be told.

    Args:
        config: See `RivalConfig`.
        items: How many items there are.
    """

    def __init__(self, config: RivalConfig, items: int) -> None:
        super().__init__()
        self.config = config
        self.ids = nn.Parameter(torch.randn(items, config.dimensions) * _INIT)

    def item_vectors(self, which: Tensor | None = None) -> Tensor:
        """See `RivalNet.item_vectors`."""
        return self.ids if which is None else self.ids[which]

    def compared(self, rows: Rows, step: int) -> tuple[Any, Any, Tensor]:
        """The rows that targets are compared with, their biases, and their vectors."""
        config = self.config
        chosen, bias = compared(rows, len(self.ids), config.softmax_items, (config.seed, 1, step))
        which = None if chosen is None else torch.from_numpy(chosen)
        return chosen, bias, self.item_vectors(which)

    @abstractmethod
    def loss(self, rows: Rows, step: int) -> Tensor:
        """Mean cross-entropy over the catalogue, nats a target.

        Args:
            rows: (sequences, places), -1 behind the end of a sequence.
            step: Seeds what is drawn.
        """


class CausalNet(HistoryNet):
    """A net that learns from every place of a sequence at once."""

    @abstractmethod
    def states(self, vectors: Tensor) -> Tensor:
        """What comes after each place, judged by it and what lies before.

        Args:
            vectors: (sequences, places, dimensions) item vectors, oldest first.
        """

    def loss(self, rows: Rows, step: int) -> Tensor:
        """See `HistoryNet.loss`; every item of a sequence but the first is a target."""
        chosen, bias, items = self.compared(rows, step)
        return next_item_loss(self.states, items, rows, chosen, bias)

    def wanted(self, vectors: Tensor, there: Tensor, bags: Sequence[Bag]) -> Tensor:
        """See `RivalNet.wanted`."""
        last = (there.sum(dim=1) - 1).clamp_min(0)
        return self.states(vectors)[torch.arange(len(vectors)), last]


class HistoryRival(Learned):
    """A rival that learns from training sequences and reads nothing but the history."""

    reads: ClassVar[frozenset[Input]] = frozenset({"history"})

    @classmethod
    def learner(cls, net: HistoryNet, material: Material, config: RivalConfig) -> Learner:
        """Training sequences; see `Learned.learner`."""
        batches = Batches(material.train, config.max_history, config.batch, config.seed)
        if not len(batches):
            raise UnavailableError(
                f"The row {cls.name} is left out: no training sequence has two items",
                "Import users with three interactions or more",
            )
        return Learner(
            f"{cls.name} from sequences",
            net,
            batches,
            lambda pieces, step: net.loss(batches.rows(pieces), step),
            config,
        )

    @classmethod
    def validation(cls, material: Material, config: RivalConfig) -> tuple[Asked, Rows]:
        """What was taken after each history; see `Learned.validation`."""
        targets = material.validation
        return as_asked(targets.histories, (), config), np.asarray(targets.rows)
