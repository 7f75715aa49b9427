"""Nearest match looks at the whole history and follows what lies nearest to an item."""

from __future__ import annotations

import numpy as np
import pytest
from retrieval_worlds import WordEncoder, a_catalogue, every_row, wishing

from instructrec.protocols import Filters, Retriever
from instructrec.retrieval.nearest import LATEST, SHARPNESS, Nearest
from instructrec.retrieval.vectors import ItemVectors


@pytest.fixture
def nearest() -> Nearest:
    catalogue = a_catalogue()
    return Nearest(catalogue, ItemVectors.fit(catalogue, WordEncoder()))


def test_the_score_is_a_smooth_maximum_of_the_cosines(nearest):
    rows = nearest.catalogue.rows(["b1", "a1"])
    vectors = nearest.items.vectors
    cosines = (vectors @ vectors[rows].T).astype(np.float64)
    expected = SHARPNESS * np.log(np.exp((cosines - 1) / SHARPNESS).sum(axis=1))
    scores = nearest.score([wishing("", history=["b1", "a1"])], every_row(1, nearest.catalogue))
    assert scores[0] == pytest.approx(expected, abs=1e-5)
    assert ((scores[0] >= cosines.max(1) - 1 - 1e-5) & (scores[0] <= cosines.max(1))).all()


def test_an_old_series_still_speaks_after_many_other_things(nearest):
    history = ["a1", *["b1", "b3"] * LATEST]
    scores = nearest.score([wishing("", history=history)], every_row(1, nearest.catalogue))[0]
    sequel, stranger = nearest.catalogue.rows(["a2", "a3"])
    assert scores[sequel] > scores[stranger]


def test_who_has_no_history_gets_equal_scores_and_no_items(nearest):
    requests = [wishing("rose shears"), wishing("", history=["unknown"])]
    assert not nearest.score(requests, every_row(2, nearest.catalogue)).any()
    assert (nearest.retrieve(requests, 3) == -1).all()
    none = nearest.score([wishing("", history=["a1"])], np.array([[0, -1]]))
    assert np.isfinite(none[0, 0])
    assert none[0, 1] == -np.inf


def test_what_is_retrieved_is_what_scores_best_within_the_limits(nearest):
    request = [wishing("", history=["a1", "b2"])]
    scores = nearest.score(request, every_row(1, nearest.catalogue))[0]
    assert isinstance(nearest, Retriever)
    assert nearest.retrieve(request, 3)[0].tolist() == np.argsort(-scores)[:3].tolist()
    without = Filters(exclude=frozenset({"a1", "b2"}))
    kept = nearest.retrieve(request, 3, [without])[0]
    assert not set(nearest.catalogue.rows(["a1", "b2"])) & set(kept.tolist())
