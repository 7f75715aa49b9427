"""What a caller can get wrong ends in one clear line and never in a wrong ranking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from instructrec.backbones import Backbone
from instructrec.cli.app import run as run_cli
from instructrec.errors import FolderError, ModelError, UsageError
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig
from instructrec.ranking.texts import rank_texts

from .world import INSTRUCTIONS, TITLES, catalogue


@pytest.fixture
def folder(lm: Backbone, tmp_path: Path) -> Path:
    lm.save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("row", [-2, len(TITLES), 10**9])
def test_a_row_that_is_not_in_the_catalogue_is_named(lm: Backbone, row: int) -> None:
    ranker = Ranker(lm, catalogue())
    for ask in (ranker.score, ranker.rank):
        with pytest.raises(UsageError, match=f"no row {row} in a catalogue of {len(TITLES)}"):
            ask(INSTRUCTIONS[:1], np.array([[0, row]]))


@pytest.mark.parametrize(
    "rows",
    [np.zeros((2, 3), np.int64), np.zeros(3, np.int64), np.array([[0.0, 1.0]]), np.array([["0"]])],
    ids=["two lists", "no lists", "fractions", "texts"],
)
def test_candidates_of_another_shape_or_kind_are_refused(lm: Backbone, rows: np.ndarray) -> None:
    with pytest.raises(UsageError, match="Give"):
        Ranker(lm, catalogue()).score(INSTRUCTIONS[:1], rows)


def test_no_candidates_give_no_scores(lm: Backbone) -> None:
    for scoring in (ScoringConfig(), ScoringConfig(list_candidates=True, orders=3)):
        ranker = Ranker(lm, catalogue(), scoring=scoring)
        nothing = np.zeros((2, 0), dtype=np.int64)
        assert ranker.score(INSTRUCTIONS[:2], nothing).shape == (2, 0)
        assert ranker.rank(INSTRUCTIONS[:2], nothing).shape == (2, 0)
        empty = np.full((1, 3), -1)
        assert ranker.score(INSTRUCTIONS[:1], empty).tolist() == [[-np.inf] * 3]


def test_a_model_that_computes_no_numbers_ranks_nothing(lm: Backbone) -> None:
    weight = next(iter(lm.model.parameters()))
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[5:] = float("nan")
        with pytest.raises(ModelError, match="not a number"):
            Ranker(lm, catalogue()).rank(INSTRUCTIONS[:1], np.array([[0, 1, 2]]))
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_a_template_that_is_not_there_is_told_when_the_model_is_loaded(folder: Path) -> None:
    ScoringConfig(templates={"P1,I0,T3": "Z99"}).save(folder)
    with pytest.raises(FolderError, match=r"P1,I0,T3 by the template 'Z99'"):
        Ranker.load(folder, catalogue())


@pytest.mark.parametrize("weight", ["NaN", "Infinity"])
def test_a_weight_that_is_no_number_is_refused(folder: Path, weight: str) -> None:
    (folder / "scoring.json").write_text(f'{{"rule": "pmi", "pmi_weight": {weight}}}')
    with pytest.raises(FolderError, match=r"scoring\.json"):
        Ranker.load(folder, catalogue())


def test_empty_texts_are_not_ranked(folder: Path) -> None:
    with pytest.raises(UsageError, match="a candidate is empty"):
        rank_texts(folder, "A gift for my son.", ["Turbo Kart", "  "])
    with pytest.raises(UsageError, match="the instruction is empty"):
        rank_texts(folder, " ", ["Turbo Kart"])


def test_a_gpu_that_is_not_there_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ["rank", str(folder), "--instruction", "go", "--candidate", "Turbo Kart"]
    assert run_cli([*words, "--device", "cuda"]) == 2
    assert "CUDA is asked for" in capsys.readouterr().err
    assert run_cli([*words, "--device", "cpu", "--memory", "1"]) == 0


def test_less_memory_gives_the_same_ranking(folder: Path) -> None:
    usual = rank_texts(folder, "A gift for my son.", TITLES)
    small = rank_texts(folder, "A gift for my son.", TITLES, memory=0.05)
    for one, other in zip(usual["results"], small["results"], strict=True):
        assert one["candidate"] == other["candidate"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_long_lists_of_many_requests_are_scored_few_requests_at_a_time(
    lm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = Ranker(lm, catalogue())
    asked = []
    inner = ranker.likelihood.score_texts
    monkeypatch.setattr("instructrec.ranking.ranker._TEXTS", 64)
    monkeypatch.setattr(
        ranker.likelihood, "score_texts", lambda *args: asked.append(len(args[0])) or inner(*args)
    )
    rows = np.tile(np.arange(len(TITLES)), (5, 1))
    instructions = [INSTRUCTIONS[0]] * 5
    scores = ranker.score(instructions, rows)
    assert asked == [1] * 5
    monkeypatch.undo()
    np.testing.assert_allclose(ranker.score(instructions, rows), scores, atol=1e-4)
