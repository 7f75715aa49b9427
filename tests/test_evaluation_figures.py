"""Figures of judgements, corrections and candidates agree with oracles that are plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from instructrec import metrics
from instructrec.evaluation.significance import (
    bootstrap_means,
    difference,
    holm,
    interval,
    randomisation_test,
)
from instructrec.evaluation.trap import fit_listwise
from instructrec.negatives import matched_negatives

PROBABILITIES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), min_size=2, max_size=12)


@given(PROBABILITIES, st.randoms())
def test_auc_is_the_share_of_pairs_that_are_told_apart(said: list[float], random) -> None:
    labels = [random.random() < 0.5 for _ in said]
    right = [p for p, label in zip(said, labels, strict=True) if label]
    wrong = [p for p, label in zip(said, labels, strict=True) if not label]
    found = metrics.auc(np.array(said), np.array(labels))
    if not right or not wrong:
        assert np.isnan(found)
        return
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(right, wrong)]
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_calibration_says_what_came_true_of_what_was_said() -> None:
    said = np.array([0.05, 0.05, 0.95, 1.0])
    labels = np.array([False, True, True, True])
    assert metrics.calibration(said, labels) == [
        (0.0, 0.1, 2, 0.05, 0.5),
        (0.9, 1.0, 2, pytest.approx(0.975), 1.0),
    ]
    assert metrics.calibration_error(said, labels) == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    assert metrics.brier(said, labels).mean() == pytest.approx((0.0025 + 0.9025 + 0.0025) / 4)


def test_a_probability_that_comes_true_as_often_as_it_says_has_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(200_000)
    assert metrics.calibration_error(said, rng.random(200_000) < said) < 0.01


def test_a_target_that_was_not_found_counts_nothing() -> None:
    values = metrics.per_request(np.array([metrics.NOWHERE, 1]), metrics.WIDE)
    assert {name: column.tolist() for name, column in values.items()} == {
        name: [0.0, 1.0] for name in metrics.WIDE
    }


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=2, max_size=8))
def test_the_randomisation_test_agrees_with_scipys(gaps: list[float]) -> None:
    values = np.array(gaps)
    theirs = permutation_test(
        (values, np.zeros_like(values)),
        lambda a, b: float((a - b).sum()),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert randomisation_test(values, shuffles=20_000) == pytest.approx(theirs.pvalue, abs=0.02)


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_step_down_rule_rejects(p_values: list[float]) -> None:
    level, rejected = 0.05, set()
    for place, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        if p_values[at] * (len(p_values) - place) > level:
            break
        rejected.add(at)
    assert {at for at, value in enumerate(holm(p_values)) if value <= level} == rejected


def test_matched_negatives_are_as_popular_as_the_target_and_new_to_the_user() -> None:
    rng = np.random.default_rng(1)
    popularity = rng.permutation(2_000)
    targets = np.argsort(popularity)[rng.integers(100, 1_900, 300)]
    seen = [rng.choice(2_000, 6, replace=False) for _ in range(300)]
    keys = [f"u{number}" for number in range(300)]
    found = matched_negatives(popularity, targets, seen, keys)
    assert found.shape == (300, 10) and np.array_equal(found[:, 0], targets)
    for line, avoid in zip(found, seen, strict=True):
        assert len(set(line.tolist())) == 10 and not np.isin(line[1:], avoid).any()
    assert np.abs(popularity[found[:, 1:]] - popularity[found[:, :1]]).max() < 100
    ranks = metrics.ranks(popularity[found].astype(float))
    assert abs(metrics.hit_rate(ranks, 1).mean() - 0.1) < 0.06
    alone = matched_negatives(popularity, targets[7:8], seen[7:8], keys[7:8])
    assert np.array_equal(alone[0], found[7])


def test_a_small_catalogue_gives_as_many_matched_negatives_as_it_has() -> None:
    found = matched_negatives(np.array([3, 1, 2]), np.array([0]), [np.array([1])], ["u"])
    assert found[0, :2].tolist() == [0, 2] and (found[0, 2:] == -1).all()


def test_a_mix_fitted_on_a_matchers_lists_learns_to_distrust_it() -> None:
    rng = np.random.default_rng(2)
    matcher = np.sort(rng.normal(size=(500, 10)), axis=1)
    features = np.stack([matcher, rng.normal(size=(500, 10))], axis=-1)
    weights = fit_listwise(features, np.ones((500, 10), dtype=bool))
    assert weights[0] < -1 and abs(weights[1]) < 0.3


def test_an_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        values = (rng.random(400) < 0.3).astype(np.float64)
        low, high = interval(values, samples=500, seed=trial)
        hits += low <= 0.3 <= high
    assert 0.91 <= hits / 300 <= 0.985


def test_bootstrap_means_spread_like_those_of_a_plain_loop() -> None:
    values = np.random.default_rng(1).gamma(1.0, size=(200, 2))
    rng = np.random.default_rng(2)
    plain = np.array([values[rng.integers(0, 200, 200)].mean(axis=0) for _ in range(4_000)])
    ours = bootstrap_means(values, samples=4_000, seed=3)
    assert ours.shape == (4_000, 2)
    assert np.allclose(ours.mean(axis=0), plain.mean(axis=0), atol=0.01)
    assert np.allclose(ours.std(axis=0), plain.std(axis=0), rtol=0.08)
    assert np.array_equal(ours, bootstrap_means(values, samples=4_000, seed=3))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=1, max_size=8))
def test_the_randomisation_test_agrees_with_all_sign_changes(gaps: list[float]) -> None:
    values = np.array(gaps)
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(gaps))).reshape(len(gaps), -1)
    exact = float(np.mean(np.abs(values @ signs) >= abs(values.sum()) - 1e-9))
    assert randomisation_test(values, shuffles=20_000, seed=0) == pytest.approx(exact, abs=0.02)


def test_a_difference_is_paired_and_points_to_the_better_one() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(2_000)
    theirs = (hard < 0.5).astype(np.float64)
    ours = (hard < 0.53).astype(np.float64)
    gap = difference(ours, theirs)
    assert gap.above and gap.low < gap.mean < gap.high and gap.p_value < 0.01
    # Far narrower than two separate intervals, because most requests agree.
    low, high = interval(ours)
    assert gap.high - gap.low < 0.5 * (high - low)
    same = difference(theirs, theirs)
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)
