"""The nearest vectors are found exactly or through an index, filters inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.data.catalogue import Catalogue
from instructrec.errors import FolderError
from instructrec.protocols import Condition, Filters
from instructrec.retrieval import ann, search
from instructrec.retrieval.ann import VectorIndex
from instructrec.retrieval.search import VectorSearch

needs_faiss = pytest.mark.skipif(
    not ann.is_available(), reason="needs faiss: pip install 'instructrec[ann]'"
)


def a_catalogue(items: int) -> Catalogue:
    ids = [f"i{number:05}" for number in range(items)]
    prices = [float(number % 10) for number in range(items)]
    return Catalogue(pl.DataFrame({"item_id": ids, "title": ids, "price": prices}))


def some_vectors(count: int, dimensions: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, dimensions)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def by_hand(vectors, wanted, k, masks):
    """Brute force: sort everything that is allowed, one request at a time."""
    lines = []
    for line, allowed in zip(wanted, masks, strict=True):
        scores = {row: -float(vectors[row] @ line) for row in np.flatnonzero(allowed)}
        best = sorted(scores, key=lambda row: (round(scores[row], 5), row))[:k]
        lines.append(best + [-1] * (k - len(best)))
    return np.array(lines)


def cheap(limit: float, *without: str) -> Filters:
    return Filters((Condition("price", "<", limit),), frozenset(without))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_FLOATS", 40)
    monkeypatch.setattr(search, "_REQUESTS", 3)


@pytest.mark.parametrize("k", [1, 7, 60, 90])
def test_block_by_block_gives_what_sorting_everything_gives(small_blocks, k):
    catalogue, vectors, wanted = a_catalogue(80), some_vectors(80), some_vectors(8, seed=1)
    found = VectorSearch(catalogue, vectors).top(wanted, k)
    assert np.array_equal(found, by_hand(vectors, wanted, k, np.ones((8, 80), bool)))


def test_filters_hold_inside_and_k_come_back_where_k_are_allowed(small_blocks):
    catalogue, vectors, wanted = a_catalogue(80), some_vectors(80), some_vectors(4, seed=1)
    filters = [Filters(), cheap(2.0), cheap(2.0, "i00001", "i00005", "gone"), cheap(-1.0)]
    found = VectorSearch(catalogue, vectors).top(wanted, 16, filters)
    masks = [chosen.mask(catalogue.items) for chosen in filters]
    assert np.array_equal(found, by_hand(vectors, wanted, 16, masks))
    assert (found[1] >= 0).all() and (found[2] >= 0).sum() == 15 and (found[3] == -1).all()


def test_equal_vectors_come_in_order_of_row(small_blocks):
    catalogue = a_catalogue(50)
    vectors = np.tile(some_vectors(1), (50, 1))
    assert VectorSearch(catalogue, vectors).top(vectors[:1], 20)[0].tolist() == list(range(20))


def test_a_request_that_asks_for_nothing_gets_nothing():
    wanted = some_vectors(2, seed=1)
    wanted[0] = 0
    found = VectorSearch(a_catalogue(9), some_vectors(9)).top(wanted, 3)
    assert (found[0] == -1).all() and (found[1] >= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 11), st.integers(0, 99))
def test_every_size_filter_and_k_agrees_with_brute_force(items, k, limit, seed):
    catalogue, vectors = a_catalogue(items), some_vectors(items, 4, seed)
    wanted = some_vectors(2, 4, seed + 1)
    filters = [cheap(float(limit)), cheap(99.0, *catalogue.item_ids[: items // 2])]
    found = VectorSearch(catalogue, vectors).top(wanted, k, filters)
    masks = [chosen.mask(catalogue.items) for chosen in filters]
    assert np.array_equal(found, by_hand(vectors, wanted, k, masks))


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch):
    """A catalogue that is searched through an index although it is small."""
    pytest.importorskip("faiss", reason="needs faiss: pip install 'instructrec[ann]'")
    monkeypatch.setattr(search, "_EXACT", 50)
    catalogue, vectors = a_catalogue(3000), some_vectors(3000)
    return VectorSearch(catalogue, vectors, VectorIndex.fit(vectors))


def test_an_index_finds_nearly_all_that_exact_search_finds(indexed):
    wanted = some_vectors(20, seed=1)
    exact = VectorSearch(indexed.catalogue, indexed.vectors).top(wanted, 50)
    found = indexed.top(wanted, 50)
    shared = [len(set(one) & set(other)) for one, other in zip(exact, found, strict=True)]
    assert np.mean(shared) / 50 > 0.9
    # What is found is in the order of the exact scores.
    for line, rows in zip(wanted, found, strict=True):
        assert (np.diff(indexed.vectors[rows] @ line) <= 1e-6).all()


def test_filters_hold_inside_an_index_and_k_come_back_wherever_k_are_allowed(indexed, monkeypatch):
    monkeypatch.setattr(ann, "PROBES", 1)
    wanted = some_vectors(3, seed=1)
    few = cheap(1.0, *indexed.catalogue.item_ids[:2000])
    filters = [Filters(exclude=frozenset(indexed.catalogue.item_ids[10:])), cheap(1.0), few]
    found = indexed.top(wanted, 250, filters)
    for rows, chosen in zip(found, filters, strict=True):
        mask = chosen.mask(indexed.catalogue.items)
        assert (rows >= 0).sum() == min(mask.sum(), 250)
        assert mask[rows[rows >= 0]].all() and len(set(rows[rows >= 0])) == (rows >= 0).sum()


@needs_faiss
def test_the_same_vectors_give_the_same_index_and_a_file_is_mapped_and_searched(tmp_path):
    vectors, wanted = some_vectors(500), some_vectors(5, seed=1)
    index = VectorIndex.fit(vectors)
    index.save(tmp_path / "one")
    VectorIndex.fit(vectors).save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded = VectorIndex.load(tmp_path / "one", 500)
    for allowed in (None, np.arange(0, 500, 3)):
        assert np.array_equal(
            loaded.named(wanted, 20, allowed, 4), index.named(wanted, 20, allowed, 4)
        )


@needs_faiss
def test_a_damaged_or_foreign_index_is_one_clear_error(tmp_path: Path):
    VectorIndex.fit(some_vectors(500)).save(tmp_path / "index")
    with pytest.raises(FolderError, match="holds 500 vectors, not 499"):
        VectorIndex.load(tmp_path / "index", 499)
    (tmp_path / "index").write_bytes((tmp_path / "index").read_bytes()[:1000])
    with pytest.raises(FolderError, match="is damaged"):
        VectorIndex.load(tmp_path / "index", 500)
