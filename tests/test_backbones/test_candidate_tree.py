"""The candidate tree holds exactly its candidates, each shared beginning once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from instructrec.backbones.candidate_tree import CandidateTree

CANDIDATES = st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=20)


@given(CANDIDATES)
def test_every_beginning_is_one_node(candidates: list[list[int]]) -> None:
    tree = CandidateTree.build(candidates)
    beginnings = {tuple(ids[: end + 1]) for ids in candidates for end in range(len(ids))}
    assert len(tree) == len(beginnings)
    lines = tree.line(np.arange(len(tree)))
    assert {tuple(tree.tokens[line[line >= 0]].tolist()) for line in lines} == beginnings


@given(CANDIDATES)
def test_sums_run_along_each_candidate(candidates: list[list[int]]) -> None:
    tree = CandidateTree.build(candidates)
    sums = tree.sums(tree.tokens.astype(np.float64))
    assert sums.tolist() == [sum(ids) for ids in candidates]
    assert tree.lengths.tolist() == [len(ids) for ids in candidates]


@given(CANDIDATES)
def test_parents_stand_before_their_nodes_one_step_higher(candidates: list[list[int]]) -> None:
    tree = CandidateTree.build(candidates)
    for node, parent in enumerate(tree.parents):
        assert -1 <= parent < node
        assert tree.depths[node] == (0 if parent < 0 else tree.depths[parent] + 1)


@given(CANDIDATES, st.integers(1, 5))
def test_blocks_cover_the_inner_nodes_and_bring_what_is_before(
    candidates: list[list[int]], most: int
) -> None:
    tree = CandidateTree.build(candidates)
    seen: list[int] = []
    for above, block in tree.blocks(most):
        seen += block.tolist()
        group = np.concatenate([above, block])
        assert len(block) <= most
        assert np.all(np.diff(group) > 0)
        for place, line in enumerate(tree.line(group)):
            looked_at = group[tree.mask(group)[place]].tolist()
            assert looked_at == line[line >= 0].tolist()
    assert seen == np.flatnonzero(tree.inner).tolist()
