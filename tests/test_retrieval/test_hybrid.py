"""Several retrievers' lists become one by reciprocal places."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from retrieval_worlds import WordEncoder, a_catalogue, every_row, some_sequences, wishing

from instructrec.protocols import Condition, Filters, Retriever
from instructrec.retrieval.dense import Dense, ItemVectors, Similar
from instructrec.retrieval.hybrid import CONSTANT, Hybrid, fuse_places
from instructrec.retrieval.lexical import Lexical
from instructrec.retrieval.popularity import Popularity


def a_hybrid() -> Hybrid:
    catalogue, encoder = a_catalogue(), WordEncoder()
    items = ItemVectors.fit(catalogue, encoder)
    retrievers = [
        Lexical.fit(catalogue),
        Dense(catalogue, items, encoder),
        Similar(catalogue, items),
    ]
    return Hybrid(retrievers, Popularity.fit(some_sequences(catalogue), catalogue))


lists_of_places = st.lists(st.permutations(range(6)), min_size=1, max_size=4)


@given(lists_of_places, st.integers(1, 8))
def test_fusing_is_the_sum_of_reciprocal_places(lists, k):
    sums = {row: sum(1 / (CONSTANT + 1 + line.index(row)) for line in lists) for row in range(6)}
    expected = sorted(sums, key=lambda row: (-round(sums[row], 12), row))[:k]
    fused = fuse_places([np.array([line]) for line in lists], 1, k)[0]
    found = [round(sums[row], 12) for row in fused if row >= 0]
    assert found == [round(sums[row], 12) for row in expected]
    assert fused.tolist()[6:] == [-1] * max(k - 6, 0)


def test_ties_go_to_the_smaller_row_and_no_row_stands_twice():
    fused = fuse_places([np.array([[5, 2, -1]]), np.array([[2, 5, -1]])], 1, 4)
    assert fused.tolist() == [[2, 5, -1, -1]]
    assert fuse_places([], 1, 2).tolist() == [[-1, -1]]


def test_what_nobody_finds_is_filled_up_by_popularity():
    hybrid = a_hybrid()
    everything = hybrid.retrieve([wishing("")], 7)[0]
    assert sorted(everything) == list(range(7))
    assert everything[0] == 0
    found = hybrid.retrieve([wishing("roses", history=["b2"])], 3)[0]
    assert found[0] == 4


def test_k_items_come_back_where_k_are_allowed():
    hybrid = a_hybrid()
    cheap = Filters((Condition("price", "<=", 20.0),), frozenset({"b2"}))
    found = hybrid.retrieve([wishing("roses"), wishing("")], 3, [cheap, cheap])
    for line in found:
        assert sorted(line) == [2, 3, 5]


def test_a_retriever_that_says_nothing_does_not_change_the_order_of_scores():
    hybrid = a_hybrid()
    catalogue = a_catalogue()
    request = [wishing("turbo karts for a garden")]
    alone = Hybrid(hybrid.retrievers[:2]).score(request, every_row(1, catalogue))
    with_history = hybrid.score(request, every_row(1, catalogue))
    assert np.argsort(-alone[0], kind="stable").tolist() == (
        np.argsort(-with_history[0], kind="stable").tolist()
    )
    assert np.isneginf(hybrid.score(request, np.array([[0, -1]]))[0, 1])
    assert isinstance(hybrid, Retriever)
