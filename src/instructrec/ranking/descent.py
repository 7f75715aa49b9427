"""One request's way down the catalogue's tree: best first, a beam once patience ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instructrec.ranking.catalogue_tree import CatalogueTree, Ints

Floats = NDArray[np.float64]

PATIENCE = 24
"""Nodes that are read for each place of the beam before the search forgets all but the best."""
GROUP = 64
"""Beginnings of titles that are read on at once, at most."""
SHORT = 6
"""A search that has not ended after so many turns is a long one: twice as many beginnings are read
on at once from then on, since a forward pass costs as much as some 30 tokens on a CPU."""
AHEAD = 3
"""So many steps without a choice are read together with the one before them: each saves a forward
pass, and is lost where the title turns out unlikely. With a filter that leaves one title in 20,
three read 565 tokens in 11 passes, none 414 in 25, all of them 880 in 10."""


@dataclass(frozen=True)
class Ask:
    """Nodes to be read, and the steps below them whose log-probabilities are wanted.

    Attributes:
        nodes: (nodes,) in an order in which each stands after the one before it in its title.
        before: (nodes,) the slot of that one; -1 for a first token.
        children: (steps,) the open children of ``nodes``.
        lines: (steps,) for each the place of its parent in ``nodes``, rising; none is left out.
    """

    nodes: Ints
    before: Ints
    children: Ints
    lines: Ints


class Descent:
    """Searches for the likeliest open titles.

    A beginning of a title is at least as likely as any title it begins. So the likeliest
    beginnings are read on first, ``group`` at a time, and once ``need`` titles are known that are
    at least as likely as every beginning left, these are the answer, exactly. Where likelihoods
    are so flat that this takes more than ``patience`` nodes, all but the ``width`` likeliest
    beginnings are forgotten from then on: with patience 0 that is a beam search. Up to `AHEAD`
    steps that the open titles leave no choice in are taken with the one before them.

    Args:
        tree: The catalogue's.
        allowed: (items,) which rows may be answered; all when none.
        need: How many titles are wanted.
        beam: Beginnings that are read on at a time, and kept when patience has ended.
        patience: Nodes that are read until then; `PATIENCE` a place of the beam when none.
        is_free: Whether a step without a choice costs nothing (the rule ``constrained``).
    """

    def __init__(
        self,
        tree: CatalogueTree,
        allowed: NDArray[np.bool_] | None,
        need: int,
        beam: int,
        patience: int | None = None,
        is_free: bool = False,
    ) -> None:
        self.tree = tree
        self.need = need
        self.width = max(beam, need)
        self.group = min(self.width, GROUP)
        self.patience = PATIENCE * self.width if patience is None else patience
        self._is_free = is_free
        self._open = None if allowed is None else _open_before(tree, allowed)
        self._clear()

    def _clear(self) -> None:
        """Know nothing yet."""
        self.reads = 0
        self.turns = 0
        self.is_exact = True
        self._forgotten = -np.inf
        self._nodes = np.zeros(0, dtype=np.int64)
        self._slots = np.zeros(0, dtype=np.int64)
        self._scores = np.zeros(0)
        self._leaves = np.zeros(0, dtype=np.int64)
        self._found = np.zeros(0)
        self._bound = -np.inf
        self._asked = Ask(*(np.zeros(0, dtype=np.int64) for _ in range(4)))
        self._is_forced = np.zeros(0, dtype=np.bool_)
        self._totals = np.zeros(0)

    def begin(self) -> Ask | None:
        """What is wanted of the end of the prompt (node -1); none where nothing is open.

        A descent that was left half-way begins again.
        """
        self._clear()
        if (self.tree.leaves if self._open is None else self._open[-1]) == 0:
            return None
        root = np.array([-1])
        self._totals = np.zeros(1)
        self._asked = Ask(root, root, *self._below(root))
        self._is_forced = np.zeros(len(self._asked.children), dtype=np.bool_)
        return self._asked

    def ask(self, slot: int) -> Ask | None:
        """What to read next; none when the search has ended.

        Args:
            slot: The slot of the first node that is read; the others take the next ones.
        """
        kept = self._scores >= self._bound
        order = np.flatnonzero(kept)[np.lexsort((self._nodes[kept], -self._scores[kept]))]
        if self.reads >= self.patience and len(order) > self.width:
            self._forgotten = max(self._forgotten, float(self._scores[order[self.width]]))
            order = order[: self.width]
        group = self.group if self.turns < SHORT else min(2 * self.group, GROUP)
        picked, left = order[:group], order[group:]
        if not len(picked):
            self.is_exact = self._forgotten == -np.inf or self._forgotten < self._bound
            return None
        self._asked = self._with_forced(self._nodes[picked], self._slots[picked], slot)
        self._totals = self._scores[picked]
        self._nodes, self._slots = self._nodes[left], self._slots[left]
        self._scores = self._scores[left]
        self.reads += len(self._asked.nodes)
        self.turns += 1
        return self._asked

    def receive(self, slot: int, steps: Floats) -> None:
        """Take the log-probabilities of the steps last asked for.

        Args:
            slot: As in `ask`.
            steps: (steps,) natural logarithms.
        """
        asked = self._asked
        totals = np.concatenate([self._totals, np.zeros(len(asked.nodes) - len(self._totals))])
        # A forced step's parent stands before it: totals are filled in from the front.
        place = len(self._totals)
        reached = np.empty(len(steps))
        start = 0
        while start < len(steps):
            stop = int(np.searchsorted(asked.lines, place))
            reached[start:stop] = totals[asked.lines[start:stop]] + steps[start:stop]
            forced = start + np.flatnonzero(self._is_forced[start:stop])
            totals[place : place + len(forced)] = reached[forced]
            place, start = place + len(forced), stop
        ends = ~self._is_forced
        self._sort_out(asked.children[ends], reached[ends], slot + asked.lines[ends])

    def found(self) -> tuple[Ints, Floats]:
        """Leaves of titles found and their log-likelihoods, at most `width`, likeliest first."""
        order = np.lexsort((self._leaves, -self._found))[: self.width]
        return self._leaves[order], self._found[order]

    def _sort_out(self, nodes: Ints, scores: Floats, slots: Ints) -> None:
        """Whole titles to what was found, beginnings to what is left."""
        first, counts = self._leaves_below(nodes)
        is_whole = self.tree.ends[nodes] == nodes + 1
        if self._is_free:
            is_whole = counts == 1
        self._leaves = np.concatenate([self._leaves, first[is_whole]])
        self._found = np.concatenate([self._found, scores[is_whole]])
        if len(self._found) >= self.need:
            self._bound = float(np.partition(self._found, -self.need)[-self.need])
        self._nodes = np.concatenate([self._nodes, nodes[~is_whole]])
        self._scores = np.concatenate([self._scores, scores[~is_whole]])
        self._slots = np.concatenate([self._slots, slots[~is_whole]])

    def _with_forced(self, nodes: Ints, before: Ints, slot: int) -> Ask:
        """Nodes with what must follow them, until there is a choice or a title ends."""
        parts: list[tuple[Ints, Ints, Ints, Ints]] = []
        forced_parts: list[NDArray[np.bool_]] = []
        read = 0
        while len(nodes):
            children, line = self._below(nodes)
            is_single = np.bincount(line, minlength=len(nodes))[line] == 1
            is_inner = self.tree.ends[children] != children + 1
            is_forced = is_single & is_inner & (len(parts) < AHEAD)
            parts.append((nodes, before, children, read + line))
            forced_parts.append(is_forced)
            before = slot + read + line[is_forced]
            read += len(nodes)
            nodes = children[is_forced]
        self._is_forced = np.concatenate(forced_parts)
        return Ask(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _below(self, nodes: Ints) -> tuple[Ints, Ints]:
        """Open children of nodes, and for each the place of its parent in ``nodes``."""
        starts = self.tree.first_child[nodes + 1].astype(np.int64)
        counts = self.tree.first_child[nodes + 2] - starts
        line = np.repeat(np.arange(len(nodes)), counts)
        within = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
        children = self.tree.children[starts[line] + within].astype(np.int64)
        if self._open is None:
            return children, line
        kept = self._leaves_below(children)[1] > 0
        return children[kept], line[kept]

    def _leaves_below(self, nodes: Ints) -> tuple[Ints, Ints]:
        """The first open leaf at or below each node, and how many there are."""
        starts = self.tree.leaves_before[nodes].astype(np.int64)
        ends = self.tree.leaves_before[self.tree.ends[nodes]].astype(np.int64)
        if self._open is None:
            return starts, ends - starts
        before = self._open[starts]
        return np.searchsorted(self._open, before, side="right") - 1, self._open[ends] - before


def _open_before(tree: CatalogueTree, allowed: NDArray[np.bool_]) -> Ints:
    """(leaves + 1,) how many open leaves stand before each."""
    is_open = np.zeros(tree.leaves, dtype=np.int64)
    is_open[tree.leaf_of_row[allowed]] = 1
    return np.concatenate([[0], np.cumsum(is_open)])
