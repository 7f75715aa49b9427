"""The catalogue's tree holds every title once, and a saved one is as good as a new one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.backbones import Backbone
from instructrec.ranking.catalogue_tree import CatalogueTree, catalogue_tree

from .world import TITLES

END = 0


def encode(titles: list[str]) -> list[list[int]]:
    return [[*map(ord, title), END] for title in titles]


some_titles = st.lists(st.text("abé", max_size=6), max_size=25)


def _same(one: CatalogueTree, other: CatalogueTree) -> bool:
    return all(
        np.array_equal(getattr(one, part.name), getattr(other, part.name)) for part in fields(one)
    )


@given(some_titles)
def test_every_row_leads_to_the_tokens_of_its_title(titles: list[str]) -> None:
    tree = CatalogueTree.build(titles, encode)
    assert tree.leaves == len(set(titles))
    assert [tree.path(leaf) for leaf in tree.leaf_of_row.tolist()] == encode(titles)


@given(some_titles)
def test_a_leaf_leads_to_all_items_of_its_title(titles: list[str]) -> None:
    tree = CatalogueTree.build(titles, encode)
    rows, places = tree.rows_of(np.arange(tree.leaves))
    assert sorted(rows.tolist()) == list(range(len(titles)))
    np.testing.assert_array_equal(tree.leaf_of_row[rows], places)
    for place in range(tree.leaves):
        assert np.all(np.diff(rows[places == place]) > 0)


@given(some_titles)
def test_what_lies_below_a_node_is_a_range(titles: list[str]) -> None:
    tree = CatalogueTree.build(titles, encode)
    below = [[] for _ in range(len(tree))]  # type: list[list[int]]
    for node in range(len(tree)):
        above = node
        while above >= 0:
            below[above].append(node)
            above = int(tree.parents[above])
    for node, nodes in enumerate(below):
        assert nodes == list(range(node, tree.ends[node]))
        inside = tree.leaf_nodes[tree.leaves_before[node] : tree.leaves_before[tree.ends[node]]]
        assert inside.tolist() == [one for one in nodes if tree.ends[one] == one + 1]


@given(some_titles)
def test_children_are_those_that_name_a_node_as_their_parent(titles: list[str]) -> None:
    tree = CatalogueTree.build(titles, encode)
    for node in range(-1, len(tree)):
        children = tree.children[tree.first_child[node + 1] : tree.first_child[node + 2]]
        assert children.tolist() == np.flatnonzero(tree.parents == node).tolist()


def test_titles_of_the_same_ids_are_one_leaf_with_several_rows() -> None:
    tree = CatalogueTree.build(["a", "b", "A"], lambda titles: encode([t.lower() for t in titles]))
    assert tree.leaves == 2
    assert tree.leaf_of_row[0] == tree.leaf_of_row[2]


def test_ids_that_begin_those_of_another_title_are_refused() -> None:
    with pytest.raises(ValueError, match="begin"):
        CatalogueTree.build(["a", "ab"], lambda titles: [[ord(c) for c in t] for t in titles])


@pytest.fixture
def lm_tree(lm: Backbone, tmp_path: Path) -> tuple[Backbone, CatalogueTree, Path]:
    path = tmp_path / "cache" / "tree.safetensors"
    return lm, catalogue_tree(TITLES, lm.tokenizer, lm.candidate_ids, path), path


def _no_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> CatalogueTree:
        raise AssertionError("the tree was made again")

    monkeypatch.setattr(CatalogueTree, "build", build)


LmTree = tuple[Backbone, CatalogueTree, Path]


def test_a_saved_tree_is_read_and_equals_a_new_one(
    lm_tree: LmTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, fresh, path = lm_tree
    _no_building(monkeypatch)
    assert _same(fresh, catalogue_tree(TITLES, lm.tokenizer, lm.candidate_ids, path))
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("titles", [TITLES[:-1], TITLES[::-1], [*TITLES, "One More"]])
def test_a_tree_of_another_catalogue_is_replaced(lm_tree: LmTree, titles: list[str]) -> None:
    lm, _, path = lm_tree
    found = catalogue_tree(titles, lm.tokenizer, lm.candidate_ids, path)
    assert _same(found, CatalogueTree.build(titles, lm.candidate_ids))
    assert _same(found, catalogue_tree(titles, lm.tokenizer, lm.candidate_ids, path))


def test_a_tree_of_another_way_to_read_titles_is_replaced(lm_tree: LmTree) -> None:
    lm, _, path = lm_tree

    def backwards(titles: list[str]) -> list[list[int]]:
        return lm.candidate_ids([title[::-1] for title in titles])

    found = catalogue_tree(TITLES, lm.tokenizer, backwards, path)
    assert _same(found, CatalogueTree.build(TITLES, backwards))


def _halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    "damage", [_halved, _flipped, lambda _: b"", lambda _: b"{}", lambda data: data + b"more"]
)
def test_a_damaged_tree_is_made_again(lm_tree: LmTree, damage: object) -> None:
    lm, fresh, path = lm_tree
    whole = path.read_bytes()
    path.write_bytes(damage(whole))  # type: ignore[operator]
    assert _same(fresh, catalogue_tree(TITLES, lm.tokenizer, lm.candidate_ids, path))
    assert path.read_bytes() == whole


def test_where_nothing_can_be_written_the_tree_is_made_all_the_same(
    lm: Backbone, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    found = catalogue_tree(
        TITLES, lm.tokenizer, lm.candidate_ids, tmp_path / "cache" / "tree.safetensors"
    )
    assert _same(found, CatalogueTree.build(TITLES, lm.candidate_ids))


def test_many_writers_at_once_leave_a_whole_tree(lm: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "tree.safetensors"

    def make(_: int) -> CatalogueTree:
        return catalogue_tree(TITLES, lm.tokenizer, lm.candidate_ids, path)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, range(8)))
    assert all(_same(made[0], one) for one in [*made[1:], make(0)])
