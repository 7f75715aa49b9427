"""TEM: attention over what is said and the history, for personalised search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines._examples import gather_examples, validation_requests
from instructrec.evaluation.baselines._texts import Bag, Bags, bag_of
from instructrec.evaluation.baselines.base import Input, Material
from instructrec.evaluation.baselines.learned import Asked, Learned, Learner, RivalNet, as_asked
from instructrec.evaluation.baselines.settings import RivalConfig, TEMConfig
from instructrec.protocols import Rows
from instructrec.retrieval._sequence_net import attention, cross_entropy
from instructrec.retrieval._sequence_training import compared
from instructrec.retrieval._tower_pairs import PairBatches


class TEMNet(RivalNet):
    """A transformer over the query and the history's items; its state at the query is compared.

    An item's vector is an id vector plus the mean of its text's word vectors, which the query is
    read with too.

    Args:
        config: See `TEMConfig`.
        texts: The items' bags; none where their vectors are known already.
    """

    def __init__(self, config: TEMConfig, texts: Sequence[Bag]) -> None:
        super().__init__()
        width = config.dimensions
        self.config, self.texts = config, texts
        self.ids = nn.Parameter(torch.randn(len(texts), width) * 0.02)
        self.words = Bags(config.buckets, width)
        self.query = nn.Linear(width, width)
        self.positions = nn.Parameter(torch.randn(config.max_history + 1, width) * 0.02)
        self.layers = attention(width, config.layers, config.heads, config.dropout)
        self.norm = nn.LayerNorm(width)

    def item_vectors(self, which: Tensor | None = None) -> Tensor:
        """See `RivalNet.item_vectors`."""
        if which is None:
            return torch.add(self.ids, self.words(self.texts))
        texts = [self.texts[row] for row in which.tolist()]
        return torch.add(self.ids[which], self.words(texts))

    def wanted(self, vectors: Tensor, there: Tensor, bags: Sequence[Bag]) -> Tensor:
        """See `RivalNet.wanted`."""
        scale = self.config.dimensions**0.5
        query = torch.tanh(self.query(self.words(bags) * scale))
        # Counted from the end: the latest item has place 1, the query place 0.
        places = torch.arange(there.shape[1])
        ages = (there.sum(dim=1, keepdim=True) - places).clamp_min(0)
        items = vectors * scale + self.positions[ages]
        states = torch.cat([(query + self.positions[0])[:, None], items], dim=1)
        states = nn.functional.dropout(states, self.config.dropout, self.training)
        nothing = torch.cat([torch.zeros(len(there), 1, dtype=torch.bool), ~there], dim=1)
        for layer in self.layers:
            states = layer(states, src_key_padding_mask=nothing)
        told: Tensor = self.norm(states[:, 0])
        return told


class TEM(Learned):
    """TEM; item texts stand for the reviews that the original learns its item vectors from.

    Some examples are learnt without their words, so that a history alone is understood as well.

    Source: Bi, Ai, Croft 2020, "A Transformer-based Embedding Model for Personalized Product
    Search".
    """

    name: str = "tem"
    reads: ClassVar[frozenset[Input]] = frozenset({"history", "words"})
    config_type: ClassVar[type[RivalConfig]] = TEMConfig

    @classmethod
    def make_net(cls, config: Any, catalogue: Catalogue | None) -> TEMNet:
        """See `Learned.make_net`."""
        texts = [] if catalogue is None else catalogue.texts
        return TEMNet(config, [bag_of(text, config.buckets) for text in texts])

    @classmethod
    def learner(cls, net: TEMNet, material: Material, config: Any) -> Learner:
        """Texts, histories and targets; see `Learned.learner`."""
        examples = gather_examples(material, config, cls.name)
        batches = PairBatches(len(examples), config.batch, config.seed)
        count = len(material.catalogue)

        def loss(numbers: NDArray[np.int64], step: int) -> Tensor:
            asked = examples.asked(numbers, config.max_history)
            rows, targets = asked.histories, examples.targets[numbers]
            rng = np.random.default_rng((config.seed, 4, step))
            unsaid = (rng.random(len(rows)) < config.unsaid_share) & (rows >= 0).any(axis=1)
            bags = [bag[:0] if no else bag for bag, no in zip(asked.bags, unsaid, strict=True)]
            # The histories' items are among those compared, so each vector is made once.
            chosen, bias = compared(
                np.concatenate([targets, rows.ravel()]),
                count,
                config.softmax_items,
                (config.seed, 1, step),
            )
            if chosen is not None:
                rows = np.where(rows < 0, -1, np.searchsorted(chosen, rows))
                targets = np.searchsorted(chosen, targets)
            items = net.item_vectors(None if chosen is None else torch.from_numpy(chosen))
            known = torch.from_numpy(rows)
            states = net.wanted(items[known.clamp_min(0)], known >= 0, bags)
            weights = None if bias is None else torch.from_numpy(bias)
            wanted = torch.from_numpy(targets)
            return cross_entropy(states, items, wanted, weights) / len(targets)

        return Learner("tem from texts, histories and items", net, batches, loss, config)

    @classmethod
    def validation(cls, material: Material, config: Any) -> tuple[Asked, Rows]:
        """Personalised search on validation targets; see `Learned.validation`."""
        instructions, histories, targets = validation_requests(material, history=True)
        return as_asked(histories, instructions, config), targets
