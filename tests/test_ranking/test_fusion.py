"""Fusion finds out what each piece of evidence is worth, and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.errors import FolderError
from instructrec.folders import write_json
from instructrec.instructions.schema import Instruction, Intention, IntentionKind, Preference
from instructrec.ranking.fusion import Fusion, Piece, fit_fusion, fusion_content, prepare

TRUE = {"a": 2.0, "b": 0.7, "noise": 0.0}


def world(n: int, c: int, seed: int) -> dict[str, np.ndarray]:
    """Scores whose weighted sum, with the noise of a softmax choice, decides the target."""
    rng = np.random.default_rng(seed)
    pieces = {name: rng.normal(size=(n, c)) * 3.0 + 5.0 for name in TRUE}
    utility = sum(TRUE[name] * (values - 5.0) / 3.0 for name, values in pieces.items())
    chosen = (utility + rng.gumbel(size=(n, c))).argmax(axis=1)
    for values in pieces.values():
        lines = np.arange(n)
        values[lines, 0], values[lines, chosen] = values[lines, chosen], values[lines, 0].copy()
    return {name: values.astype(np.float32) for name, values in pieces.items()}


class Fixed:
    """A scorer that looks its scores up."""

    def __init__(self, name: str, by_row: np.ndarray) -> None:
        self.name, self.by_row = name, by_row

    def score(self, instructions, candidates):
        found = self.by_row[np.maximum(candidates, 0)]
        return np.where(candidates < 0, -np.inf, found).astype(np.float32)


def hit_rate(scores: np.ndarray) -> float:
    return float((scores[:, :1] > scores[:, 1:]).all(axis=1).mean())


def combine(weights: dict[str, Piece], pieces: dict[str, np.ndarray]) -> np.ndarray:
    return sum(
        prepare(name, scores) * weights[name].weight / weights[name].scale
        for name, scores in pieces.items()
    )


def test_known_weights_are_found_again_and_noise_gets_nearly_none():
    found = fit_fusion(world(6000, 10, seed=1))
    for name, weight in TRUE.items():
        per_unit = found[name].weight / found[name].scale * 3.0
        assert per_unit == pytest.approx(weight, abs=0.08)


def test_the_sum_beats_each_piece_on_requests_it_was_not_fitted_on():
    weights = fit_fusion(world(1500, 10, seed=2))
    unseen = world(3000, 10, seed=3)
    fused = hit_rate(combine(weights, unseen))
    assert fused > max(hit_rate(scores) for scores in unseen.values()) + 0.02


def test_the_order_of_the_pieces_and_of_the_negatives_does_not_matter():
    pieces = world(400, 8, seed=4)
    order = np.concatenate([[0], 1 + np.random.default_rng(0).permutation(7)])
    turned = {name: pieces[name][:, order] for name in reversed(pieces)}
    first, second = fit_fusion(pieces), fit_fusion(turned)
    for name, piece in first.items():
        assert second[name].weight == pytest.approx(piece.weight, abs=1e-4)


def test_a_piece_that_misleads_gets_no_weight():
    pieces = world(1500, 10, seed=5)
    pieces["wrong"] = -pieces["a"]
    pieces["silent"] = np.zeros_like(pieces["a"])
    del pieces["a"]
    found = fit_fusion(pieces)
    assert found["wrong"].weight == 0.0
    assert found["silent"].weight == 0.0


def test_short_lists_and_lists_of_one_are_no_obstacle():
    pieces = world(500, 6, seed=6)
    for values in pieces.values():
        values[:100, 4:] = -np.inf
        values[100:120, 1:] = -np.inf
    found = fit_fusion(pieces)
    assert found["a"].weight > found["b"].weight > found["noise"].weight


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_a_permutation_of_the_candidates_permutes_the_scores(seed: int, count: int):
    rng = np.random.default_rng(seed)
    pieces = {name: Fixed(name, rng.normal(size=30)) for name in ("lm", "popularity")}
    weights = {"P,I0": {"lm": Piece(1.5, 0.3), "popularity": Piece(0.2, 2.0)}}
    fusion = Fusion(pieces, weights)
    instruction = Instruction(Preference(history=("Racer",)))
    rows = rng.choice(30, size=(1, count), replace=False)
    order = rng.permutation(count)
    scores = fusion.score([instruction], rows)
    assert np.array_equal(fusion.score([instruction], rows[:, order]), scores[:, order])


def test_explanations_add_up_to_the_score_and_absent_candidates_get_minus_infinity():
    rng = np.random.default_rng(0)
    pieces = {name: Fixed(name, rng.normal(size=30)) for name in ("lm", "dense", "unweighted")}
    by_kind = {"lm": Piece(1.0, 2.0), "dense": Piece(0.5, 1.0), "missing": Piece(9.0, 1.0)}
    fusion = Fusion(pieces, {"P,I0": by_kind, "P0,I": by_kind})
    instructions = [
        Instruction(Preference(history=("Racer",))),
        Instruction(intention=Intention("a game", IntentionKind.VAGUE)),
    ]
    rows = np.array([[3, 4, 5], [7, 9, -1]])
    told = fusion.explain(instructions, rows)
    scores = fusion.score(instructions, rows)
    assert list(told) == ["dense", "lm"]
    assert np.isneginf(scores[1, 2])
    there = rows >= 0
    assert sum(told.values())[there] == pytest.approx(scores[there], abs=1e-6)


def test_who_says_nothing_gets_what_most_people_take():
    pieces = {
        "popularity": Fixed("popularity", np.array([1.0, 9.0, 4.0])),
        "lm": Fixed("lm", np.array([9.0, 0.0, 0.0])),
    }
    fusion = Fusion(pieces, {"P,I0": {"lm": Piece(1.0, 1.0), "popularity": Piece(0.0, 1.0)}})
    assert fusion.score([Instruction()], np.array([[0, 1, 2]])).argmax() == 1


def test_weights_are_read_as_they_were_written(tmp_path: Path):
    weights = {"P,I0": {"lm": Piece(1.0, 2.0)}, "P0,I": {"lm": Piece(0.5, 2.0)}}
    without = {"P,I0": {"dense": Piece(0.7, 0.1)}}
    write_json(tmp_path / "fusion.json", fusion_content(weights, without, {"made_by": {}}))
    lm = Fixed("lm", np.arange(3.0))
    assert Fusion.load(tmp_path / "fusion.json", {"lm": lm}).weights == weights
    rival = Fusion.load(tmp_path / "fusion.json", {"lm": lm}, without_lm=True)
    assert (rival.name, rival.weights, rival.pieces) == ("fused-without-lm", without, {})


def test_a_file_without_weights_is_named(tmp_path: Path):
    write_json(tmp_path / "fusion.json", {"P,I0": {}})
    with pytest.raises(FolderError, match=r"fusion\.json holds no fusion weights"):
        Fusion.load(tmp_path / "fusion.json", {}, without_lm=True)
