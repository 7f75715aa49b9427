"""T5's encoder and decoder as modules that torch.onnx can turn into graphs.

The sums of `instructrec.backbones.t5_stacks`, arranged for ONNX Runtime: projections that read the
same states are one matrix, so that quantising their input is paid once, and position biases are
looked up in a table of distances, which holds every length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from instructrec.backbones.onnx.layers import Embedding, Projection, fixed, root_mean_square

GROUPS = (14, 30)
"""Lines of candidates up to each of these depths, and longer ones, are read together: as many
groups as the graph has, one more."""

LOWEST = torch.finfo(torch.float32).min


class T5Read(nn.Module):
    """Prompts to the keys and values that all their candidates share.

    Args:
        model: transformers' T5 model.
        int8: Whether embeddings are held in eight bits.
    """

    def __init__(self, model: Any, int8: bool) -> None:
        super().__init__()
        stack = model.encoder
        self.embed = Embedding(stack.embed_tokens.weight, int8)
        self.bias = _Distances(stack.block[0].layer[0].SelfAttention, both_ways=True)
        self.blocks = nn.ModuleList(_EncoderBlock(block, int8) for block in stack.block)
        self.norm = _Norm(stack.final_layer_norm)
        crossing = [block.layer[1].EncDecAttention for block in model.decoder.block]
        self.cross = nn.ModuleList(_Heads(part, (part.k, part.v), int8) for part in crossing)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Keys and values of each decoder layer in turn, (prompts, heads, tokens, head width).

        Args:
            ids: (prompts, tokens) int64.
            mask: (prompts, tokens) int64, 1 where a token stands.
        """
        hidden = self.embed(ids)
        bias = self.bias(ids.shape[1]) + padding(mask)
        for block in self.blocks:
            hidden = block(hidden, bias)
        encoded = self.norm(hidden)
        return tuple(part for cross in self.cross for part in cross(encoded))


class T5Follow(nn.Module):
    """Trees of candidates to decoder states; see `t5_stacks.decode`."""

    def __init__(self, model: Any, int8: bool) -> None:
        super().__init__()
        stack = model.decoder
        self.embed = Embedding(stack.embed_tokens.weight, int8)
        self.bias = _Distances(stack.block[0].layer[0].SelfAttention, both_ways=False)
        self.blocks = nn.ModuleList(_DecoderBlock(block, int8) for block in stack.block)
        self.norm = _Norm(stack.final_layer_norm)

    def forward(
        self, tokens: Tensor, mask: Tensor, at: Tensor, groups: list[Tensor], layers: list[Tensor]
    ) -> Tensor:
        """(prompts, nodes, width) decoder states.

        Args:
            tokens: (prompts, nodes) the start token and the tree's.
            mask: (prompts, prompt tokens) 1 where a token of a prompt stands.
            at: (prompts, nodes) see `t5_stacks.Lines`.
            groups: As many as `GROUPS` and one more, each (lines, longest) flat places of nodes.
            layers: What `T5Read` gives.
        """
        hidden = self.embed(tokens)
        crossing = padding(mask)
        biases = [self.bias(group.shape[1]) for group in groups]
        for index, block in enumerate(self.blocks):
            keys, values = layers[2 * index : 2 * index + 2]
            hidden = block(hidden, groups, biases, at, keys, values, crossing)
        found: Tensor = self.norm(hidden)
        return found


def padding(mask: Tensor) -> Tensor:
    """(prompts, 1, 1, tokens) to add to attention scores, so that padding is never looked at."""
    return (1.0 - mask[:, None, None].to(torch.float32)) * LOWEST


class _Distances(nn.Module):
    """Position biases by distance: beyond the farthest one that T5 tells apart all are equal."""

    def __init__(self, attention: Any, both_ways: bool) -> None:
        super().__init__()
        self.farthest = int(attention.relative_attention_max_distance)
        length = self.farthest + 1
        with torch.no_grad():
            square = attention.compute_bias(length, length)[0].float()
        back, ahead = square[:, -1], square[:, 0, 1:]
        if not both_ways:
            ahead = torch.full_like(ahead, LOWEST)
        self.table = fixed(torch.cat([back, ahead], dim=1).t().contiguous())

    def forward(self, length: int) -> Tensor:
        """(1, heads, length, length) biases."""
        places = torch.arange(length)
        apart = places[None, :] - places[:, None]
        apart = apart.clamp(-self.farthest, self.farthest) + self.farthest
        return F.embedding(apart, self.table).permute(2, 0, 1)[None]


