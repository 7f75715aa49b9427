"""How much the likelihood engine reads at once, and what counts as memory that ran out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt

import torch

SMALLEST_BLOCK = 16
"""Blocks of nodes are not halved further: so few take next to nothing."""

_MEBIBYTE = 2**20
_SIGNS = (
    "not enough memory",
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


@dataclass(frozen=True)
class Cost:
    """What a model holds while it reads, in bytes; estimates from its configuration.

    Attributes:
        token: For each token of a prompt: keys, values and what passes between layers.
        pair: For each pair of a node and a token that it may look at.
        row: For each place that is turned into vocabulary logits.
    """

    token: int
    pair: int
    row: int


@dataclass(frozen=True)
class Limits:
    """The most that is read at once; one prompt, whatever its length, is always read.

    Attributes:
        prompt_tokens: Tokens of prompts that are read together, their padding included; on a CPU
            few enough that what passes between layers stays in the cache.
        block_nodes: Nodes of one prompt's candidate tree; attention is (prompts, heads, nodes,
            prompt tokens + nodes), so this bounds the memory of long lists.
        pairs: Pairs of a node and a token that it may look at, over the prompts read together:
            short prompts with long lists are read in smaller groups, since a layer holds some
            numbers for each pair and head.
        head_rows: Places that are turned into vocabulary logits; few enough to stay in the cache.
        halvings: How often memory has run out.
    """

    prompt_tokens: int
    block_nodes: int
    pairs: int
    head_rows: int
    halvings: int = 0

    @classmethod
    def usual(cls, device: str) -> Limits:
        """What is fastest on a kind of device (``cpu``, ``cuda``)."""
        if device == "cpu":
            return cls(prompt_tokens=2048, block_nodes=384, pairs=2**22, head_rows=256)
        return cls(prompt_tokens=65536, block_nodes=384, pairs=2**27, head_rows=256)

    def within(self, mebibytes: float, cost: Cost) -> Limits:
        """These limits, lowered so that about ``mebibytes`` suffice beside the weights.

        Half of the memory is for prompts, a quarter for attention among candidates and a quarter
        for logits.
        """
        room = mebibytes * _MEBIBYTE
        pairs = min(self.pairs, max(int(room / 4 / cost.pair), 1))
        return replace(
            self,
            prompt_tokens=min(self.prompt_tokens, max(int(room / 2 / cost.token), 1)),
            block_nodes=min(self.block_nodes, max(isqrt(pairs) // 2, SMALLEST_BLOCK)),
            pairs=pairs,
            head_rows=min(self.head_rows, max(int(room / 4 / cost.row), 1)),
        )

    def halved(self) -> Limits:
        """Half of everything, for when memory ran out."""
        return Limits(
            prompt_tokens=max(self.prompt_tokens // 2, 1),
            block_nodes=max(self.block_nodes // 2, min(self.block_nodes, SMALLEST_BLOCK)),
            pairs=max(self.pairs // 2, 1),
            head_rows=max(self.head_rows // 2, 1),
            halvings=self.halvings + 1,
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no room, on a GPU or in main memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
