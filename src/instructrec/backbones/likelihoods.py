"""Token log-likelihoods of many candidates after many prompts, each prompt read once."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrec.backbones.base import MAX_CANDIDATE_TOKENS, Likelihoods
from instructrec.backbones.candidate_tree import CandidateTree, Ints
from instructrec.backbones.limits import SMALLEST_BLOCK, Limits, is_out_of_memory
from instructrec.errors import InstructRecWarning, ModelError

T = TypeVar("T")

LINE_LENGTHS = np.array([14, 30, 62, 126, MAX_CANDIDATE_TOKENS])
"""Lines of candidates up to each of these depths are read together, so that few long titles among
many short ones cost little."""


_NOT_A_NUMBER = "the language model gives a likelihood that is not a number"
_DAMAGED = "Its weights are damaged or overflow: fetch it anew, or take float32"


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

    def lines_with_root(self, lengths: Ints = LINE_LENGTHS) -> tuple[list[Ints], Ints]:
        """The trees as lines, each from the root, place 0 of its prompt, to a node that ends one.

        Args:
            lengths: Lines up to each of these depths are put together.

        Returns:
            Lines of like length together, each (lines, longest) flat places of nodes, prompt ·
            (1 + nodes) + 1 + node, the end of a shorter line filled with its prompt's root; and
            for each flat place where it stands in the flattened groups, one after the other.
        """
        rows, nodes = self.tokens.shape
        if nodes == 0:
            return [np.arange(rows)[:, None]], np.arange(rows)
        mask = self.mask.cpu().numpy()
        # A node that only itself looks at ends a line; its line is what it looks at.
        tree, end = np.nonzero(mask.sum(axis=1) == 1)
        depths = self.depths.cpu().numpy()
        ends = depths[tree, end]
        edges = lengths[: np.searchsorted(lengths, ends.max()) + 1]
        at = np.zeros(rows * (nodes + 1), dtype=np.int64)
        groups, before = [], 0
        for which in range(len(edges)):
            chosen = np.flatnonzero(np.searchsorted(edges, ends) == which)
            if not len(chosen):
                continue
            line, node = np.nonzero(mask[tree[chosen], end[chosen]])
            root, depth = tree[chosen] * (nodes + 1), depths[tree[chosen][line], node]
            places = np.repeat(root[:, None], int(ends[chosen].max()) + 2, axis=1)
            places[line, depth + 1] = root[line] + 1 + node
            stands = before + np.arange(places.size).reshape(places.shape)
            at[places[line, depth + 1]] = stands[line, depth + 1]
            at[root] = stands[:, 0]
            groups.append(places)
            before += places.size
        return groups, at


class Memory(Protocol):
    """Prompts that were read, ready to be continued."""

    @property
    def last(self) -> Tensor:
        """(prompts, width) the hidden state that predicts a candidate's first token."""
        ...

    def select(self, rows: Tensor) -> Memory:
        """Some of the prompts."""
        ...


class Limited(Protocol):
    """What reads less at once when memory runs out.

    Attributes:
        limits: The most that is read at once; halved when memory runs out.
    """

    limits: Limits

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        ...


