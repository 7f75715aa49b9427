"""Search of the whole catalogue: a beam along the prefix tree of its titles (task form T2)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from instructrec.backbones.base import Prompt
from instructrec.backbones.candidate_tree import CandidateTree, Ints
from instructrec.backbones.likelihoods import tree_input
from instructrec.protocols import Rows, Scores
from instructrec.ranking.likelihood import Likelihood

FEW = 200
"""So few allowed titles are all scored: no search is needed."""


class CatalogueSearch:
    """Finds the likeliest titles of a catalogue; nothing outside it can be answered.

    Args:
        likelihood: What scores titles.
        titles: Titles by catalogue row; several rows may share one.
    """

    def __init__(self, likelihood: Likelihood, titles: list[str]) -> None:
        self.likelihood = likelihood
        self.titles = titles
        names = sorted(set(titles))
        number = {name: place for place, name in enumerate(names)}
        self._name_of_row = np.array([number[title] for title in titles], dtype=np.int64)
        self._ids = likelihood.backbone.candidate_ids(names)
        self._tree = CandidateTree.build(self._ids)
        lengths = self._tree.lengths
        paths = self._tree.sorted_paths[self._tree.places]
        self._paths = paths
        self._leaf_of_name = paths[np.arange(len(names)), lengths - 1]
        order = np.argsort(self._tree.parents, kind="stable")
        self._children = order
        counts = np.bincount(self._tree.parents + 1, minlength=len(self._tree) + 1)
        self._first_child = np.concatenate([[0], np.cumsum(counts)])

    def find(
        self, prompt: Prompt | str, k: int, allowed: NDArray[np.bool_] | None, beam: int
    ) -> tuple[Rows, Scores]:
        """See `Ranker.find`."""
        rows = np.arange(len(self.titles)) if allowed is None else np.flatnonzero(allowed)
        names = np.unique(self._name_of_row[rows])
        ids = self.likelihood.backbone.prompt_ids([prompt], self.likelihood.max_tokens)
        while len(names) > FEW and beam < len(names):
            found = self._beam_search(ids[0], names, max(beam, k))
            if np.isin(self._name_of_row[rows], found).sum() >= k:
                names = found
                break
            beam *= 4
        (scores,) = self.likelihood.score_ids(ids, [[self._ids[name] for name in names]])
        kept = rows[np.isin(self._name_of_row[rows], names)]
        values = scores[np.searchsorted(names, self._name_of_row[kept])].astype(np.float32)
        best = np.lexsort((kept, -values))[:k]
        return kept[best], values[best]

    def _beam_search(self, prompt: list[int], names: Ints, beam: int) -> Ints:
        """Numbers of the titles that the beam reached, sorted."""
        open_nodes = np.zeros(len(self._tree), dtype=bool)
        open_nodes[self._paths[names][self._paths[names] >= 0]] = True
        reader = self.likelihood.backbone
        done: list[tuple[float, int]] = []
        with torch.inference_mode():
            memory = reader.read([prompt])
            nodes, scores = np.array([-1]), np.zeros(1)
            hidden = memory.last
            while len(nodes):
                children, line = self._open_children(nodes, open_nodes)
                steps = reader.logits(hidden).log_softmax(-1).cpu().double().numpy()
                reached = scores[line] + steps[line, self._tree.tokens[children]]
                is_inner = self._tree.inner[children]
                done += zip(reached[~is_inner].tolist(), children[~is_inner].tolist(), strict=True)
                done = sorted(done, reverse=True)[:beam]
                nodes, scores = children[is_inner], reached[is_inner]
                best = np.argsort(-scores, kind="stable")[:beam]
                if len(done) == beam:
                    best = best[scores[best] > done[-1][0]]
                nodes, scores = nodes[best], scores[best]
                if len(nodes):
                    group = np.unique(self._tree.line(nodes))
                    group = group[group >= 0]
                    states = reader.follow(memory, tree_input([self._tree], [group]))[0]
                    hidden = states[torch.from_numpy(np.searchsorted(group, nodes))]
        leaves = np.array([node for _, node in done], dtype=np.int64)
        return np.flatnonzero(np.isin(self._leaf_of_name, leaves))

    def _open_children(self, nodes: Ints, open_nodes: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Allowed children of ``nodes``, and for each the place of its parent in ``nodes``."""
        starts, ends = self._first_child[nodes + 1], self._first_child[nodes + 2]
        children = np.concatenate(
            [self._children[start:end] for start, end in zip(starts, ends, strict=True)]
        )
        line = np.repeat(np.arange(len(nodes)), ends - starts)
        kept = open_nodes[children]
        return children[kept], line[kept]
