"""Whether the order of the candidates matters is computed, shown, and never a way to the target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_ranking.world import TITLES, backbone, catalogue

from instructrec.backbones import Backbone
from instructrec.data.catalogue import Catalogue
from instructrec.data.splits import Protocol
from instructrec.evaluation.figures import draw_places
from instructrec.evaluation.groups import GroupsOfTen
from instructrec.evaluation.markdown import ORDER_FIGURE, to_markdown
from instructrec.evaluation.measure import Contestant, answer, compare, row_of, score_trial
from instructrec.evaluation.memory import Remembering
from instructrec.evaluation.order import FEWEST, check_orders, kendall
from instructrec.evaluation.report import OrderCheck, Report
from instructrec.evaluation.trec import settled, write_trec
from instructrec.evaluation.trials import CandidateList, Trial
from instructrec.instructions.requests import Requests
from instructrec.instructions.schema import Instruction, Preference, Scenario
from instructrec.protocols import Rows, Scores
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig

ALL = frozenset({"history", "words"})


def trial(requests: int = 40, width: int = 10, items: int = 400, seed: int = 0) -> Trial:
    """Requests with random candidates, the target in column 0."""
    rng = np.random.default_rng(seed)
    rows = np.argsort(rng.random((requests, items)), axis=1)[:, :width]
    scenario = Scenario.parse("P1,I0,T3")
    names = [f"u{number:02}" for number in range(requests)]
    asked = Requests(
        scenario,
        "test",
        [Instruction(Preference((TITLES[n % 20], name))) for n, name in enumerate(names)],
        rows[:, 0],
        [np.zeros(0, np.int64)] * requests,
        list(names),
        [f"i{row:05}" for row in rows[:, 0]],
        names,
    )
    return Trial(scenario, Protocol.LEAVE_ONE_OUT, asked, rows, CandidateList(first=width - 1))


class ByRow:
    """Scores a row by a number of its own, and by its place as much as it cares for places."""

    name = "by-row"

    def __init__(self, care: float = 0.0, apart: bool = True) -> None:
        self.care = care
        self.scores_apart = apart
        self.lists_candidates = care > 0
        self.seen: list[Rows] = []

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        self.seen.append(candidates)
        worth = np.random.default_rng(5).random(1_000)[candidates]
        place = np.linspace(1, 0, candidates.shape[1])
        scores = worth + self.care * place
        return np.where(candidates < 0, -np.inf, scores).astype(np.float32)


def ours(scorer: object) -> Contestant:
    return Contestant("instructrec-lm", "ours", ALL, scorer)  # type: ignore[arg-type]


def check(scorer: object, requests: int = 30, **more: int) -> OrderCheck:
    (found,) = check_orders(trial(**more), [ours(scorer)], requests)
    return found


def test_a_model_that_looks_at_no_place_is_consistent_and_flat_by_computation() -> None:
    found = check(ByRow())
    assert (found.same_first, found.same_order, found.kendall) == (1.0, 1.0, 1.0)
    assert found.places == tuple(range(1, 11)) and len(set(found.hits)) == 1


def test_a_model_that_likes_first_places_shows_in_every_figure() -> None:
    some, much = check(ByRow(care=0.3)), check(ByRow(care=20.0))
    assert 1 > some.kendall > much.kendall
    assert 1 > some.same_first > much.same_first
    assert some.hits[0] > some.hits[-1]
    assert (much.hits[0], much.hits[-1]) == (1.0, 0.0)


def test_only_a_bounded_sample_is_asked_in_other_orders() -> None:
    scorer = ByRow()
    assert check(scorer, requests=8).requests == 8
    assert [rows.shape for rows in scorer.seen] == [(8, 10)] * 10
    long = ByRow()
    found = check(long, width=200)
    assert found.requests == FEWEST and len(found.places) == 10
    assert (found.places[0], found.places[-1]) == (1, 200)
    assert list(check_orders(trial(), [ours(scorer)], 0)) == []


def test_lists_that_are_short_are_not_asked(tmp_path: Path) -> None:
    asked = trial(6)
    asked.candidates[2, 7:] = -1
    scorer = ByRow()
    (found,) = check_orders(asked, [ours(scorer)], 30)
    assert found.requests == 5
    assert all((rows >= 0).all() for rows in scorer.seen)


@pytest.fixture(scope="module")
def caring() -> Backbone:
    """A small causal model with random weights so large that every word of a prompt matters."""
    lm = backbone("tiny-causal")
    with torch.no_grad():
        for name, weight in lm.model.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                weight.mul_(5.0)
    return lm


def _check_ranker(lm: Backbone, **scoring: object) -> OrderCheck:
    ranker = Ranker(lm, catalogue(), scoring=ScoringConfig(**scoring))  # type: ignore[arg-type]
    return check(Remembering(ranker), 16, items=len(TITLES), width=6)


def test_a_model_that_is_shown_its_candidates_once_is_not_consistent(caring: Backbone) -> None:
    found = _check_ranker(caring, list_candidates=True)
    assert found.same_first < 1 and found.same_order < 1 and found.kendall < 1
    assert max(found.hits) > min(found.hits)


@pytest.mark.parametrize("scoring", [{}, {"list_candidates": True, "orders": 3}], ids=str)
def test_unlisted_candidates_or_several_orders_make_it_consistent_and_flat(
    caring: Backbone, scoring: dict[str, object]
) -> None:
    found = _check_ranker(caring, **scoring)
    assert (found.same_first, found.same_order, found.kendall) == (1.0, 1.0, 1.0)
    assert len(set(found.hits)) == 1


@given(st.permutations(range(7)))
def test_kendall_agrees_with_counting_pairs(order: list[int]) -> None:
    first, second = np.arange(7)[None], np.array([order])
    place = np.argsort(order)
    agree = [np.sign(place[b] - place[a]) for a in range(7) for b in range(a + 1, 7)]
    assert kendall(first, second)[0] == pytest.approx(np.mean(agree))


def test_the_place_of_the_target_never_tells_a_model_that_sees_places() -> None:
    """Column 0 holds the target; a model that loves the first place must not gain by that."""
    asked = trial(400)
    hits = (score_trial(asked, ours(ByRow(care=99.0))).argmax(axis=1) == 0).mean()
    assert hits == pytest.approx(0.1, abs=0.05)
    scores = score_trial(asked, ours(ByRow()))
    assert np.array_equal(scores, ByRow().score(asked.requests.instructions, asked.candidates))


def test_the_report_tells_and_draws_what_order_does(tmp_path: Path) -> None:
    checks = (check(ByRow()), check(ByRow(care=0.3)))
    report = Report(summary="Nothing.", rows=(), orders=checks)
    text = to_markdown(report, {})
    assert "| 1.0000 | 1.0000 | 1.0000 |" in text and f"({ORDER_FIGURE})" in text
    assert Report.model_validate_json(report.model_dump_json()) == report
    draw_places(tmp_path / "order.png", checks)
    assert (tmp_path / "order.png").read_bytes().startswith(b"\x89PNG")
    assert "order" not in to_markdown(Report(summary="Nothing.", rows=()), {})


def test_groups_of_ten_rank_winners_first_and_lose_what_was_second_in_its_group() -> None:
    asked = trial(60, width=100)
    whole = ByRow().score(asked.requests.instructions, asked.candidates)
    cut = GroupsOfTen(ByRow(apart=False)).score(asked.requests.instructions, asked.candidates)
    # What is best of all wins its group and the final.
    assert np.array_equal(whole.argmax(axis=1), cut.argmax(axis=1))
    best = np.argsort(-whole, axis=1)[:, :10]
    cut_best = np.argsort(-cut, axis=1)[:, :10]
    kept = [len(set(a) & set(b)) for a, b in zip(best.tolist(), cut_best.tolist(), strict=True)]
    assert 4 < np.mean(kept) < 9


def test_equals_in_a_group_are_told_apart_by_row_whatever_the_shuffle() -> None:
    class Nothing(ByRow):
        def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
            return np.zeros(candidates.shape, np.float32)

    asked = trial(30, width=20)
    for seed in range(5):
        scores = GroupsOfTen(Nothing(), seed).score(asked.requests.instructions, asked.candidates)
        best = scores == scores.max(axis=1, keepdims=True)
        assert (best.sum(axis=1) == 2).all()
        # Of two groups of ten one has the smallest row of all, and so has the winners.
        assert best[np.arange(30), asked.candidates.argmin(axis=1)].all()
        assert not best[np.arange(30), asked.candidates.argmax(axis=1)].any()


def test_groups_have_ten_candidates_and_their_winners_meet() -> None:
    scorer = ByRow(apart=False)
    asked = trial(3, width=100)
    GroupsOfTen(scorer).score(asked.requests.instructions, asked.candidates)
    *groups, final = scorer.seen
    assert [rows.shape for rows in groups] == [(3, 10)] * 10 and final.shape == (3, 10)
    together = np.sort(np.concatenate(groups, axis=1), axis=1)
    assert np.array_equal(together, np.sort(asked.candidates, axis=1))


def test_groups_are_read_off_one_ranking_where_company_does_not_matter() -> None:
    asked, apart = trial(20, width=37), ByRow()
    apart_scores = GroupsOfTen(apart).score(asked.requests.instructions, asked.candidates)
    assert len(apart.seen) == 1
    again = GroupsOfTen(ByRow(apart=False)).score(asked.requests.instructions, asked.candidates)
    assert np.array_equal(apart_scores, again)


def test_groups_of_ten_stand_as_a_rival_where_lists_are_long() -> None:
    dear = ByRow()
    lm = Remembering(dear)
    field = [Contestant("groups-of-ten", "rival", ALL, GroupsOfTen(lm), above=10), ours(lm)]
    world = Catalogue(pl.DataFrame({"item_id": [f"i{n:03}" for n in range(400)]}))
    assert [o.contestant.name for o in answer(trial(5), field, world)] == ["instructrec-lm"]
    outcomes = list(answer(trial(5, width=11), field, world))
    assert [row_of(one, 0).model for one in outcomes] == ["groups-of-ten", "instructrec-lm"]
    assert len(dear.seen) == 2  # once a trial: the rival is read off the same scores
    (gap,) = compare(outcomes, 0)
    assert gap.other == "groups-of-ten" and not gap.best_rival


def test_a_run_of_long_lists_is_written_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = trial(7, width=50)
    world = Catalogue(pl.DataFrame({"item_id": [f"i{n:03}" for n in range(400)]}))
    scores = settled(ByRow().score(asked.requests.instructions, asked.candidates), asked.candidates)
    told = (asked.requests.keys, asked.candidates, scores, world, "lm")
    write_trec(tmp_path / "whole", *told)
    monkeypatch.setattr("instructrec.evaluation.trec._LINES", 120)
    write_trec(tmp_path / "parts", *told)
    for name in ("run.trec", "qrels.trec"):
        whole, parts = ((tmp_path / where / name).read_bytes() for where in ("whole", "parts"))
        assert whole == parts
    assert len((tmp_path / "parts" / "run.trec").read_text().splitlines()) == 350