class TreeReader(Limited, Protocol):
    """The part of a backbone that the engine needs."""

    def read(self, prompts: Sequence[Sequence[int]]) -> Memory:
        """Read prompts, once."""
        ...

    def follow(self, memory: Memory, tree: TreeInput) -> Tensor:
        """(prompts, nodes, width) hidden states of tree nodes after each prompt."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, vocabulary) float32 logits of (rows, width) hidden states."""
        ...

    def log_normalizers(self, hidden: Tensor) -> Tensor:
        """(rows,) float32 logsumexp over the vocabulary of (rows, width) hidden states' logits."""
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
    Where memory runs out, half as much is read at once from then on.

    Raises:
        ModelError: A score is not a number, or memory does not suffice for a single prompt.
    """
    results: list[Likelihoods | None] = [None] * len(prompts)
    lengths = [len(ids) for ids in prompts]
    nodes = [sum(map(len, one)) for one in candidates]
    with torch.inference_mode():
        waiting = deque(_buckets(range(len(prompts)), lengths, nodes, reader.limits))
        while waiting:
            rows = waiting.popleft()
            lists = [candidates[row] for row in rows]
            found = _try_bucket(reader, [prompts[row] for row in rows], lists, constrained)
            if found is None:
                left = [row for group in (rows, *waiting) for row in group]
                waiting = deque(_buckets(left, lengths, nodes, reader.limits))
                continue
            for row, likelihoods in zip(rows, found, strict=True):
                results[row] = likelihoods
    return [likelihoods for likelihoods in results if likelihoods is not None]


def memory_log_likelihoods(
    reader: TreeReader, memory: Memory, candidates: Sequence[Sequence[int]]
) -> Likelihoods:
    """Log-likelihoods of candidates after one prompt that was read before.

    Args:
        reader: The model that read it.
        memory: Of this one prompt; it is not changed.
        candidates: As `Backbone.candidate_ids` gives them.

    Where memory runs out, half as much is read at once from then on.

    Raises:
        ModelError: A score is not a number, or memory does not suffice for the smallest part.
    """

    def score() -> Likelihoods:
        trees = [CandidateTree.build(candidates)]
        return _score_trees(reader, memory, trees, False)[0]

    with torch.inference_mode():
        found = within_memory(reader, score, f"{len(candidates):,} candidates after a prompt")
    if not np.isfinite(found.sums).all():
        raise ModelError(_NOT_A_NUMBER, _DAMAGED)
    return found


def _buckets(
    rows: Sequence[int], lengths: Sequence[int], nodes: Sequence[int], limits: Limits
) -> Iterator[list[int]]:
    """Row numbers in groups of like length.

    Args:
        rows: The numbers to group.
        lengths: Tokens of each prompt.
        nodes: Nodes of each prompt's tree, at most.
        limits: The most a group may hold.
    """
    group: list[int] = []
    widest = 0
    for row in sorted(rows, key=lambda row: (lengths[row], row)):
        block = min(nodes[row], limits.block_nodes)
        widest = max(widest, block)
        size, length = len(group) + 1, lengths[row]
        pairs = size * widest * (length + widest)
        if group and (size * length > limits.prompt_tokens or pairs > limits.pairs):
            yield group
            group, widest = [], block
        group.append(row)
    if group:
        yield group


def _try_bucket(
    reader: TreeReader,
    prompts: list[Sequence[int]],
    candidates: list[Sequence[Sequence[int]]],
    constrained: bool,
) -> list[Likelihoods] | None:
    """The likelihoods of a bucket; none where memory ran out and the limits were halved.

    Raises:
        ModelError: See `tree_log_likelihoods`.
    """

    def score() -> list[Likelihoods]:
        trees = [CandidateTree.build(one) for one in candidates]
        return _score_trees(reader, reader.read(prompts), trees, constrained)

    what = f"a prompt of {len(prompts[0]):,} tokens and {len(candidates[0]):,} candidates"
    found = _attempt(reader, score, what, can_split=len(prompts) > 1)
    if found is not None and not all(np.isfinite(one.sums).all() for one in found):
        raise ModelError(_NOT_A_NUMBER, _DAMAGED)
    return found


def within_memory(
    reader: Limited, work: Callable[[], T], what: str, free: Callable[[], None] | None = None
) -> T:
    """Do something again and again with lower limits until it fits.

    Args:
        reader: The model that does it; its limits are halved where memory runs out.
        work: What is to be done.
        what: That in words, for the error.
        free: Lets go of what may be held in vain, before each further try.

    Raises:
        ModelError: Memory does not suffice at the lowest limits either.
    """
    while (found := _attempt(reader, work, what)) is None:
        if free is not None:
            free()
    return found


def _attempt(
    reader: Limited, work: Callable[[], T], what: str, can_split: bool = False
) -> T | None:
    """What ``work`` gives; none where memory ran out and the limits were halved.

    Raises:
        ModelError: Memory ran out, the limits are the lowest and the work cannot be split.
    """
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if not can_split and reader.limits.block_nodes <= SMALLEST_BLOCK:
            raise ModelError(
                f"there is not enough memory on {reader.device} for {what}",
                "Take a smaller model, bfloat16, shorter prompts or another device",
            ) from None
    # Not before the error is gone, since its traceback holds what was read.
    _shrink(reader)
    return None


def _shrink(reader: Limited) -> None:
    """Halve what is read at once, and say so the first time."""
    if not reader.limits.halvings:
        warnings.warn(
            f"memory ran out on {reader.device}: going on with smaller batches; "
            "a lower memory limit from the start saves the failed tries",
            InstructRecWarning,
            stacklevel=2,
        )
    reader.limits = reader.limits.halved()
    if reader.device.type == "cuda":
        torch.cuda.empty_cache()


def _score_trees(
    reader: TreeReader, memory: Memory, trees: list[CandidateTree], constrained: bool
) -> list[Likelihoods]:
    forest = _Forest(trees)
    blocks = [list(tree.blocks(reader.limits.block_nodes)) for tree in trees]
    together = bool(blocks) and all(blocks)
    if not together:
        _score_states(reader, forest, memory.last, forest.roots, constrained)
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
        found = hidden.flatten(0, 1)[fresh]
        if turn == 0 and together:
            # The roots' states cost least, and a model's head is used best, with the first nodes.
            found = torch.cat([memory.last, found])
            states = np.concatenate([forest.roots, states])
        _score_states(reader, forest, found, states, constrained)
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
    parts = -(-len(states) // reader.limits.head_rows)
    most = -(-len(states) // max(parts, 1))
    for start in range(0, len(states), most or 1):
        part, rows = states[start : start + most], hidden[start : start + most]
        edges, line = forest.edges_of(part)
        at, tokens = torch.from_numpy(line), torch.from_numpy(forest.tokens[edges])
        at, tokens = at.to(rows.device), tokens.to(rows.device)
        forest.values[edges] = reader.edge_logits(rows[at], tokens).cpu().numpy()
        if not constrained:
            forest.norms[part] = reader.log_normalizers(rows).cpu().numpy()