class _Heads(nn.Module):
    """Several projections of the same states by one matrix, then apart and by head."""

    def __init__(self, attention: Any, parts: tuple[Any, ...], int8: bool) -> None:
        super().__init__()
        self.heads, self.width = int(attention.n_heads), int(attention.key_value_proj_dim)
        self.count = len(parts)
        self.project = Projection(torch.cat([part.weight for part in parts]), by_row=int8)

    def forward(self, states: Tensor) -> tuple[Tensor, ...]:
        """Of (rows, tokens, width) each part as (rows, heads, tokens, head width)."""
        return self.apart(self.project(states))

    def apart(self, projected: Tensor) -> tuple[Tensor, ...]:
        """The parts of what the matrix gave, by head."""
        shape = (*projected.shape[:2], self.heads, self.width)
        parts = projected.chunk(self.count, dim=-1)
        return tuple(part.reshape(shape).transpose(1, 2) for part in parts)


class _EncoderBlock(nn.Module):
    def __init__(self, block: Any, int8: bool) -> None:
        super().__init__()
        attention = block.layer[0].SelfAttention
        self.norm = _Norm(block.layer[0].layer_norm)
        self.heads = _Heads(attention, (attention.q, attention.k, attention.v), int8)
        self.out = Projection(attention.o.weight, by_row=int8)
        self.feed_forward = _FeedForward(block.layer[-1], int8)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        queries, keys, values = self.heads(self.norm(hidden))
        hidden = hidden + self.out(attend(queries, keys, values, bias))
        found: Tensor = hidden + self.feed_forward(hidden)
        return found


class _DecoderBlock(nn.Module):
    def __init__(self, block: Any, int8: bool) -> None:
        super().__init__()
        attention, crossing = block.layer[0].SelfAttention, block.layer[1].EncDecAttention
        self.norm = _Norm(block.layer[0].layer_norm)
        self.heads = _Heads(attention, (attention.q, attention.k, attention.v), int8)
        self.out = Projection(attention.o.weight, by_row=int8)
        self.cross_norm = _Norm(block.layer[1].layer_norm)
        self.cross_queries = _Heads(crossing, (crossing.q,), int8)
        self.cross_out = Projection(crossing.o.weight, by_row=int8)
        self.feed_forward = _FeedForward(block.layer[-1], int8)

    def forward(
        self,
        hidden: Tensor,
        groups: list[Tensor],
        biases: list[Tensor],
        at: Tensor,
        keys: Tensor,
        values: Tensor,
        crossing: Tensor,
    ) -> Tensor:
        projected = self.heads.project(self.norm(hidden)).flatten(0, 1)
        seen = [
            self._along(F.embedding(group, projected), bias)
            for group, bias in zip(groups, biases, strict=True)
        ]
        along = F.embedding(at, torch.cat(seen))
        hidden = hidden + self.out(along)
        (queries,) = self.cross_queries(self.cross_norm(hidden))
        hidden = hidden + self.cross_out(attend(queries, keys, values, crossing))
        found: Tensor = hidden + self.feed_forward(hidden)
        return found

    def _along(self, projected: Tensor, bias: Tensor) -> Tensor:
        """(lines · longest, inner width) what nodes see of their lines."""
        queries, keys, values = self.heads.apart(projected)
        return attend(queries, keys, values, bias).flatten(0, 1)


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """(rows, tokens, inner width); T5 does not scale its scores."""
    scores = queries @ keys.transpose(-1, -2) + bias
    return (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)


class _FeedForward(nn.Module):
    def __init__(self, layer: Any, int8: bool) -> None:
        super().__init__()
        dense = layer.DenseReluDense
        self.gated = hasattr(dense, "wi_0")
        inner = [dense.wi_0.weight, dense.wi_1.weight] if self.gated else [dense.wi.weight]
        self.norm = _Norm(layer.layer_norm)
        self.wi = Projection(torch.cat(inner), by_row=int8)
        self.wo = Projection(dense.wo.weight, by_row=int8)
        self.act = dense.act

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.wi(self.norm(hidden))
        if self.gated:
            gate, inner = inner.chunk(2, dim=-1)
            inner = self._activate(gate) * inner
        else:
            inner = self._activate(inner)
        found: Tensor = self.wo(inner)
        return found

    def _activate(self, values: Tensor) -> Tensor:
        if type(self.act).__name__ == "NewGELUActivation":
            return F.gelu(values, approximate="tanh")
        found: Tensor = self.act(values)
        return found


class _Norm(nn.Module):
    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = fixed(norm.weight.detach().float())
        self.epsilon = float(norm.variance_epsilon)

    def forward(self, hidden: Tensor) -> Tensor:
        return root_mean_square(hidden, self.weight, self.epsilon)
