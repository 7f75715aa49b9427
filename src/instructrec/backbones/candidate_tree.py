"""Candidates as a prefix tree: every shared beginning stands, and is computed, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CandidateTree:
    """The prefix tree of token sequences; the root, the end of the prompt, is not a node.

    Attributes:
        tokens: (nodes,) the token of each node, in depth-first order.
        parents: (nodes,) the node before each, -1 where that is the root; smaller than the node.
        depths: (nodes,) 0 for the first token of a candidate.
        rows: (nodes,) a line of ``sorted_paths`` that runs through the node.
        sorted_paths: (candidates, longest) the nodes of each candidate in token order, -1 beyond
            its end.
        places: (candidates,) the line of ``sorted_paths`` that is the candidate's.
        lengths: (candidates,) tokens of each candidate.
    """

    tokens: Ints
    parents: Ints
    depths: Ints
    rows: Ints
    sorted_paths: Ints
    places: Ints
    lengths: Ints

    @classmethod
    def build(cls, candidates: Sequence[Sequence[int]]) -> CandidateTree:
        """The tree of candidates; equal ones share all their nodes."""
        lengths = np.fromiter((len(ids) for ids in candidates), np.int64, len(candidates))
        width = int(lengths.max(initial=0))
        here = np.arange(width) < lengths[:, None]
        grid = np.full((len(candidates), width), -1, dtype=np.int64)
        total = int(lengths.sum())
        grid[here] = np.fromiter(chain.from_iterable(candidates), np.int64, total)
        order = np.lexsort(grid.T[::-1]) if width else np.arange(len(candidates))
        grid, here = grid[order], here[order]
        same = np.zeros_like(here)
        same[1:] = np.logical_and.accumulate(grid[1:] == grid[:-1], axis=1)
        new = here & ~same
        ids = np.where(new, np.cumsum(new).reshape(new.shape) - 1, -1)
        paths = np.where(here, np.maximum.accumulate(ids, axis=0), -1)
        before = np.concatenate([np.full((len(grid), 1), -1), paths[:, :-1]], axis=1)[:, :width]
        rows, depths = np.nonzero(new)
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return cls(grid[new], before[new], depths, rows, paths, places, lengths)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def inner(self) -> NDArray[np.bool_]:
        """(nodes,) whether a node has children, so that the model must read it."""
        inner = np.zeros(len(self), dtype=bool)
        inner[self.parents[self.parents >= 0]] = True
        return inner

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(candidates,) a candidate's nodes' ``values`` (nodes,), summed."""
        sums: NDArray[np.float64] = np.append(values, 0.0)[self.sorted_paths].sum(axis=1)
        return sums[self.places]

    def blocks(self, most: int) -> Iterator[tuple[Ints, Ints]]:
        """Inner nodes in blocks of at most ``most``, in order.

        Yields:
            The nodes before the block's first one (they lie before all of its nodes that do not
            begin within the block, since the order is depth-first), and the block.
        """
        inner = np.flatnonzero(self.inner)
        for start in range(0, len(inner), most):
            block = inner[start : start + most]
            yield self.line(block[:1])[0, : self.depths[block[0]]], block

    def line(self, nodes: Ints) -> Ints:
        """(nodes, longest) the nodes from the root down to each node, itself last, then -1."""
        lines = self.sorted_paths[self.rows[nodes]]
        return np.where(np.arange(lines.shape[1]) <= self.depths[nodes, None], lines, -1)

    def mask(self, nodes: Ints) -> NDArray[np.bool_]:
        """(nodes, nodes) which of ``nodes`` (sorted, closed under "before") each may look at."""
        lines = self.line(nodes)
        line, _ = np.nonzero(lines >= 0)
        mask = np.zeros((len(nodes), len(nodes)), dtype=bool)
        mask[line, np.searchsorted(nodes, lines[lines >= 0])] = True
        return mask
