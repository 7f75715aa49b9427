"""What one update of the two-tower does: what is said nearer to its item than to the others'."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrec.data.catalogue import Catalogue
from instructrec.errors import ModelError
from instructrec.retrieval._sentence import SentenceModel
from instructrec.retrieval._tower_pairs import PairBatches, Pairs
from instructrec.retrieval.encoder import SentenceEncoder
from instructrec.retrieval.settings import TowerConfig

USUAL_EPOCHS = 4
"""How long it trains when neither epochs nor steps nor a budget are set."""
_TEXTS = 32
"""Texts of like length that are read together."""


class Updater:
    """One encoder for both sides with its optimiser (`instructrec.retrieval._training`).

    Dropout is off: what does not learn gives the same states at every update.

    Source: Yi et al., Sampling-Bias-Corrected Neural Modeling (2019), eq. 3 and 5; Karpukhin et
    al., Dense Passage Retrieval (2020), §3.2, negatives of the batch.

    Args:
        encoder: Its weights change.
        pairs: What is said and the items.
        catalogue: The items.
        config: See `TowerConfig`.
    """

    what = "pairs"
    usual_epochs = USUAL_EPOCHS

    def __init__(
        self, encoder: SentenceEncoder, pairs: Pairs, catalogue: Catalogue, config: TowerConfig
    ) -> None:
        self.pairs, self.config = pairs, config
        self.net: SentenceModel = encoder.model
        self.batches = PairBatches(len(pairs), config.batch, config.seed)
        self.parameters = freeze_below(self.net, config.layers)
        matrices = [value for value in self.parameters.values() if value.ndim > 1]
        others = [value for value in self.parameters.values() if value.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        # A tokenizer of its own would be needed to cut earlier; the last token closes a text.
        self._said = [_cut(ids, config.max_tokens) for ids in encoder.ids(pairs.texts, asked=True)]
        used = np.unique(pairs.rows)
        texts = encoder.ids([catalogue.texts[row] for row in used.tolist()])
        self._items = {
            row: _cut(ids, config.max_tokens) for row, ids in zip(used.tolist(), texts, strict=True)
        }
        counts = np.bincount(pairs.rows, minlength=len(catalogue))
        self._log_share = np.log(np.maximum(counts, 1) / max(len(pairs), 1)).astype(np.float32)
        names = {title: number for number, title in enumerate(dict.fromkeys(catalogue.titles))}
        self._title = np.array([names[title] for title in catalogue.titles], dtype=np.int64)

    def update(self, examples: NDArray[np.int64], step: int, rate: float) -> float:
        """Follow the gradient of one batch's loss, and return it: nats a pair.

        Raises:
            ModelError: The loss is not a number any more.
        """
        loss = self.loss(examples)
        loss.backward()  # type: ignore[no-untyped-call]
        told = loss.item()
        if not math.isfinite(told):
            raise ModelError("the tower's loss is not a number any more", "Lower the learning rate")
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return told

    def loss(self, examples: NDArray[np.int64]) -> Tensor:
        """Mean cross-entropy of each pair's item among the items of the batch.

        An item is in the batch the likelier the more popular it is, which the logarithm of its
        share makes up for. Items that are no negatives are left out: those of the same title as
        the target, and those that the same words were said of.
        """
        said, which = np.unique(self.pairs.said[examples], return_inverse=True)
        items, target = np.unique(self.pairs.rows[examples], return_inverse=True)
        asked = embed(self.net, [self._said[number] for number in said.tolist()])
        found = embed(self.net, [self._items[row] for row in items.tolist()])
        logits = asked @ found.T / self.config.temperature
        logits = logits - torch.from_numpy(self._log_share[items]).to(logits.device)
        meant = np.zeros((len(said), len(items)), dtype=np.bool_)
        meant[which, target] = True
        alike = self._title[items][None, :] == self._title[items][:, None]
        none = torch.from_numpy((meant @ alike)[which]).to(logits.device)
        wanted = torch.from_numpy(target).to(logits.device)
        lines = logits[torch.from_numpy(which).to(logits.device)]
        own = torch.nn.functional.one_hot(wanted, len(items)).bool()
        lines = lines.masked_fill(none & ~own, float("-inf"))
        return torch.nn.functional.cross_entropy(lines, wanted)


def embed(net: SentenceModel, ids: list[list[int]]) -> Tensor:
    """(texts, dimensions) vectors with gradients, texts of like length read together."""
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    parts = [order[start : start + _TEXTS] for start in range(0, len(order), _TEXTS)]
    vectors = torch.cat([net(*net.batch([ids[number] for number in part])) for part in parts])
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return vectors[back.to(vectors.device)]


def freeze_below(net: SentenceModel, layers: int) -> dict[str, torch.nn.Parameter]:
    """Let only the last layers learn, and what stands behind the pooling.

    Returns:
        The weights that learn, by name.

    Raises:
        ModelError: The architecture has no list of layers.
    """
    net.requires_grad_(False)
    stack = _layers(net.transformer)
    for layer in list(stack)[-layers:]:
        layer.requires_grad_(True)
    net.projections.requires_grad_(True)
    return {name: value for name, value in net.named_parameters() if value.requires_grad}


def _layers(transformer: Any) -> torch.nn.ModuleList:
    """The list of a transformer's layers: the longest there is."""
    lists = [part for part in transformer.modules() if isinstance(part, torch.nn.ModuleList)]
    if not lists:
        kind = transformer.config.model_type
        raise ModelError(f"a {kind} has no layers that could be tuned apart", "Use a BERT, say")
    return max(lists, key=len)


def _cut(ids: list[int], most: int) -> list[int]:
    """Token ids cut to a length; the last one closes the text and stays."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]
