"""Token log-likelihoods of many candidates after many prompts, each prompt read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrec.backbones.base import Likelihoods
from instructrec.backbones.candidate_tree import CandidateTree, Ints

PROMPT_TOKENS = {"cpu": 2048, "cuda": 65536}
"""Prompts are read together while their padded tokens are at most this many; on a CPU few enough
that what passes between layers stays in the cache."""

BLOCK_NODES = 384
"""So many nodes of one prompt's candidate tree are read at once; bounds the memory of long lists:
attention is (prompts, heads, nodes, prompt tokens + nodes)."""

ATTENTION = {"cpu": 2**22, "cuda": 2**27}
"""Pairs of a node and a token that it may look at, over the prompts that are read together: short
prompts with long lists are read in smaller groups, since a layer holds some numbers for each pair
and head."""

HEAD_ROWS = 256
"""So many places are turned into vocabulary logits at once; few enough to stay in the cache."""


@dataclass(frozen=True)
class TreeInput:
    """Tree nodes of several prompts, padded; padding looks at itself alone.

    Attributes:
        tokens: (prompts, nodes) int64.
        depths: (prompts, nodes) int64, 0 for a first token of a candidate.
        mask: (prompts, nodes, nodes) bool, True where a node may look at another.
    """

    tokens: Tensor
    depths: Tensor
    mask: Tensor


class Memory(Protocol):
    """Prompts that were read, ready to be continued."""

    @property
    def last(self) -> Tensor:
        """(prompts, width) the hidden state that predicts a candidate's first token."""
        ...

    def select(self, rows: Tensor) -> Memory:
        """Some of the prompts."""
        ...


class TreeReader(Protocol):
    """The part of a backbone that the engine needs."""

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        ...

    def read(self, prompts: Sequence[Sequence[int]]) -> Memory:
        """Read prompts, once."""
        ...

    def follow(self, memory: Memory, tree: TreeInput) -> Tensor:
        """(prompts, nodes, width) hidden states of tree nodes after each prompt."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, vocabulary) float32 logits of (rows, width) hidden states."""
        ...

    def edge_logits(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """(rows,) float32 logits of one token for each of (rows, width) hidden states."""
        ...


@dataclass
class _Forest:
    """The trees of a batch of prompts side by side.

    A state is a place that predicts tokens: the root or a node. State ``roots[i]`` is tree i's
    root, ``roots[i] + 1 + node`` a node's. An edge leads from a state to a node and has the
    node's number in the forest.
    """

    trees: list[CandidateTree]

    def __post_init__(self) -> None:
        sizes = np.array([len(tree) for tree in self.trees])
        self.edges = np.concatenate([[0], np.cumsum(sizes)])
        self.roots = self.edges[:-1] + np.arange(len(self.trees))
        self.tokens = np.concatenate([tree.tokens for tree in self.trees])
        pairs = zip(self.roots, self.trees, strict=True)
        self.from_state = np.concatenate([root + 1 + tree.parents for root, tree in pairs])
        self.by_state = np.argsort(self.from_state, kind="stable")
        states = int(self.edges[-1]) + len(self.trees)
        counts = np.bincount(self.from_state, minlength=states)
        self.first = np.concatenate([[0], np.cumsum(counts)])
        self.norms = np.zeros(states)
        self.values = np.zeros(len(self.tokens))

    def edges_of(self, states: Ints) -> tuple[Ints, Ints]:
        """The edges that leave ``states``, and for each the place of its state in ``states``."""
        counts = self.first[states + 1] - self.first[states]
        line = np.repeat(np.arange(len(states)), counts)
        within = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.by_state[self.first[states][line] + within], line

    def results(self, constrained: bool) -> list[Likelihoods]:
        """The sums of all trees, once every state was scored."""
        if constrained:
            self.norms = self._allowed_norms()
        steps = self.values - self.norms[self.from_state]
        return [
            Likelihoods(tree.sums(steps[start:end]), tree.lengths)
            for tree, start, end in zip(self.trees, self.edges[:-1], self.edges[1:], strict=True)
        ]

    def _allowed_norms(self) -> NDArray[np.float64]:
        norms = np.full_like(self.norms, -np.inf)
        np.logaddexp.at(norms, self.from_state, self.values)
        return norms


def tree_log_likelihoods(
    reader: TreeReader,
    prompts: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[Sequence[int]]],
    constrained: bool = False,
) -> list[Likelihoods]:
    """See `Backbone.token_log_likelihoods`.

    Prompts of like length are read together; the candidates of a prompt hang below it as a
    prefix tree, so that what two of them share is read once and equal ones score equally.
    """
    results: list[Likelihoods | None] = [None] * len(prompts)
    with torch.inference_mode():
        device = reader.device.type if reader.device.type in PROMPT_TOKENS else "cuda"
        nodes = [min(sum(map(len, one)), BLOCK_NODES) for one in candidates]
        lengths = [len(ids) for ids in prompts]
        for rows in _buckets(lengths, nodes, PROMPT_TOKENS[device], ATTENTION[device]):
            trees = [CandidateTree.build(candidates[row]) for row in rows]
            found = _score_bucket(reader, [prompts[row] for row in rows], trees, constrained)
            for row, likelihoods in zip(rows, found, strict=True):
                results[row] = likelihoods
    return [likelihoods for likelihoods in results if likelihoods is not None]


