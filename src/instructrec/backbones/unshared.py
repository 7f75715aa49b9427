"""Candidates read one by one after their whole prompt: for models that cannot share a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from instructrec.backbones.likelihoods import TreeInput

LINES = 16
"""So many sequences are read at once, unless their tokens are too many."""

Read = Callable[[list[list[int]]], Tensor]
"""Sequences of ids to (sequences, longest, width) hidden states; padding stands on the right."""


@dataclass(frozen=True)
class UnsharedMemory:
    """Prompts that are read again with every candidate.

    Attributes:
        last: (prompts, width) hidden state of each prompt's last token.
        prompts: Their ids.
        tokens: The most tokens of sequences that are read at once, one sequence aside.
    """

    last: Tensor
    prompts: list[list[int]]
    tokens: int

    def select(self, rows: Tensor) -> UnsharedMemory:
        """Some of the prompts."""
        kept = [self.prompts[row] for row in rows.tolist()]
        return UnsharedMemory(self.last[rows.to(self.last.device)], kept, self.tokens)


def read_unshared(read: Read, prompts: Sequence[Sequence[int]], tokens: int) -> UnsharedMemory:
    """Read prompts alone, for what follows each at once."""
    ids = [list(prompt) for prompt in prompts]
    last = [states[-1] for states in _states(read, ids, tokens)]
    return UnsharedMemory(torch.stack(last), ids, tokens)


def follow_unshared(read: Read, memory: UnsharedMemory, tree: TreeInput) -> Tensor:
    """(prompts, nodes, width) hidden states of tree nodes, each line read with its prompt."""
    hidden = memory.last[:, None].repeat(1, tree.tokens.shape[1], 1)
    for row, prompt in enumerate(memory.prompts):
        # A node that nobody else looks at ends a line; its line is what it looks at.
        ends = torch.nonzero(tree.mask[row].sum(0) == 1).flatten().tolist()
        lines = [torch.nonzero(tree.mask[row, end]).flatten() for end in ends]
        sequences = [prompt + tree.tokens[row, line].tolist() for line in lines]
        for line, states in zip(lines, _states(read, sequences, memory.tokens), strict=True):
            hidden[row, line.to(hidden.device)] = states[len(prompt) :]
    return hidden


def _states(read: Read, sequences: list[list[int]], tokens: int) -> list[Tensor]:
    """(length, width) hidden states of each sequence, sequences of like length together."""
    found: list[Tensor] = [torch.empty(0)] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
    lines = max(min(LINES, tokens // max(map(len, sequences), default=1)), 1)
    for start in range(0, len(order), lines):
        places = order[start : start + lines]
        states = read([sequences[place] for place in places])
        for line, place in enumerate(places):
            found[place] = states[line, : len(sequences[place])]
    return found
