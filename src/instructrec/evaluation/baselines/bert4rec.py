"""BERT4Rec: attention in both directions, trained to tell masked items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines._next_item import HistoryNet, HistoryRival
from instructrec.evaluation.baselines._texts import Bag
from instructrec.evaluation.baselines.settings import BERT4RecConfig, RivalConfig
from instructrec.protocols import Rows
from instructrec.retrieval._sequence_net import attention, cross_entropy


class ClozeNet(HistoryNet):
    """A transformer over items and masks; the state at a mask is compared with item vectors.

    Args:
        config: See `BERT4RecConfig`.
        items: How many items there are.
    """

    def __init__(self, config: BERT4RecConfig, items: int) -> None:
        super().__init__(config, items)
        width = config.dimensions
        self.cloze = config
        self.mask = nn.Parameter(torch.randn(width) * 0.02)
        # Counted from the end, which is where the mask stands when it is used.
        self.positions = nn.Parameter(torch.randn(config.max_history + 1, width) * 0.02)
        self.layers = attention(width, config.layers, config.heads, config.dropout)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))

    def states(self, vectors: Tensor, there: Tensor, masked: Tensor) -> Tensor:
        """(n, places, dimensions) states.

        Args:
            vectors: (n, places, dimensions) item vectors.
            there: (n, places) whether there is an item or a mask; not behind the end.
            masked: (n, places) where a mask takes an item's place.
        """
        width = vectors.shape[2]
        shown = torch.where(masked[:, :, None], self.mask, vectors)
        ages = (there.sum(dim=1, keepdim=True) - 1 - torch.arange(there.shape[1])).clamp_min(0)
        states = shown * width**0.5 + self.positions[ages]
        states = nn.functional.dropout(states, self.cloze.dropout, self.training)
        for layer in self.layers:
            states = layer(states, src_key_padding_mask=~there)
        told: Tensor = self.head(self.norm(states))
        return told

    def loss(self, rows: Rows, step: int) -> Tensor:
        """See `HistoryNet.loss`; the masked items are the targets."""
        masked = self.masks(rows, np.random.default_rng((self.config.seed, 3, step)))
        chosen, bias, items = self.compared(rows, step)
        if chosen is not None:
            rows = np.where(rows < 0, -1, np.searchsorted(chosen, rows))
        known, hidden = torch.from_numpy(rows), torch.from_numpy(masked)
        states = self.states(items[known.clamp_min(0)], known >= 0, hidden)[hidden]
        weights = None if bias is None else torch.from_numpy(bias)
        return cross_entropy(states, items, known[hidden], weights) / len(states)

    def masks(self, rows: Rows, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which items are masked: a share of them at random, or the last alone; one at least."""
        there, lines = rows >= 0, np.arange(len(rows))
        last = there.sum(axis=1) - 1
        masked = there & (rng.random(rows.shape) < self.cloze.mask_share)
        only = rng.random(len(rows)) < self.cloze.last_share
        masked[only] = False
        only |= ~masked.any(axis=1)
        masked[lines[only], last[only]] = True
        return masked

    def wanted(self, vectors: Tensor, there: Tensor, bags: Sequence[Bag]) -> Tensor:
        """See `RivalNet.wanted`; the history with a mask at its end."""
        lines = torch.arange(len(vectors))
        ends = there.sum(dim=1)
        room = vectors.new_zeros(len(vectors), 1, vectors.shape[2])
        longer = torch.cat([there, there.new_zeros(len(vectors), 1)], dim=1)
        masked = torch.zeros_like(longer)
        masked[lines, ends] = True
        states = self.states(torch.cat([vectors, room], dim=1), longer | masked, masked)
        return states[lines, ends]


class BERT4Rec(HistoryRival):
    """BERT4Rec; item vectors are tied and have no bias of their own.

    Source: Sun et al. 2019, "BERT4Rec: Sequential Recommendation with Bidirectional Encoder
    Representations from Transformer".
    """

    name: str = "bert4rec"
    config_type: ClassVar[type[RivalConfig]] = BERT4RecConfig

    @classmethod
    def make_net(cls, config: Any, catalogue: Catalogue | None) -> ClozeNet:
        """See `Learned.make_net`."""
        return ClozeNet(config, 0 if catalogue is None else len(catalogue))