def _buckets(
    lengths: Sequence[int], nodes: Sequence[int], tokens: int, pairs: int
) -> Iterator[list[int]]:
    """Row numbers in groups of like length.

    Args:
        lengths: Tokens of each prompt.
        nodes: Nodes of each prompt's tree that are read at once, at most.
        tokens: The most tokens of a group's prompts with their padding.
        pairs: The most pairs of a node and a token that it may look at, with their padding.
    """
    group: list[int] = []
    widest = 0
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        widest = max(widest, nodes[row])
        size, length = len(group) + 1, lengths[row]
        if group and (size * length > tokens or size * widest * (length + widest) > pairs):
            yield group
            group, widest = [], nodes[row]
        group.append(row)
    if group:
        yield group


def _score_bucket(
    reader: TreeReader,
    prompts: list[Sequence[int]],
    trees: list[CandidateTree],
    constrained: bool,
) -> list[Likelihoods]:
    forest = _Forest(trees)
    memory = reader.read(prompts)
    _score_states(reader, forest, memory.last, forest.roots, constrained)
    blocks = [list(tree.blocks(BLOCK_NODES)) for tree in trees]
    for turn in range(max(map(len, blocks), default=0)):
        rows = [row for row in range(len(trees)) if len(blocks[row]) > turn]
        groups = [np.concatenate(blocks[row][turn]) for row in rows]
        part = memory if len(rows) == len(trees) else memory.select(torch.tensor(rows))
        hidden = reader.follow(part, tree_input([trees[row] for row in rows], groups))
        fresh = np.concatenate(
            [
                place * hidden.shape[1] + np.arange(len(blocks[row][turn][0]), len(group))
                for place, (row, group) in enumerate(zip(rows, groups, strict=True))
            ]
        )
        states = np.concatenate([forest.roots[row] + 1 + blocks[row][turn][1] for row in rows])
        _score_states(reader, forest, hidden.flatten(0, 1)[fresh], states, constrained)
    return forest.results(constrained)


def tree_input(trees: list[CandidateTree], groups: list[Ints]) -> TreeInput:
    """Groups of nodes as what a backbone reads.

    Args:
        trees: One for each prompt.
        groups: Of each tree the nodes to read, sorted, each with all nodes before it.
    """
    shape = (len(trees), max(map(len, groups)))
    tokens, depths = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    mask = np.broadcast_to(np.eye(shape[1], dtype=bool), (*shape, shape[1])).copy()
    for line, (tree, nodes) in enumerate(zip(trees, groups, strict=True)):
        tokens[line, : len(nodes)] = tree.tokens[nodes]
        depths[line, : len(nodes)] = tree.depths[nodes]
        mask[line, : len(nodes), : len(nodes)] = tree.mask(nodes)
    return TreeInput(torch.from_numpy(tokens), torch.from_numpy(depths), torch.from_numpy(mask))


def _score_states(
    reader: TreeReader, forest: _Forest, hidden: Tensor, states: Ints, constrained: bool
) -> None:
    """Fill in the logits of the edges that leave ``states`` and what they are normalised by."""
    for start in range(0, len(states), HEAD_ROWS):
        part = states[start : start + HEAD_ROWS]
        rows = hidden[start : start + HEAD_ROWS]
        edges, line = forest.edges_of(part)
        at, tokens = torch.from_numpy(line), torch.from_numpy(forest.tokens[edges])
        at, tokens = at.to(rows.device), tokens.to(rows.device)
        if constrained:
            chosen = reader.edge_logits(rows[at], tokens)
        else:
            logits = reader.logits(rows)
            chosen = logits[at, tokens]
            forest.norms[part] = _logsumexp_(logits).cpu().numpy()
        forest.values[edges] = chosen.cpu().numpy()


def _logsumexp_(logits: Tensor) -> Tensor:
    """(rows,) logsumexp of (rows, vocabulary), which is overwritten: no copy is made."""
    most = logits.amax(dim=-1, keepdim=True)
    return logits.sub_(most).exp_().sum(dim=-1).log_() + most[:, 0]
