"""Search of the whole catalogue (task form T2): down the prefix tree of its titles."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrec.backbones.base import Prompt
from instructrec.backbones.growing import Growth, plant
from instructrec.backbones.limits import is_out_of_memory
from instructrec.errors import InstructRecWarning, ModelError
from instructrec.protocols import SILENT, Progress, Rows, Scores
from instructrec.ranking.catalogue_tree import Ints, catalogue_tree
from instructrec.ranking.descent import Ask, Descent, Floats
from instructrec.ranking.likelihood import Likelihood

BEAM = 20
"""Beginnings of titles that are followed at a time unless set otherwise."""

Allowed = NDArray[np.bool_] | None


@dataclass(frozen=True)
class Found:
    """What the search of one request gave.

    Attributes:
        rows: Catalogue rows, best first, ties by smaller row.
        scores: Their scores by the model's rule.
        is_exact: Whether it is certain that no title left out is likelier. Under the rules
            ``mean`` and ``pmi`` it says so of the pool of likeliest titles that they order.
        reads: Tokens of titles that the model has read.
        forwards: Forward passes that took, the prompt's own left out.
    """

    rows: Rows
    scores: Scores
    is_exact: bool
    reads: int
    forwards: int


class CatalogueSearch:
    """Finds the best titles of a catalogue; nothing outside it can be answered.

    Under the rules ``sum`` and ``constrained`` the titles found are the best ones by the rule
    itself. Under ``mean`` and ``pmi``, which may rise along a title, the likeliest titles, at
    least as many as the beam is wide, are found and then ordered by the rule.

    Args:
        likelihood: What scores titles.
        titles: Titles by catalogue row; several rows may share one.
        saved: Where the tree is, or will be, saved; nowhere when left out.
        progress: Told how far making a new tree is.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        titles: Sequence[str],
        saved: Path | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.likelihood = likelihood
        backbone = likelihood.backbone
        self.tree = catalogue_tree(
            titles, backbone.tokenizer, backbone.candidate_ids, saved, progress
        )
        self._deepest = int(self.tree.depths.max(initial=0))

    def find_many(
        self,
        prompts: Sequence[Prompt | str],
        k: int,
        allowed: Sequence[Allowed] | None = None,
        beam: int = BEAM,
        patience: int | None = None,
    ) -> list[Found]:
        """See `Ranker.find_many`.

        Args:
            prompts: n rendered instructions.
            k: How many items each gets.
            allowed: n times (items,) which rows may be answered, or none where all may.
            beam: Beginnings of titles that are followed at a time.
            patience: See `Descent`.

        Raises:
            ModelError: A likelihood is not a number, or memory does not suffice for one request.
        """
        ids = self.likelihood.backbone.prompt_ids(prompts, self.likelihood.max_tokens)
        masks = [None] * len(ids) if allowed is None else list(allowed)
        rule = self.likelihood.rule
        need = k if rule in ("sum", "constrained") else max(k, beam)
        descents = [
            Descent(self.tree, mask, need, beam, patience, is_free=rule == "constrained")
            for mask in masks
        ]
        waiting = deque(self._groups(ids)) if k > 0 else deque()
        while waiting:
            group = waiting.popleft()
            if not self._try([ids[at] for at in group], [descents[at] for at in group]):
                waiting.extendleft([group[len(group) // 2 :], group[: len(group) // 2]])
        pairs = zip(descents, masks, strict=True)
        return [self._answer(descent, mask, k) for descent, mask in pairs]

    def _groups(self, ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Requests of like length that are walked together."""
        most = self.likelihood.backbone.limits.prompt_tokens
        group: list[int] = []
        for at in sorted(range(len(ids)), key=lambda at: (len(ids[at]), at)):
            if group and (len(group) + 1) * len(ids[at]) > most:
                yield group
                group = []
            group.append(at)
        if group:
            yield group

    def _try(self, prompts: list[list[int]], descents: list[Descent]) -> bool:
        """Lead descents to their ends; whether memory sufficed for so many at once."""
        try:
            self._walk(prompts, descents)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            backbone = self.likelihood.backbone
            if len(prompts) == 1:
                raise ModelError(
                    f"there is not enough memory for a search after {len(prompts[0]):,} tokens",
                    "Take a smaller model, a narrower beam, bfloat16 or another device",
                ) from None
            if not backbone.limits.halvings:
                text = "memory ran out: going on with fewer requests at once"
                warnings.warn(text, InstructRecWarning, stacklevel=4)
            backbone.limits = backbone.limits.halved()
            return False
        return True

    def _walk(self, prompts: list[list[int]], descents: list[Descent]) -> None:
        """Lead descents to their ends, side by side."""
        with torch.inference_mode():
            growth = plant(self.likelihood.backbone, prompts, self._deepest)
            lines = [_Lines(self._deepest) for _ in prompts]
            asks: dict[int, Ask] = {}
            for place, descent in enumerate(descents):
                if ask := descent.begin():
                    asks[place] = ask
            rows = list(range(len(prompts)))
            self._tell(growth.last[:, None], [rows.index(p) for p in asks], asks, descents, -1)
            slot = 0
            while True:
                asks = {p: ask for p in asks if (ask := descents[p].ask(slot))}
                if not asks:
                    return
                if 2 * len(asks) <= len(rows):
                    growth.select(torch.tensor([rows.index(place) for place in asks]))
                    rows = list(asks)
                at = [rows.index(place) for place in asks]
                hidden = self._read(growth, len(rows), at, asks, lines, slot)
                self._tell(hidden, at, asks, descents, slot)
                slot += hidden.shape[1]

    def _read(
        self,
        growth: Growth,
        rows: int,
        at: list[int],
        asks: dict[int, Ask],
        lines: list[_Lines],
        slot: int,
    ) -> Tensor:
        """(rows, new, width) states of the nodes asked for, those of ask i in row ``at[i]``."""
        new = max(len(ask.nodes) for ask in asks.values())
        tokens, depths = np.zeros((2, rows, new), dtype=np.int64)
        seen = np.zeros((rows, new, slot + new), dtype=np.bool_)
        seen[:, np.arange(new), slot + np.arange(new)] = True
        for row, (place, ask) in zip(at, asks.items(), strict=True):
            count = len(ask.nodes)
            tokens[row, :count] = self.tree.tokens[ask.nodes]
            depths[row, :count] = self.tree.depths[ask.nodes]
            node, above = lines[place].add(slot, ask.before, depths[row, :count])
            seen[row, node, above] = True
        return growth.grow(*(torch.from_numpy(part) for part in (tokens, depths, seen)))

    def _tell(
        self,
        hidden: Tensor,
        at: list[int],
        asks: dict[int, Ask],
        descents: list[Descent],
        slot: int,
    ) -> None:
        """Give each descent the log-probabilities of the steps it asked for."""
        if not asks:
            return
        nodes = [len(ask.nodes) for ask in asks.values()]
        states = torch.cat([hidden[row, :count] for row, count in zip(at, nodes, strict=True)])
        firsts = np.cumsum(nodes) - nodes
        lines = [first + ask.lines for first, ask in zip(firsts, asks.values(), strict=True)]
        children = np.concatenate([ask.children for ask in asks.values()])
        steps = self._steps(states, np.concatenate(lines), self.tree.tokens[children])
        ends = np.cumsum([len(line) for line in lines])
        for place, part in zip(asks, np.split(steps, ends[:-1]), strict=True):
            descents[place].receive(slot, part)

    def _steps(self, states: Tensor, lines: Ints, tokens: NDArray[np.int32]) -> Floats:
        """(steps,) log-probabilities of ``tokens``, each after the state ``lines`` names."""
        is_constrained = self.likelihood.rule == "constrained"
        parts = []
        most = self.likelihood.backbone.limits.head_rows
        for start in range(0, len(states), most):
            first, last = np.searchsorted(lines, [start, start + most])
            line = torch.from_numpy(lines[first:last] - start).to(states.device)
            token = torch.from_numpy(tokens[first:last].astype(np.int64)).to(states.device)
            logits = self.likelihood.backbone.logits(states[start : start + most])
            values = logits[line, token]
            if not is_constrained:
                values = values - logits.logsumexp(-1)[line]
            parts.append(np.asarray(values.double().cpu().numpy(), dtype=np.float64))
        steps = np.concatenate(parts)
        if not np.isfinite(steps).all():
            raise ModelError(
                "the language model gives a likelihood that is not a number",
                "Its weights are damaged or overflow: fetch it anew, or take float32",
            )
        return _renormalised(steps, lines) if is_constrained else steps

    def _answer(self, descent: Descent, mask: Allowed, k: int) -> Found:
        """The items of the titles found, in the order of the rule."""
        leaves, sums = descent.found()
        rows, places = self.tree.rows_of(leaves)
        scores = self._by_rule(leaves, sums)[places].astype(np.float32)
        if mask is not None:
            rows, scores = rows[mask[rows]], scores[mask[rows]]
        best = np.lexsort((rows, -scores))[:k]
        return Found(rows[best], scores[best], descent.is_exact, descent.reads, descent.turns)

    def _by_rule(self, leaves: Ints, sums: Floats) -> Floats:
        rule = self.likelihood.rule
        if rule == "mean":
            return sums / (self.tree.depths[self.tree.leaf_nodes[leaves]].astype(np.float64) + 1.0)
        if rule == "pmi":
            ids = [self.tree.path(leaf) for leaf in leaves.tolist()]
            (without,) = self.likelihood.without_user([ids])
            return sums - self.likelihood.pmi_weight * without
        return sums


class _Lines:
    """For each slot of one request the slots on the way to it, itself last."""

    def __init__(self, deepest: int) -> None:
        self._lines = np.full((64, deepest + 1), -1, dtype=np.int32)

    def add(self, slot: int, before: Ints, depths: Ints) -> tuple[Ints, Ints]:
        """Take nodes into slots.

        Args:
            slot: The first of them.
            before: (nodes,) the slot before each node, -1 where that is the prompt.
            depths: (nodes,) their depths.

        Returns:
            Pairs of a node's place and a slot that it may look at.
        """
        stop = slot + len(before)
        while stop > len(self._lines):
            self._lines = np.concatenate([self._lines, np.full_like(self._lines, -1)])
        for at, above, depth in zip(
            range(slot, stop), before.tolist(), depths.tolist(), strict=True
        ):
            if above >= 0:
                self._lines[at] = self._lines[above]
            self._lines[at, depth] = at
        node, place = np.nonzero(self._lines[slot:stop] >= 0)
        return node, self._lines[slot + node, place].astype(np.int64)


def _renormalised(values: Floats, lines: Ints) -> Floats:
    """Logits as log-probabilities among the steps of the same line; ``lines`` rise."""
    starts = np.flatnonzero(np.diff(lines, prepend=-1))
    counts = np.diff(starts, append=len(lines))
    most = np.maximum.reduceat(values, starts)
    total = np.add.reduceat(np.exp(values - np.repeat(most, counts)), starts)
    normed: Floats = values - np.repeat(most + np.log(total), counts)
    return normed
