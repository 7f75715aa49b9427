"""DSSM: a tower that reads what is said and a tower that reads items, by hashed words."""

from __future__ import annotations

import math
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
from instructrec.evaluation.baselines.settings import DSSMConfig, RivalConfig
from instructrec.protocols import Rows
from instructrec.retrieval._tower_pairs import PairBatches


class DSSMNet(RivalNet):
    """Two towers over one table of hashed words; scores are cosines over a temperature.

    Args:
        config: See `DSSMConfig`.
        texts: The items' bags; none where their vectors are known already.
    """

    def __init__(self, config: DSSMConfig, texts: Sequence[Bag]) -> None:
        super().__init__()
        self.config, self.texts = config, texts
        self.words = Bags(config.buckets, config.hidden)
        self.asks, self.names = _tower(config), _tower(config)

    def item_vectors(self, which: Tensor | None = None) -> Tensor:
        """See `RivalNet.item_vectors`; unit vectors, by the text alone."""
        texts = self.texts if which is None else [self.texts[row] for row in which.tolist()]
        return nn.functional.normalize(self.names(self.words(texts)), dim=1)

    def wanted(self, vectors: Tensor, there: Tensor, bags: Sequence[Bag]) -> Tensor:
        """See `RivalNet.wanted`; a history is not looked at."""
        asked = nn.functional.normalize(self.asks(self.words(bags)), dim=1)
        return asked / self.config.temperature


def _tower(config: DSSMConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Tanh(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, config.hidden),
        nn.Tanh(),
        nn.Linear(config.hidden, config.dimensions),
    )


class DSSM(Learned):
    """DSSM; the other items of a batch are the negatives, corrected for how often they are drawn.

    Source: Huang et al. 2013, "Learning Deep Structured Semantic Models for Web Search using
    Clickthrough Data"; the correction as in Yi et al. 2019, "Sampling-Bias-Corrected Neural
    Modeling", eq. 3.
    """

    name: str = "dssm"
    reads: ClassVar[frozenset[Input]] = frozenset({"words"})
    config_type: ClassVar[type[RivalConfig]] = DSSMConfig

    @classmethod
    def make_net(cls, config: Any, catalogue: Catalogue | None) -> DSSMNet:
        """See `Learned.make_net`."""
        texts = [] if catalogue is None else catalogue.texts
        return DSSMNet(config, [bag_of(text, config.buckets) for text in texts])

    @classmethod
    def learner(cls, net: DSSMNet, material: Material, config: Any) -> Learner:
        """Texts and the items they were said of; see `Learned.learner`."""
        examples = gather_examples(material, config, cls.name)
        counts = np.bincount(examples.targets, minlength=len(material.catalogue))
        log_share = np.log(np.maximum(counts, 1) / len(examples)).astype(np.float32)
        names = {title: at for at, title in enumerate(dict.fromkeys(material.catalogue.titles))}
        titles = np.array([names[title] for title in material.catalogue.titles])
        batches = PairBatches(len(examples), config.batch, config.seed)

        def loss(numbers: NDArray[np.int64], step: int) -> Tensor:
            bags = [examples.bags[number] for number in examples.said[numbers].tolist()]
            items, target = np.unique(examples.targets[numbers], return_inverse=True)
            nothing = torch.zeros(0)
            asked = net.wanted(nothing, nothing, bags)
            logits = asked @ net.item_vectors(torch.from_numpy(items)).T
            logits = logits - torch.from_numpy(log_share[items])
            none = no_negatives(examples.said[numbers], target, titles[items])
            logits = logits.masked_fill(torch.from_numpy(none), -math.inf)
            return nn.functional.cross_entropy(logits, torch.from_numpy(target))

        return Learner("dssm from texts and items", net, batches, loss, config)

    @classmethod
    def validation(cls, material: Material, config: Any) -> tuple[Asked, Rows]:
        """Product search on validation targets; see `Learned.validation`."""
        instructions, histories, targets = validation_requests(material, history=False)
        return as_asked([rows[:0] for rows in histories], instructions, config), targets


def no_negatives(
    said: NDArray[np.int64], target: NDArray[np.int64], titles: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(pairs, items) which items of a batch are no negatives, though they are not the target.

    Those that the same words were said of in the batch, and those with the title of one of these.

    Args:
        said: (pairs,) numbers of the texts.
        target: (pairs,) which of the items each was said of.
        titles: (items,) numbers of the items' titles.
    """
    texts, which = np.unique(said, return_inverse=True)
    meant = np.zeros((len(texts), len(titles)), dtype=np.bool_)
    meant[which, target] = True
    alike = titles[:, None] == titles[None, :]
    none = (meant @ alike)[which]
    none[np.arange(len(said)), target] = False
    return np.asarray(none, dtype=np.bool_)
