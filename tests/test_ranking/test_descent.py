"""The way down the tree: exact with patience, a beam search without, always within the filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.ranking.catalogue_tree import CatalogueTree
from instructrec.ranking.descent import AHEAD, Ask, Descent

from .test_catalogue_tree import encode

NEVER = 10**9


@dataclass
class World:
    """A catalogue with a made-up model: a log-probability for the step into each node."""

    tree: CatalogueTree
    steps: np.ndarray
    allowed: np.ndarray

    @property
    def open_leaves(self) -> list[int]:
        return sorted(set(self.tree.leaf_of_row[self.allowed].tolist()))

    def score(self, leaf: int) -> float:
        total, node = 0.0, int(self.tree.leaf_nodes[leaf])
        while node >= 0:
            total, node = total + self.steps[node], int(self.tree.parents[node])
        return total

    def best(self, count: int) -> list[int]:
        return sorted(self.open_leaves, key=lambda leaf: (-self.score(leaf), leaf))[:count]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    titles = draw(st.lists(st.text("abcd", max_size=9), min_size=1, max_size=40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tree = CatalogueTree.build(titles, encode)
    sharpness = draw(st.sampled_from([0.1, 1.0, 4.0]))
    steps = -rng.exponential(sharpness, len(tree))
    return World(tree, steps, rng.random(len(titles)) < draw(st.sampled_from([0.3, 0.8, 1.0])))


def walk(world: World, descent: Descent) -> tuple[list[int], np.ndarray]:
    """Lead a descent to its end, holding that it reads each node once, after those before it."""
    slot_of = {-1: -1}
    slot = 0
    ask: Ask | None = descent.begin()
    if ask is not None:
        descent.receive(-1, world.steps[ask.children])
    while ask is not None and (ask := descent.ask(slot)) is not None:
        for place, node in enumerate(ask.nodes.tolist()):
            assert node not in slot_of
            assert slot_of[int(world.tree.parents[node])] == ask.before[place]
            slot_of[node] = slot + place
        parents = world.tree.parents[ask.children]
        assert parents.tolist() == ask.nodes[ask.lines].tolist()
        descent.receive(slot, world.steps[ask.children])
        slot += len(ask.nodes) + 3  # slots may be left out
    leaves, scores = descent.found()
    return leaves.tolist(), scores


@given(worlds(), st.integers(1, 12), st.integers(1, 6))
def test_with_patience_it_finds_exactly_what_brute_force_finds(
    world: World, need: int, beam: int
) -> None:
    descent = Descent(world.tree, world.allowed, need, beam, NEVER)
    leaves, scores = walk(world, descent)
    assert leaves[:need] == world.best(need)
    np.testing.assert_allclose(scores[:need], [world.score(leaf) for leaf in leaves[:need]])
    assert descent.is_exact


@given(worlds(), st.integers(1, 12), st.integers(1, 6), st.integers(0, 20))
def test_however_little_patience_as_many_titles_come_back_as_are_open(
    world: World, need: int, beam: int, patience: int
) -> None:
    descent = Descent(world.tree, world.allowed, need, beam, patience)
    leaves, scores = walk(world, descent)
    assert len(leaves) >= min(need, len(world.open_leaves))
    assert len(set(leaves)) == len(leaves)
    assert set(leaves) <= set(world.open_leaves)
    np.testing.assert_allclose(scores, [world.score(leaf) for leaf in leaves])
    assert np.all(np.diff(scores) <= 0)
    if descent.is_exact:
        assert leaves[:need] == world.best(need)


@settings(max_examples=200)
@given(worlds(), st.integers(1, 6), st.integers(1, 6))
def test_without_patience_it_is_a_plain_beam_search(world: World, need: int, beam: int) -> None:
    leaves, _ = walk(world, Descent(world.tree, world.allowed, need, beam, patience=0))
    assert leaves[:need] == plain_beam(world, max(need, beam))[:need]


def plain_beam(world: World, width: int) -> list[int]:
    """Step by step, `AHEAD` steps without a choice taken with the one before them."""
    tree, leaf_of = world.tree, {int(node): at for at, node in enumerate(world.tree.leaf_nodes)}
    is_open = {int(node) for leaf in world.open_leaves for node in _path(tree, leaf)}

    def below(node: int) -> list[int]:
        return [child for child in np.flatnonzero(tree.parents == node) if child in is_open]

    done: list[tuple[float, int]] = []
    beam = [(0.0, -1)]
    while beam:
        reached = []
        for known, last in beam:
            score, node, children, ahead = known, last, below(last), 0
            while node >= 0 and len(children) == 1 and children[0] not in leaf_of:
                if ahead == AHEAD:
                    break
                score, node, ahead = score + world.steps[children[0]], children[0], ahead + 1
                children = below(node)
            reached += [(score + world.steps[child], child) for child in children]
        done += [one for one in reached if one[1] in leaf_of]
        beam = sorted(one for one in reached if one[1] not in leaf_of)[::-1][:width]
    return [leaf_of[node] for _, node in sorted(done, key=lambda one: (-one[0], one[1]))]


def _path(tree: CatalogueTree, leaf: int) -> list[int]:
    nodes, node = [], int(tree.leaf_nodes[leaf])
    while node >= 0:
        nodes.append(node)
        node = int(tree.parents[node])
    return nodes


@given(worlds(), st.integers(1, 5))
def test_steps_without_a_choice_are_not_read_where_they_are_free(world: World, need: int) -> None:
    """As under the rule `constrained`, where the only open child has the probability 1."""
    rng = np.random.default_rng(0)
    open_nodes = {node for leaf in world.open_leaves for node in _path(world.tree, leaf)}
    world.steps = np.zeros(len(world.tree))
    for parent in range(-1, len(world.tree)):
        children = [n for n in np.flatnonzero(world.tree.parents == parent) if n in open_nodes]
        world.steps[children] = np.log(rng.dirichlet(np.ones(len(children)))) if children else 0.0
    descent = Descent(world.tree, world.allowed, need, 3, NEVER, is_free=True)
    leaves, _ = walk(world, descent)
    scores = sorted((world.score(leaf) for leaf in world.open_leaves), reverse=True)
    np.testing.assert_allclose([world.score(leaf) for leaf in leaves[:need]], scores[:need])
    assert descent.reads <= sum(world.tree.ends[node] > node + 1 for node in sorted(open_nodes))
