"""What grows node by node below a prompt has the states of a tree that is read in one go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from instructrec.backbones import Backbone
from instructrec.backbones.candidate_tree import CandidateTree
from instructrec.backbones.growing import CausalGrowth, RereadGrowth, Seq2SeqGrowth, plant
from instructrec.backbones.likelihoods import tree_input

PROMPTS = [[5, 9, 12, 31, 8], [7, 7, 22], [40, 3, 18, 26, 11, 5]]
TITLES = [[30, 31, 32, 2], [30, 31, 2], [30, 40, 41, 42, 43, 2], [50, 2], [30, 31, 32, 60, 2]]


@pytest.fixture(params=["shared", "unshared"])
def reader(
    own: Backbone, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Backbone:
    """Of each family; a causal one also as an architecture that cannot share a prompt."""
    if own.family == "causal":
        monkeypatch.setitem(own.__dict__, "can_share", request.param == "shared")
    elif request.param == "unshared":
        pytest.skip("an encoder's prompt is always shared")
    return own


def test_each_family_has_its_way_to_grow(reader: Backbone) -> None:
    growth = plant(reader, PROMPTS, 8)
    assert isinstance(growth, CausalGrowth | Seq2SeqGrowth | RereadGrowth)
    with torch.inference_mode():
        torch.testing.assert_close(growth.last, reader.read(PROMPTS).last, atol=1e-5, rtol=1e-4)


def _pieces(tree: CandidateTree, rng: np.random.Generator) -> list[np.ndarray]:
    """The nodes in random pieces, each node after the one before it."""
    known, left, pieces = {-1}, set(range(len(tree))), []
    while left:
        ready = sorted(node for node in left if tree.parents[node] in known)
        piece = rng.permutation(ready)[: rng.integers(1, 4)]
        pieces.append(piece)
        known |= set(piece.tolist())
        left -= known
    return pieces


@pytest.mark.parametrize("seed", range(4))
def test_states_do_not_depend_on_the_pieces_in_which_a_tree_grows(
    reader: Backbone, seed: int
) -> None:
    tree = CandidateTree.build(TITLES)
    nodes = np.arange(len(tree))
    rng = np.random.default_rng(seed)
    with torch.inference_mode():
        whole = reader.follow(reader.read(PROMPTS), tree_input([tree] * 3, [nodes] * 3))
        growth = plant(reader, PROMPTS, 8)
        rows = [0, 1, 2]
        order: list[int] = []
        for turn, piece in enumerate(_pieces(tree, rng)):
            if turn == 2:
                rows = [2, 0]
                growth.select(torch.tensor(rows))
            order += piece.tolist()
            mask = tree.mask(nodes)[np.ix_(piece, order)]
            hidden = growth.grow(
                *(
                    torch.from_numpy(np.repeat(part[None], len(rows), axis=0))
                    for part in (tree.tokens[piece], tree.depths[piece], mask)
                )
            )
            torch.testing.assert_close(hidden, whole[rows][:, piece], atol=2e-5, rtol=1e-4)
