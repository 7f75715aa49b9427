"""T5's encoder and decoder over packed prefix trees, by plain tensor operations on its weights.

The same sums as transformers' own layers, without what a forward pass for one text needs: the
encoder's keys and values are made once for all candidates, nodes of a tree go through projections
and feed-forward layers once each, and self-attention runs along the tree's lines, so that its cost
grows with the candidates' tokens and not with their square.

Source: Raffel et al. 2020 (T5), with the layers of transformers' ``modeling_t5``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Layers = list[tuple[Tensor, Tensor]]
"""Of each decoder layer keys and values of the prompts, (prompts, heads, tokens, head width)."""


class Lines(NamedTuple):
    """Where the nodes of trees stand in lines from their root; place 0 is the start token.

    Attributes:
        groups: Lines of like length together, each (lines, longest) flat places of nodes (prompt ·
            nodes + node); the end of a shorter line is filled with any place, for nothing before
            it looks there.
        at: (prompts · nodes,) where in the flattened groups, one after the other, each node's
            state is taken from.
    """

    groups: list[Tensor]
    at: Tensor


def encode(stack: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """(prompts, tokens, width) encoder states.

    Args:
        stack: transformers' encoder.
        ids: (prompts, tokens).
        mask: (prompts, tokens) 1 where a token stands.
    """
    hidden = stack.embed_tokens(ids)
    first = stack.block[0].layer[0].SelfAttention
    bias = first.compute_bias(ids.shape[1], ids.shape[1], device=ids.device).to(hidden.dtype)
    bias = (bias + padding(mask, hidden.dtype)).contiguous()
    for block in stack.block:
        attention = block.layer[0].SelfAttention
        normed = norm(block.layer[0].layer_norm, hidden)
        queries, keys, values = (heads(attention, part(normed)) for part in _projections(attention))
        hidden = hidden + attention.o(attend(queries, keys, values, bias))
        hidden = hidden + feed_forward(block.layer[-1], hidden)
    return norm(stack.final_layer_norm, hidden)


def cross_layers(stack: Any, encoded: Tensor) -> Layers:
    """Keys and values that all candidates of a prompt share (see `Layers`)."""
    attentions = [block.layer[1].EncDecAttention for block in stack.block]
    return [
        (
            heads(attention, attention.k(encoded)).contiguous(),
            heads(attention, attention.v(encoded)).contiguous(),
        )
        for attention in attentions
    ]


def decode(
    stack: Any, tokens: Tensor, lines: Lines, layers: Layers, cross_mask: Tensor | None
) -> Tensor:
    """(prompts, nodes, width) decoder states of tree nodes.

    Args:
        stack: transformers' decoder.
        tokens: (prompts, nodes) the start token and the tree's.
        lines: Where they stand.
        layers: What `cross_layers` gave.
        cross_mask: (prompts, 1, 1, prompt tokens) to add to the attention to a prompt.
    """
    hidden = stack.embed_tokens(tokens)
    first = stack.block[0].layer[0].SelfAttention
    longest = max(group.shape[1] for group in lines.groups)
    bias = _causal_bias(first, longest, hidden)
    for block, (keys, values) in zip(stack.block, layers, strict=True):
        attention = block.layer[0].SelfAttention
        normed = norm(block.layer[0].layer_norm, hidden)
        parts = [part(normed).flatten(0, 1) for part in _projections(attention)]
        along = torch.cat([_along(attention, parts, group, bias) for group in lines.groups])
        seen = along.index_select(0, lines.at).view(*tokens.shape, -1)
        hidden = hidden + attention.o(seen)
        crossing = block.layer[1].EncDecAttention
        queries = heads(crossing, crossing.q(norm(block.layer[1].layer_norm, hidden)))
        hidden = hidden + crossing.o(attend(queries, keys, values, cross_mask))
        hidden = hidden + feed_forward(block.layer[-1], hidden)
    return norm(stack.final_layer_norm, hidden)


def _along(attention: Any, parts: list[Tensor], places: Tensor, bias: Tensor) -> Tensor:
    """(lines · longest, inner width) what nodes see of their lines."""
    length = places.shape[1]
    rows = [part.index_select(0, places.flatten()) for part in parts]
    queries, keys, values = (heads(attention, part.view(*places.shape, -1)) for part in rows)
    seen = attend(queries, keys, values, bias[:, :, :length, :length].contiguous())
    return seen.flatten(0, 1)


def padding(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(prompts, 1, 1, tokens) to add to attention scores, so that padding is never looked at."""
    return (1 - mask[:, None, None].to(dtype)) * torch.finfo(dtype).min


def _causal_bias(attention: Any, length: int, like: Tensor) -> Tensor:
    """(1, heads, length, length) position bias, the lowest number where a node looks ahead."""
    bias: Tensor = attention.compute_bias(length, length, device=like.device).to(like.dtype)
    lowest = torch.finfo(like.dtype).min
    ahead = torch.full((length, length), lowest, dtype=like.dtype, device=like.device)
    return bias + ahead.triu(1)


def _projections(attention: Any) -> tuple[Any, Any, Any]:
    return attention.q, attention.k, attention.v


def heads(attention: Any, states: Tensor) -> Tensor:
    """(rows, tokens, inner width) as (rows, heads, tokens, head width).

    Args:
        attention: transformers' T5Attention.
        states: Queries, keys or values.
    """
    apart = states.view(*states.shape[:-1], attention.n_heads, attention.key_value_proj_dim)
    return apart.transpose(-2, -3)


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """(rows, tokens, inner width) what queries see; T5 does not scale its scores.

    Args:
        queries: (rows, heads, tokens, head width).
        keys: (rows, heads, places, head width).
        values: As the keys.
        bias: To add to the scores, broadcast to (rows, heads, tokens, places).
    """
    seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=1.0)
    return seen.transpose(1, 2).flatten(2)


def norm(norm: Any, hidden: Tensor) -> Tensor:
    """Root mean square layer norm, its mean in float32 as transformers has it.

    Args:
        norm: transformers' T5LayerNorm.
        hidden: (…, width).
    """
    scale = torch.rsqrt(hidden.float().square().mean(-1, keepdim=True) + norm.variance_epsilon)
    normed: Tensor = (hidden * scale).to(norm.weight.dtype) * norm.weight
    return normed


def feed_forward(layer: Any, hidden: Tensor) -> Tensor:
    """What a feed-forward layer adds to its input.

    Args:
        layer: transformers' T5LayerFF.
        hidden: (…, width).
    """
    dense, normed = layer.DenseReluDense, norm(layer.layer_norm, hidden)
    if hasattr(dense, "wi_0"):
        inner = _activate(dense.act, dense.wi_0(normed)) * dense.wi_1(normed)
    else:
        inner = _activate(dense.act, dense.wi(normed))
    # transformers keeps this one layer in float32 for some checkpoints of half precision.
    found: Tensor = dense.wo(inner.to(dense.wo.weight.dtype))
    return found


def _activate(act: Any, values: Tensor) -> Tensor:
    """The layer's activation; GELU's tanh form in one pass instead of eight."""
    if type(act).__name__ == "NewGELUActivation":
        return F.gelu(values, approximate="tanh")
    found: Tensor = act(values)
    return found
