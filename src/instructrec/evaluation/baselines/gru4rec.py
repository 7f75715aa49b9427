"""GRU4Rec: a recurrent net over the history, trained by cross-entropy over the catalogue."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines._next_item import CausalNet, HistoryRival
from instructrec.evaluation.baselines.settings import GRU4RecConfig, RivalConfig


class GRUNet(CausalNet):
    """A GRU over item vectors; a linear map of its state is compared with item vectors.

    Args:
        config: See `GRU4RecConfig`.
        items: How many items there are.
    """

    def __init__(self, config: GRU4RecConfig, items: int) -> None:
        super().__init__(config, items)
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(config.dimensions, config.hidden, config.layers, batch_first=True)
        self.out = nn.Linear(config.hidden, config.dimensions)
        self.scale = config.dimensions**0.5

    def states(self, vectors: Tensor) -> Tensor:
        """See `CausalNet.states`."""
        hidden, _ = self.gru(self.dropout(vectors * self.scale))
        told: Tensor = self.out(self.dropout(hidden))
        return told


class GRU4Rec(HistoryRival):
    """GRU4Rec with the full softmax in place of sampled ranking losses.

    Source: Hidasi, Karatzoglou, Baltrunas, Tikk 2016, "Session-based Recommendations with
    Recurrent Neural Networks"; cross-entropy as in Hidasi, Karatzoglou 2018.
    """

    name: str = "gru4rec"
    config_type: ClassVar[type[RivalConfig]] = GRU4RecConfig

    @classmethod
    def make_net(cls, config: Any, catalogue: Catalogue | None) -> GRUNet:
        """See `Learned.make_net`."""
        return GRUNet(config, 0 if catalogue is None else len(catalogue))
