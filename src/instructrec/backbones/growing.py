"""Prompts that are continued node by node: what was read once is never read again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from instructrec.backbones.causal import CausalMemory, additive
from instructrec.backbones.likelihoods import Memory, TreeInput
from instructrec.backbones.seq2seq import Seq2SeqMemory
from instructrec.backbones.t5_stacks import attend, feed_forward, heads, norm


class Growth(Protocol):
    """Trees that grow below prompts; each node has a slot, in the order in which it was read."""

    @property
    def last(self) -> Tensor:
        """(prompts, width) the hidden state that predicts a first token."""
        ...

    def grow(self, tokens: Tensor, depths: Tensor, seen: Tensor) -> Tensor:
        """Read new nodes; they take the next slots, the same ones below every prompt.

        Args:
            tokens: (prompts, new) int64.
            depths: (prompts, new) int64, 0 for a first token.
            seen: (prompts, new, slots + new) bool, which nodes a new one may look at: those before
                it, itself among them; padding looks at itself alone.

        Returns:
            (prompts, new, width) hidden states.
        """
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with some of the prompts."""
        ...


def plant(reader: Any, prompts: Sequence[Sequence[int]], deepest: int) -> Growth:
    """Read prompts and let trees grow below them.

    Args:
        reader: A backbone.
        prompts: Ids as `Backbone.prompt_ids` gives them.
        deepest: No node will be deeper.
    """
    memory = reader.read(prompts)
    if isinstance(memory, CausalMemory):
        return CausalGrowth(reader.model, memory)
    if isinstance(memory, Seq2SeqMemory):
        return Seq2SeqGrowth(reader.model, memory, deepest)
    return RereadGrowth(reader, memory)


class CausalGrowth:
    """Below a causal model's prompts: one cache for prompt and nodes, seen through a mask."""

    def __init__(self, model: Any, memory: CausalMemory) -> None:
        self.last = memory.last
        self._model = model
        self._lengths = memory.lengths
        self._cache = _roomy_cache(memory.layers)
        places = torch.arange(memory.layers[0][0].shape[2], device=self.last.device)
        self._prompt = places < memory.lengths[:, None]

    def grow(self, tokens: Tensor, depths: Tensor, seen: Tensor) -> Tensor:
        """See `Growth.grow`."""
        device = self.last.device
        rows, new = tokens.shape
        prompt = self._prompt[:, None].expand(rows, new, -1)
        allowed = torch.cat([prompt, seen.to(device)], dim=-1)
        hidden: Tensor = self._model.base_model(
            input_ids=tokens.to(device),
            attention_mask=additive(allowed, self._model.dtype)[:, None],
            position_ids=self._lengths[:, None] + depths.to(device),
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def select(self, rows: Tensor) -> None:
        """See `Growth.select`."""
        rows = rows.to(self.last.device)
        self.last, self._prompt = self.last[rows], self._prompt[rows]
        self._lengths = self._lengths[rows]
        self._cache.batch_select_indices(rows)


def _roomy_cache(layers: Sequence[tuple[Tensor, Tensor]]) -> Any:
    """transformers' cache with room to grow, so that new keys do not move those that are there."""
    from transformers import DynamicCache

    found = DynamicCache()
    found.layers = [_roomy_layer()(keys, values) for keys, values in layers]
    return found


@cache
def _roomy_layer() -> Any:
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):  # type: ignore[misc]
        def __init__(self, keys: Tensor, values: Tensor) -> None:
            super().__init__()
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys, values
            self.room = (keys, values)

        def update(
            self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
        ) -> tuple[Tensor, Tensor]:
            old = self.keys.shape[2]
            new = old + key_states.shape[2]
            if new > self.room[0].shape[2]:
                self.room = (_moved(self.keys, new), _moved(self.values, new))
            for room, states in zip(self.room, (key_states, value_states), strict=True):
                room[:, :, old:new] = states
            self.keys, self.values = (room[:, :, :new] for room in self.room)
            return self.keys, self.values

        def batch_select_indices(self, indices: Tensor) -> None:
            self.keys, self.values = self.keys[indices], self.values[indices]
            self.room = (self.keys, self.values)

    return RoomyLayer


def _moved(states: Tensor, least: int) -> Tensor:
    """Keys or values in a buffer with room for ``least`` tokens and as many again."""
    rows, heads, tokens, width = states.shape
    room = states.new_empty((rows, heads, 2 * least, width))
    room[:, :, :tokens] = states
    return room


