"""Metrics agree with ir-measures, with a loop, and with what chance gives."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from instructrec import metrics
from instructrec.errors import UsageError

ORACLES = {
    "HR@1": ir_measures.parse_measure("Success@1"),
    "HR@3": ir_measures.parse_measure("Success@3"),
    "HR@5": ir_measures.parse_measure("Success@5"),
    "NDCG@3": ir_measures.parse_measure("nDCG@3"),
    "NDCG@5": ir_measures.parse_measure("nDCG@5"),
    "MRR": ir_measures.parse_measure("RR"),
}


def score_tables(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, 6), st.integers(2, 12))
    return hnp.arrays(np.float32, shapes, elements=elements)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(2, 15))
def test_every_metric_equals_what_ir_measures_gives(seed: int, users: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    # Distinct scores: ir-measures has tie rules of its own.
    scores = np.stack([rng.permutation(size) for _ in range(users)]).astype(np.float32)
    names = [[f"d{column:02}" for column in range(size)] for _ in range(users)]
    qrels = {f"q{user}": {"d00": 1} for user in range(users)}
    run = {
        f"q{user}": dict(zip(names[user], scores[user].tolist(), strict=True))
        for user in range(users)
    }
    ours = metrics.per_request(metrics.ranks(scores))
    theirs = ir_measures.calc_aggregate(ORACLES.values(), qrels, run)
    for name, oracle in ORACLES.items():
        assert metrics.means(ours)[name] == pytest.approx(theirs[oracle], abs=1e-9)


@given(score_tables(st.sampled_from([-1.0, 0.0, 0.5, 2.0, float("inf"), float("-inf")])))
def test_a_rank_is_one_more_than_the_others_that_are_not_worse(scores: np.ndarray) -> None:
    for line, rank in zip(scores, metrics.ranks(scores), strict=True):
        assert rank == 1 + sum(float(other) >= float(line[0]) for other in line[1:])


@given(score_tables(st.floats(-5, 5, width=32)), st.randoms(use_true_random=False))
def test_the_order_of_the_other_candidates_does_not_matter(scores: np.ndarray, random) -> None:
    order = list(range(1, scores.shape[1]))
    random.shuffle(order)
    assert np.array_equal(metrics.ranks(scores), metrics.ranks(scores[:, [0, *order]]))


def test_equal_scores_put_the_target_last() -> None:
    assert metrics.ranks(np.zeros((2, 10), dtype=np.float32)).tolist() == [10, 10]


def test_nan_never_helps_whoever_has_it() -> None:
    nan, low = float("nan"), float("-inf")
    scores = np.array([[nan, 0, 1], [0, nan, 1], [nan, nan, nan], [low, nan, 0], [0, low, low]])
    assert metrics.ranks(scores).tolist() == [3, 2, 3, 3, 1]


def test_the_target_may_stand_in_any_column() -> None:
    assert metrics.ranks(np.array([[3.0, 1.0, 2.0]]), target=2).tolist() == [2]


def test_chance_among_ten_gives_the_papers_figures() -> None:
    expected = {"HR@1": 0.1, "HR@3": 0.3, "HR@5": 0.5, "NDCG@3": 0.2131, "NDCG@5": 0.2948}
    for name, value in expected.items():
        assert metrics.expected_at_random(name, 10) == pytest.approx(value, abs=5e-5)


def test_random_scores_come_out_at_chance() -> None:
    scores = np.random.default_rng(7).random((40_000, 10), dtype=np.float32)
    found = metrics.means(metrics.per_request(metrics.ranks(scores)))
    for name in metrics.METRICS:
        assert found[name] == pytest.approx(metrics.expected_at_random(name, 10), abs=0.01)


@pytest.mark.parametrize("name", ["HR", "HR@0", "hr@1", "MRR@5", "recall@5"])
def test_an_unknown_metric_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match="is not a metric"):
        metrics.measure(name, np.array([1]))
