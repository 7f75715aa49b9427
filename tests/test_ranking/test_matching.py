"""The search of the whole catalogue finds the likeliest titles and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from instructrec.backbones import Backbone
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig

from .world import INSTRUCTIONS, TITLES, catalogue

REQUEST = INSTRUCTIONS[4]


@pytest.fixture
def ranker(lm: Backbone) -> Ranker:
    return Ranker(lm, catalogue())


def _best(ranker: Ranker, allowed: np.ndarray, k: int) -> list[int]:
    rows = np.flatnonzero(allowed)
    return ranker.rank([REQUEST], rows[None])[0, :k].tolist()


def test_a_wide_beam_finds_what_scoring_everything_finds(ranker: Ranker) -> None:
    rows, scores = ranker.find(REQUEST, k=5, beam=30)
    assert rows.tolist() == _best(ranker, np.ones(len(TITLES), dtype=bool), 5)
    np.testing.assert_allclose(scores, ranker.score([REQUEST], rows[None])[0], atol=1e-4)


def test_few_allowed_items_are_all_scored(lm: Backbone) -> None:
    ranker = Ranker(lm, catalogue())
    allowed = np.zeros(len(TITLES), dtype=bool)
    allowed[[3, 8, 32]] = True
    rows, _ = ranker.find(REQUEST, k=10, allowed=allowed, beam=1)
    assert rows.tolist() == _best(ranker, allowed, 3)


@pytest.mark.parametrize("seed", range(5))
def test_k_allowed_items_come_back_where_k_are_allowed(ranker: Ranker, seed: int) -> None:
    allowed = np.random.default_rng(seed).random(len(TITLES)) < 0.4
    rows, scores = ranker.find(REQUEST, k=8, allowed=allowed, beam=2)
    assert len(rows) == min(8, allowed.sum())
    assert allowed[rows].all()
    assert np.all(np.diff(scores) <= 0)
    assert len(set(rows.tolist())) == len(rows)


def test_a_title_stands_for_all_its_items(ranker: Ranker) -> None:
    allowed = np.zeros(len(TITLES), dtype=bool)
    allowed[[0, 32]] = True  # both are called Turbo Kart
    rows, scores = ranker.find(REQUEST, k=2, allowed=allowed)
    assert rows.tolist() == [0, 32]
    assert scores[0] == scores[1]


def test_nothing_allowed_gives_nothing(ranker: Ranker) -> None:
    rows, scores = ranker.find(REQUEST, allowed=np.zeros(len(TITLES), dtype=bool))
    assert len(rows) == len(scores) == 0


@pytest.mark.parametrize("rule", ["mean", "pmi", "constrained"])
def test_what_the_beam_finds_is_ordered_by_the_rule(lm: Backbone, rule: str) -> None:
    ranker = Ranker(lm, catalogue(), scoring=ScoringConfig(rule=rule))
    rows, scores = ranker.find(INSTRUCTIONS[0], k=5)
    assert len(rows) == 5
    assert np.all(np.diff(scores) <= 0)
