"""The search of the whole catalogue finds the likeliest titles and nothing else."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.backbones import Backbone
from instructrec.backbones.growing import Growth, plant
from instructrec.data.catalogue import Catalogue
from instructrec.errors import InstructRecWarning, ModelError
from instructrec.folders import new_folder, verify
from instructrec.protocols import Filters
from instructrec.ranking import matching
from instructrec.ranking.catalogue_tree import TREE, CatalogueTree
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig

from .world import INSTRUCTIONS, TITLES, backbone, catalogue

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


def test_few_allowed_items_are_all_found(lm: Backbone) -> None:
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


@pytest.mark.parametrize("rule", ["sum", "mean", "pmi", "constrained"])
def test_scores_are_those_of_the_engine(lm: Backbone, rule: str) -> None:
    ranker = Ranker(lm, catalogue(), scoring=ScoringConfig(rule=rule, null_prompt="Recommend."))
    prompt = ranker.question(REQUEST)
    (wanted,) = ranker.likelihood.score_texts([prompt], [ranker.titles])
    rows, scores = ranker.find(REQUEST, k=len(TITLES))
    np.testing.assert_allclose(scores, wanted[rows], atol=1e-4)
    assert sorted(rows.tolist()) == list(range(len(TITLES)))


def test_the_constrained_rule_shares_likelihood_among_the_allowed_alone(lm: Backbone) -> None:
    ranker = Ranker(lm, catalogue(), scoring=ScoringConfig(rule="constrained"))
    allowed = np.arange(len(TITLES)) % 3 == 0
    rows, scores = ranker.find(REQUEST, k=len(TITLES), allowed=allowed)
    titles = {ranker.titles[row]: score for row, score in zip(rows, scores, strict=True)}
    assert sum(np.exp(score) for score in titles.values()) == pytest.approx(1.0, abs=1e-4)


@cache
def _ranker(name: str, seed: int) -> Ranker:
    return Ranker(backbone(name, seed), catalogue())


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_is_asked_the_best_allowed_items_come_back(data: st.DataObject) -> None:
    name, weights = data.draw(st.sampled_from(["tiny-t5", "tiny-causal"])), st.integers(0, 2)
    ranker = _ranker(name, data.draw(weights))
    share = data.draw(st.sampled_from([0.05, 0.3, 1.0]))
    seed, k = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 40))
    allowed = np.random.default_rng(seed).random(len(TITLES)) < share
    (found,) = ranker.find_many([REQUEST], k, [allowed], beam=data.draw(st.integers(1, 8)))
    assert allowed[found.rows].all()
    assert len(set(found.rows.tolist())) == len(found.rows) == min(k, allowed.sum())
    if found.is_exact:
        every = np.flatnonzero(allowed)
        best = np.sort(ranker.score([REQUEST], every[None])[0])[::-1][:k]
        np.testing.assert_allclose(found.scores, best, atol=1e-4)


def test_requests_asked_together_get_what_each_gets_alone(lm: Backbone) -> None:
    ranker = Ranker(lm, catalogue())
    masks = [None, *(np.random.default_rng(seed).random(len(TITLES)) < 0.4 for seed in range(3))]
    asked = [INSTRUCTIONS[at] for at in (0, 4, 0, 3)]
    masks.append(np.zeros(len(TITLES), dtype=bool))
    asked.append(INSTRUCTIONS[1])
    together = ranker.find_many(asked, 6, masks, beam=3)
    for one, mask, found in zip(asked, masks, together, strict=True):
        rows, scores = ranker.find(one, 6, mask, beam=3)
        assert found.rows.tolist() == rows.tolist()
        np.testing.assert_allclose(found.scores, scores, atol=1e-5)


def test_the_same_request_gets_the_same_bytes(ranker: Ranker) -> None:
    one, other = (ranker.find_many([REQUEST], 7, beam=4)[0] for _ in range(2))
    assert one.rows.tobytes() == other.rows.tobytes()
    assert one.scores.tobytes() == other.scores.tobytes()


def test_a_model_that_cannot_share_a_prompt_finds_the_same(
    lm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lm.family == "seq2seq":
        pytest.skip("an encoder's prompt is always shared")
    shared = Ranker(lm, catalogue()).find_many([REQUEST, INSTRUCTIONS[0]], 5)
    monkeypatch.setitem(lm.__dict__, "can_share", False)
    apart = Ranker(lm, catalogue()).find_many([REQUEST, INSTRUCTIONS[0]], 5)
    for one, other in zip(shared, apart, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_odd_titles_are_found_like_any_other(lm: Backbone) -> None:
    titles = ["Turbo Kart", "Turbo", "", "Turbo Kart", "Night " * 400, "Night " * 400 + "Lights"]
    ranker = Ranker(lm, catalogue(titles))
    rows, scores = ranker.find(REQUEST, k=10)
    assert sorted(rows.tolist()) == list(range(len(titles)))
    by_row = dict(zip(rows.tolist(), scores.tolist(), strict=True))
    assert by_row[0] == by_row[3]
    assert by_row[4] == by_row[5]  # too long to tell apart: both are cut at the same place
    (wanted,) = ranker.likelihood.score_texts([ranker.question(REQUEST)], [ranker.titles])
    np.testing.assert_allclose(scores, wanted[rows], rtol=1e-5, atol=1e-4)


def test_an_empty_catalogue_has_no_answer(lm: Backbone) -> None:
    assert [len(part) for part in Ranker(lm, catalogue([])).find(REQUEST, k=3)] == [0, 0]


def test_none_are_found_where_none_are_asked_for(ranker: Ranker) -> None:
    assert len(ranker.find(REQUEST, k=0)[0]) == 0
    assert ranker.find_many([], 3) == []


def test_damaged_weights_are_told_instead_of_answered() -> None:
    lm = backbone("tiny-causal")
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[7] = float("nan")
    with pytest.raises(ModelError, match="not a number"):
        Ranker(lm, catalogue()).find(REQUEST)


def test_limits_of_a_request_are_met_inside_the_search(lm: Backbone) -> None:
    items = pl.DataFrame(
        {
            "item_id": [f"i{number:05}" for number in range(len(TITLES))],
            "title": TITLES,
            "price": [float(number) for number in range(len(TITLES))],
            "categories": [["Racing"] if "Kart" in title else ["Other"] for title in TITLES],
            "in_stock": [number % 2 == 0 for number in range(len(TITLES))],
        }
    )
    ranker = Ranker(lm, Catalogue(items))
    filters = Filters.parse(["price<=25", "categories has Racing", "in_stock==true"])
    filters = filters.excluding(["i00008"])
    rows, _ = ranker.find(REQUEST, k=30, allowed=filters.mask(items))
    wanted = [r for r in range(26) if "Kart" in TITLES[r] and r % 2 == 0 and r != 8]
    assert sorted(rows.tolist()) == wanted


def test_a_model_folder_keeps_the_tree_and_stays_whole(
    lm: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_folder(tmp_path / "model", "model", command="") as draft:
        lm.save(draft.path)
    first = Ranker.load(tmp_path / "model", catalogue()).find(REQUEST, k=5)
    assert (tmp_path / "model" / TREE).is_file()
    verify(tmp_path / "model")
    monkeypatch.delattr(CatalogueTree, "build")
    again = Ranker.load(tmp_path / "model", catalogue()).find(REQUEST, k=5)
    assert [part.tobytes() for part in first] == [part.tobytes() for part in again]


@pytest.mark.parametrize("most", [1, 2])
def test_where_memory_runs_out_fewer_requests_are_searched_at_once(
    lm: Backbone, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    ranker = Ranker(lm, catalogue())
    wanted = ranker.find_many(INSTRUCTIONS, 4)
    monkeypatch.setattr(lm, "limits", lm.limits)  # what is halved is restored

    def plant_few(reader: Backbone, prompts: list[list[int]], deepest: int) -> Growth:
        if len(prompts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return plant(reader, prompts, deepest)

    monkeypatch.setattr(matching, "plant", plant_few)
    with pytest.warns(InstructRecWarning, match="fewer requests"):
        found = ranker.find_many(INSTRUCTIONS, 4)
    assert [one.rows.tolist() for one in found] == [one.rows.tolist() for one in wanted]


def test_where_memory_does_not_hold_one_request_that_is_said(
    lm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plant_none(*_: object) -> Growth:
        raise MemoryError

    monkeypatch.setattr(matching, "plant", plant_none)
    with pytest.raises(ModelError, match="not enough memory"):
        Ranker(lm, catalogue()).find(REQUEST)