class Seq2SeqGrowth:
    """Below a T5-shaped model's prompts: the decoder's own keys and values are kept by slot.

    The start token has a slot of its own before all others.
    """

    def __init__(self, model: Any, memory: Seq2SeqMemory, deepest: int) -> None:
        self._decoder = model.decoder
        self._cross, self._mask = memory.layers, memory.mask
        self._own: list[tuple[Tensor, Tensor]] = []
        keys = memory.layers[0][0]
        rows, self._device = keys.shape[0], keys.device
        first = self._decoder.block[0].layer[0].SelfAttention
        reach = deepest + 2
        far = first.compute_bias(1, reach, device=self._device, past_seen_tokens=reach - 1)
        self._bias = far[0, :, 0].flip(-1).to(model.dtype)
        """(heads, distance)"""
        self._depths = torch.zeros((rows, 0), dtype=torch.long, device=self._device)
        start = torch.full((rows, 1), model.config.decoder_start_token_id)
        alone = torch.ones((rows, 1, 1), dtype=torch.bool)
        self.last = self._read(start, torch.full((rows, 1), -1), alone)[:, 0]

    def grow(self, tokens: Tensor, depths: Tensor, seen: Tensor) -> Tensor:
        """See `Growth.grow`."""
        start = torch.ones((*tokens.shape, 1), dtype=torch.bool, device=seen.device)
        return self._read(tokens, depths, torch.cat([start, seen], dim=-1))

    def select(self, rows: Tensor) -> None:
        """See `Growth.select`."""
        rows = rows.to(self._device)
        self.last, self._depths = self.last[rows], self._depths[rows]
        self._mask = None if self._mask is None else self._mask[rows]
        self._own = [(keys[rows], values[rows]) for keys, values in self._own]
        self._cross = [(keys[rows], values[rows]) for keys, values in self._cross]

    def _read(self, tokens: Tensor, depths: Tensor, seen: Tensor) -> Tensor:
        depths = depths.to(self._device)
        self._depths = torch.cat([self._depths, depths], dim=1)
        distance = (depths[:, :, None] - self._depths[:, None]).clamp(0, self._bias.shape[1] - 1)
        bias = self._bias[:, distance].transpose(0, 1)
        bias = bias + additive(seen.to(self._device), bias.dtype)[:, None]
        hidden = self._decoder.embed_tokens(tokens.to(self._device))
        kept: Sequence[tuple[Tensor, Tensor] | None] = self._own or [None] * len(self._cross)
        self._own = []
        for block, own, cross in zip(self._decoder.block, kept, self._cross, strict=True):
            attention = block.layer[0].SelfAttention
            normed = norm(block.layer[0].layer_norm, hidden)
            fresh = [heads(attention, part(normed)) for part in (attention.k, attention.v)]
            if own is not None:
                fresh = [torch.cat(pair, dim=2) for pair in zip(own, fresh, strict=True)]
            self._own.append((fresh[0], fresh[1]))
            queries = heads(attention, attention.q(normed))
            hidden = hidden + attention.o(attend(queries, fresh[0], fresh[1], bias))
            crossing = block.layer[1].EncDecAttention
            queries = heads(crossing, crossing.q(norm(block.layer[1].layer_norm, hidden)))
            hidden = hidden + crossing.o(attend(queries, *cross, self._mask))
            hidden = hidden + feed_forward(block.layer[-1], hidden)
        return norm(self._decoder.final_layer_norm, hidden)


class RereadGrowth:
    """Below prompts of any other backbone: what a new node looks at is read again with it."""

    def __init__(self, reader: Any, memory: Memory) -> None:
        self._reader = reader
        self._memory = memory
        rows = len(memory.last)
        self._tokens = torch.zeros((rows, 0), dtype=torch.long)
        self._depths = torch.zeros((rows, 0), dtype=torch.long)
        self._seen = torch.zeros((rows, 0, 0), dtype=torch.bool)

    @property
    def last(self) -> Tensor:
        """See `Growth.last`."""
        return self._memory.last

    def grow(self, tokens: Tensor, depths: Tensor, seen: Tensor) -> Tensor:
        """See `Growth.grow`."""
        self._tokens = torch.cat([self._tokens, tokens], dim=1)
        self._depths = torch.cat([self._depths, depths], dim=1)
        self._seen = torch.cat([F.pad(self._seen, (0, tokens.shape[1])), seen], dim=1)
        return torch.cat([self._grow_one(row, tokens.shape[1]) for row in range(len(tokens))])

    def select(self, rows: Tensor) -> None:
        """See `Growth.select`."""
        self._memory = self._memory.select(rows)
        self._tokens, self._depths = self._tokens[rows], self._depths[rows]
        self._seen = self._seen[rows]

    def _grow_one(self, row: int, new: int) -> Tensor:
        needed = torch.nonzero(self._seen[row, -new:].any(0)).flatten()
        tree = TreeInput(
            self._tokens[row : row + 1, needed],
            self._depths[row : row + 1, needed],
            self._seen[row : row + 1, needed][:, :, needed],
        )
        hidden: Tensor = self._reader.follow(self._memory.select(torch.tensor([row])), tree)
        return hidden[:, -new:]
