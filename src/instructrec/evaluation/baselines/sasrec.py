"""SASRec with item ids only: the sequential retriever's net without the text part."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines._next_item import CausalNet, HistoryRival
from instructrec.evaluation.baselines.settings import RivalConfig, SASRecConfig
from instructrec.retrieval._sequence_net import SequenceNet
from instructrec.retrieval.settings import SequentialConfig


class SASRecNet(CausalNet):
    """Causal attention over id vectors.

    Args:
        config: See `SASRecConfig`.
        items: How many items there are.
    """

    def __init__(self, config: SASRecConfig, items: int) -> None:
        super().__init__(config, items)
        known = SequentialConfig(
            dimensions=config.dimensions,
            layers=config.layers,
            heads=config.heads,
            dropout=config.dropout,
            id_dropout=0.0,
            max_history=config.max_history,
        )
        self.attention = SequenceNet(known, 0, 0)

    def states(self, vectors: Tensor) -> Tensor:
        """See `CausalNet.states`."""
        told: Tensor = self.attention(vectors)
        return told


class SASRec(HistoryRival):
    """SASRec trained by cross-entropy over the whole catalogue instead of one sampled negative.

    Source: Kang, McAuley 2018, "Self-Attentive Sequential Recommendation"; the loss as in
    Klenitskiy, Vasilev 2023, "Turning Dross Into Gold Loss".
    """

    name: str = "sasrec"
    config_type: ClassVar[type[RivalConfig]] = SASRecConfig

    @classmethod
    def make_net(cls, config: Any, catalogue: Catalogue | None) -> SASRecNet:
        """See `Learned.make_net`."""
        return SASRecNet(config, 0 if catalogue is None else len(catalogue))
