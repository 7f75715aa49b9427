"""Layers that become plain ONNX operators: products with constant matrices, embeddings, heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY_SLICE = 2048
"""Tokens whose logits are made at once where only their sum is wanted: they stay in the cache."""


class Projection(nn.Module):
    """``states @ matrix (+ bias)`` with the matrix as ONNX's MatMul takes it.

    Args:
        weight: (outputs, inputs), as torch's linear layers have it.
        bias: (outputs,)
        by_row: Whether every row of states is brought to the range from -1 to 1 first, so that
            quantising all of them by one scale loses no more than by a scale for each row.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, by_row: bool = False) -> None:
        super().__init__()
        self.by_row = by_row
        self.matrix = fixed(weight.detach().float().t().contiguous())
        self.bias = None if bias is None else fixed(bias.detach().float())

    def forward(self, states: Tensor) -> Tensor:
        """(…, outputs)"""
        if self.by_row:
            most = states.abs().amax(dim=-1, keepdim=True).clamp(min=1e-20)
            found = ((states / most) @ self.matrix) * most
        else:
            found = states @ self.matrix
        return found if self.bias is None else found + self.bias


class Embedding(nn.Module):
    """Rows of a table, held in eight bits and one scale a row where that is wanted.

    Args:
        weight: (tokens, width)
        int8: Whether eight bits are wanted.
    """

    def __init__(self, weight: Tensor, int8: bool) -> None:
        super().__init__()
        weight = weight.detach().float()
        self.int8 = int8
        if int8:
            scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
            self.table = fixed((weight / scale).round().to(torch.int8))
            self.scale = fixed(scale)
        else:
            self.table = fixed(weight.contiguous())

    def forward(self, ids: Tensor) -> Tensor:
        """(…, width) of (…) token numbers."""
        rows = F.embedding(ids, self.table)
        return rows.to(torch.float32) * F.embedding(ids, self.scale) if self.int8 else rows


class Head(nn.Module):
    """What turns hidden states into logits.

    Args:
        weight: (vocabulary, width)
        bias: (vocabulary,)
        before: What the head takes of a hidden state.
        after: What the model makes of the head's product.
        int8: Whether rows that are looked up are held in eight bits.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        before: Callable[[Tensor], Tensor],
        after: Callable[[Tensor], Tensor],
        int8: bool,
    ) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.prepare(weight, None if bias is None else bias.detach().float(), int8)

    def prepare(self, weight: Tensor, bias: Tensor | None, int8: bool) -> None:
        """Slices of the vocabulary, so that the logits of one stay in the cache."""
        self.slices = nn.ModuleList(
            Projection(weight[start:stop], None if bias is None else bias[start:stop])
            for start, stop in (
                (start, start + VOCABULARY_SLICE)
                for start in range(0, len(weight), VOCABULARY_SLICE)
            )
        )


class Normalizers(Head):
    """Hidden states to the logsumexp of their logits, a slice of the vocabulary at a time."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(rows,) of (rows, width)."""
        rows = self.before(hidden)
        each = torch.cat([_summed(self.after(part(rows))) for part in self.slices], dim=1)
        return _summed(each)[:, 0]


def _summed(logits: Tensor) -> Tensor:
    """(rows, 1) logsumexp; ONNX Runtime's LogSoftmax is much faster than its own of that name."""
    return logits[:, :1] - logits.log_softmax(-1)[:, :1]


class Logits(Head):
    """Hidden states to all logits."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(rows, vocabulary) of (rows, width)."""
        rows = self.before(hidden)
        return self.after(torch.cat([part(rows) for part in self.slices], dim=1))


class Edges(Head):
    """Hidden states and a token for each to that token's logit."""

    def prepare(self, weight: Tensor, bias: Tensor | None, int8: bool) -> None:
        """Rows of the vocabulary, to be looked up."""
        self.rows = Embedding(weight, int8)
        self.bias = None if bias is None else fixed(bias)

    def forward(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """(rows,) of (rows, width) and (rows,)."""
        chosen = (self.before(hidden) * self.rows(tokens)).sum(-1)
        return self.after(chosen if self.bias is None else chosen + self.bias[tokens])


def root_mean_square(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Hidden states over their root mean square, in the form that ONNX Runtime fuses."""
    mean = hidden.pow(2).mean(-1, keepdim=True)
    return hidden / torch.sqrt(mean + epsilon) * weight


def fixed(values: Tensor) -> nn.Parameter:
    """A constant of a graph."""
    return nn.Parameter(values, requires_grad=False)
