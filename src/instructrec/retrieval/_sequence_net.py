"""The net of the sequential retriever: causal attention over item vectors, and its loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from instructrec.retrieval.settings import SequentialConfig

_FLOATS = 2**23
"""Floats of logits that are held at once (32 MiB)."""
_INIT = 0.02


def attention(width: int, layers: int, heads: int, dropout: float) -> nn.ModuleList:
    """Layers of attention over (n, places, width) states, normed before each part."""
    return nn.ModuleList(
        nn.TransformerEncoderLayer(
            width,
            heads,
            4 * width,
            dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        for _ in range(layers)
    )


class SequenceNet(nn.Module):
    """SASRec whose item vector is an id vector plus a linear map of a frozen text vector.

    Source: Kang, McAuley 2018, "Self-Attentive Sequential Recommendation"; docs/paper.md §7.

    Args:
        config: See `SequentialConfig`.
        items: How many items have an id vector.
        text_dimensions: Length of a text vector; 0 where items have none.
    """

    def __init__(self, config: SequentialConfig, items: int, text_dimensions: int) -> None:
        super().__init__()
        width = config.dimensions
        self.config = config
        self.ids = nn.Parameter(torch.randn(items, width) * _INIT)
        self.positions = nn.Parameter(torch.randn(config.max_history, width) * _INIT)
        self.text = nn.Linear(text_dimensions, width, bias=False) if text_dimensions else None
        self.layers = attention(width, config.layers, config.heads, config.dropout)
        self.norm = nn.LayerNorm(width)

    def item_vectors(self, texts: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """The matrix that is read from and compared with: (items, dimensions).

        In training some items go without their id vector (``id_dropout``).

        Args:
            texts: (items, text dimensions), frozen; none where the net has no text map.
            rows: Which items are wanted; all when left out.
        """
        ids = self.ids if rows is None else self.ids[rows]
        if self.training and self.config.id_dropout:
            kept = torch.rand(len(ids), 1, device=ids.device) >= self.config.id_dropout
            ids = ids * kept
        if self.text is None or texts is None:
            return ids
        mapped: Tensor = self.text(texts if rows is None else texts[rows])
        return ids + mapped

    def forward(self, vectors: Tensor) -> Tensor:
        """What comes after each place, judged by it and what lies before.

        Padding lies behind a sequence, where causal attention never looks.

        Args:
            vectors: (sequences, places, dimensions) item vectors, oldest first.

        Returns:
            (sequences, places, dimensions) states; their dot product with an item's vector is the
            item's logit.
        """
        width = vectors.shape[2]
        places = vectors.shape[1]
        states = vectors * width**0.5 + self.positions[:places]
        states = nn.functional.dropout(states, self.config.dropout, self.training)
        mask = nn.Transformer.generate_square_subsequent_mask(places, device=vectors.device)
        for layer in self.layers:
            states = layer(states, src_mask=mask, is_causal=True)
        normed: Tensor = self.norm(states)
        return normed


class _CrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of a softmax over item vectors; logits exist one block at a time.

    The gradients are made in the forward pass, while a block's softmax is at hand: neither all
    logits nor a second product are ever needed.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, items: Tensor, targets: Tensor, bias: Tensor | None
    ) -> Tensor:
        by_states, by_items = torch.empty_like(states), torch.zeros_like(items)
        loss = torch.zeros((), dtype=torch.float64, device=states.device)
        tiny = torch.finfo(states.dtype).tiny
        step = max(_FLOATS // len(items), 1)
        for start in range(0, len(states), step):
            block = states[start : start + step]
            logits = block @ items.T
            if bias is not None:
                logits += bias
            odds = torch.softmax(logits, dim=1, out=logits)
            wanted = targets[start : start + step, None]
            chances = odds.gather(1, wanted)
            loss -= chances.clamp_min(tiny).log().sum(dtype=torch.float64)
            odds.scatter_(1, wanted, chances - 1.0)
            by_states[start : start + step] = odds @ items
            by_items += (block.T @ odds).T
        ctx.save_for_backward(by_states, by_items)
        return loss.to(states.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_states, by_items = ctx.saved_tensors
        (outer,) = gradients
        return by_states * outer, by_items * outer, None, None


def cross_entropy(
    states: Tensor, items: Tensor, targets: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Sum over states of ``-log softmax(states · items + bias)[target]``.

    Args:
        states: (n, dimensions).
        items: (m, dimensions) that a target is compared with, itself among them.
        targets: (n,) rows of ``items``.
        bias: (m,) added to the logits; none for zeros.
    """
    loss: Tensor = _CrossEntropy.apply(states, items, targets, bias)  # type: ignore[no-untyped-call]
    return loss
