"""The order in which candidates are given changes no ranking, listed in the prompt or not."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.backbones import Backbone
from instructrec.ranking.likelihood import Likelihood
from instructrec.ranking.ordering import arrangements
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig

from .world import INSTRUCTIONS, catalogue

ROWS = np.array([[0, 5, 9, 13, 2, 32, 7, -1]] * 3)
ASKED = [INSTRUCTIONS[number] for number in (0, 2, 3)]
ROW_LISTS = st.lists(st.integers(0, 99), max_size=12, unique=True).map(
    lambda rows: np.array(rows, dtype=np.int64)
)


def _ranker(lm: Backbone, **scoring: object) -> Ranker:
    return Ranker(lm, catalogue(), scoring=ScoringConfig(**scoring))  # type: ignore[arg-type]


def _shuffles(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.permuted(np.tile(np.arange(8), (3, 1)), axis=1) for _ in range(count)]


def _scores_by_column(ranker: Ranker, order: np.ndarray) -> np.ndarray:
    found = ranker.score(ASKED, np.take_along_axis(ROWS, order, axis=1))
    scores = np.empty_like(found)
    np.put_along_axis(scores, order, found, axis=1)
    return scores


@given(ROW_LISTS)
def test_a_single_order_is_the_one_given(rows: np.ndarray) -> None:
    (only,) = arrangements(rows, 1)
    assert only.tolist() == rows.tolist()


@given(ROW_LISTS, st.integers(2, 20), st.randoms(use_true_random=False))
def test_several_orders_depend_on_nothing_but_which_candidates_there_are(
    rows: np.ndarray, orders: int, random: Random
) -> None:
    again = rows.tolist()
    random.shuffle(again)
    first, second = (arrangements(np.array(one, np.int64), orders) for one in (rows, again))
    assert len(first) == max(min(orders, len(rows)), 1)
    assert [one.tolist() for one in first] == [one.tolist() for one in second]
    assert all(sorted(one.tolist()) == sorted(rows.tolist()) for one in first)


@given(ROW_LISTS)
def test_with_as_many_orders_as_candidates_each_stands_everywhere_once(rows: np.ndarray) -> None:
    found = np.stack(arrangements(rows, max(len(rows), 1)))
    for place in found.T:
        assert sorted(place.tolist()) == sorted(rows.tolist())


@pytest.mark.parametrize("rule", ["sum", "mean", "pmi", "constrained"])
@pytest.mark.parametrize("orders", [{}, {"list_candidates": True, "orders": 3}], ids=str)
def test_the_order_given_does_not_change_a_bit_of_a_score(
    lm: Backbone, rule: str, orders: dict[str, object]
) -> None:
    ranker = _ranker(lm, rule=rule, **orders)
    first, *others = [_scores_by_column(ranker, order) for order in _shuffles(4)]
    for other in others:
        assert np.array_equal(first, other)


def test_a_model_that_is_shown_one_order_cares_for_it(lm: Backbone) -> None:
    ranker = _ranker(lm, list_candidates=True)
    first, second = (_scores_by_column(ranker, order) for order in _shuffles(2))
    assert not np.allclose(first[:, :7], second[:, :7], atol=1e-4)


def test_a_listed_score_is_the_mean_over_the_orders_in_the_prompt(lm: Backbone) -> None:
    ranker = _ranker(lm, list_candidates=True, orders=4)
    rows = ROWS[0, :7]
    expected = np.zeros(7)
    for order in arrangements(rows, 4):
        titles = tuple(ranker.titles[row] for row in order)
        prompt = ranker.render(replace(ASKED[0], candidates=titles))
        assert all(title in prompt.text for title in titles)
        texts = [ranker.titles[row] for row in rows]
        expected += Likelihood(lm).score_texts([prompt], [texts])[0] / 4
    np.testing.assert_allclose(ranker.score(ASKED[:1], ROWS[:1])[0, :7], expected, rtol=1e-5)


def test_titles_that_are_equal_tie_whatever_the_order(lm: Backbone) -> None:
    ranker = _ranker(lm, list_candidates=True, orders=2)
    scores = _scores_by_column(ranker, _shuffles(1)[0])
    assert np.array_equal(scores[:, 0], scores[:, 5])  # rows 0 and 32 are both Turbo Kart
