"""Shared reading gives what plain transformers gives, one candidate and one pass at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from instructrec.backbones import Backbone, load
from instructrec.backbones.limits import Limits
from instructrec.backbones.unshared import UnsharedMemory

from .conftest import TITLES, history, plain_sum

Make = Callable[[str], Path]


def _check(backbone: Backbone, prompts: list, lists: list[list[list[int]]]) -> None:
    found = backbone.token_log_likelihoods(prompts, lists)
    for prompt, candidates, got in zip(prompts, lists, found, strict=True):
        assert got.lengths.tolist() == [len(ids) for ids in candidates]
        for ids, value in zip(candidates, got.sums, strict=True):
            expected = plain_sum(backbone, prompt, ids)
            assert abs(value - expected) <= min(1e-4 * len(ids), 1e-3)


def _world(backbone: Backbone) -> tuple[list[list[int]], list[list[list[int]]]]:
    prompts = [history(list(TITLES[:n])) for n in (1, 7, 3)] + ["A gift for my son."]
    titles = [TITLES, TITLES[2:5], ["", "Turbo Kart", "Turbo Kart"], TITLES[:1]]
    return backbone.prompt_ids(prompts), [backbone.candidate_ids(list(t)) for t in titles]


def test_own_backbones_equal_plain_transformers(own: Backbone) -> None:
    _check(own, *_world(own))


def test_every_architecture_equals_plain_transformers(foreign: Backbone) -> None:
    _check(foreign, *_world(foreign))


def test_company_does_not_change_a_score(own: Backbone) -> None:
    prompts, lists = _world(own)
    together = own.token_log_likelihoods(prompts, lists)
    for prompt, candidates, got in zip(prompts, lists, together, strict=True):
        (alone,) = own.token_log_likelihoods([prompt], [candidates])
        np.testing.assert_allclose(got.sums, alone.sums, atol=1e-5 * got.lengths.max(), rtol=0)


def test_equal_candidates_score_equally_and_in_any_order(own: Backbone) -> None:
    prompt = own.prompt_ids([history(list(TITLES[:3]))])
    ids = own.candidate_ids([*TITLES, *TITLES[::-1]])
    (found,) = own.token_log_likelihoods(prompt, [ids])
    assert found.sums.tolist() == found.sums[::-1].tolist()


def test_a_long_list_is_read_in_blocks_with_the_same_result(
    own: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    lists = [
        [[*rng.integers(5, 12, rng.integers(0, 7)).tolist(), 1] for _ in range(count)]
        for count in (120, 4, 40)
    ]
    prompts = own.prompt_ids(["one", history(list(TITLES[:4])), "three"])
    whole = own.token_log_likelihoods(prompts, lists)
    monkeypatch.setattr(own, "_limits", Limits(20, 16, 1_000, 7))
    parts = own.token_log_likelihoods(prompts, lists)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.sums, other.sums, atol=1e-4, rtol=0)
    _check(own, prompts[1:2], lists[1:2])


def test_short_prompts_with_long_lists_are_read_few_at_a_time(
    own: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    follow = type(own).follow

    def watching(self, memory, tree):
        read.append(tree.tokens.shape)
        return follow(self, memory, tree)

    monkeypatch.setattr(type(own), "follow", watching)
    prompts = own.prompt_ids([f"number {number}" for number in range(30)])
    lists = [own.candidate_ids([f"{number} Turbo Kart {n}" for n in range(30)]) for number in "abc"]
    pairs = 60_000
    monkeypatch.setattr(own, "_limits", replace(own.limits, pairs=pairs))
    found = own.token_log_likelihoods(prompts, lists * 10)
    longest = max(map(len, prompts))
    assert len(read) > 1
    assert all(rows == 1 or rows * nodes * (nodes + longest) <= pairs for rows, nodes in read)
    assert abs(found[17].sums[4] - plain_sum(own, prompts[17], lists[17 % 3][4])) < 1e-3


def test_a_thousand_candidates_are_scored_jointly(own: Backbone) -> None:
    texts = [f"Turbo Kart {number}" for number in range(1000)]
    prompt = own.prompt_ids([history(list(TITLES))])
    ids = own.candidate_ids(texts)
    (found,) = own.token_log_likelihoods(prompt, [ids])
    for place in (0, 499, 999):
        assert abs(found.sums[place] - plain_sum(own, prompt[0], ids[place])) < 1e-3


def test_a_prompt_of_two_thousand_tokens_is_scored(own: Backbone) -> None:
    prompt = own.prompt_ids(["word " * 3000], max_tokens=2000)
    assert len(prompt[0]) == 2000
    _check(own, prompt, [own.candidate_ids(["Garden Hose"])])


def test_a_prompt_beyond_the_positions_of_a_model_is_cut(make_checkpoint: Make) -> None:
    backbone = load(make_checkpoint("gpt2"))
    (prompt,) = backbone.prompt_ids(["word " * 3000], max_tokens=4000)
    assert len(prompt) == 1024 - 256
    _check(backbone, [prompt], [backbone.candidate_ids(["Garden Hose"])])


def test_no_prompts_and_no_candidates_give_nothing(own: Backbone) -> None:
    assert own.token_log_likelihoods([], []) == []
    (found,) = own.token_log_likelihoods(own.prompt_ids(["alone"]), [[]])
    assert found.sums.shape == found.lengths.shape == (0,)


def test_constrained_scores_are_a_distribution_over_the_candidates(own: Backbone) -> None:
    prompts, lists = _world(own)
    for found in own.token_log_likelihoods(prompts, lists, constrained=True):
        unique = np.unique(found.sums)
        assert np.all(unique <= 1e-6)
    (found,) = own.token_log_likelihoods(prompts[:1], lists[:1], constrained=True)
    assert np.isclose(np.exp(found.sums).sum(), 1.0)


def test_constrained_equals_a_renormalised_walk(own: Backbone) -> None:
    prompt, candidates = own.prompt_ids(["go"])[0], [[5, 6, 1], [5, 7, 1], [8, 1], [5, 6, 9, 1]]
    (found,) = own.token_log_likelihoods([prompt], [candidates], constrained=True)
    for ids, value in zip(candidates, found.sums, strict=True):
        expected = 0.0
        for step, token in enumerate(ids):
            allowed = {c[step] for c in candidates if c[:step] == ids[:step]}
            # A step's log-likelihood is a difference of sums, and so is that of each rival.
            rivals = {t: plain_sum(own, prompt, [*ids[:step], t]) for t in allowed}
            expected += rivals[token] - np.logaddexp.reduce(list(rivals.values()))
        assert abs(value - expected) < 1e-4


def test_models_of_sliding_attention_read_long_prompts_unshared(make_checkpoint: Make) -> None:
    backbone = load(make_checkpoint("mistral"))
    prompts, lists = _world(backbone)
    assert isinstance(backbone.read(prompts), UnsharedMemory)
    _check(backbone, prompts, lists)


def test_what_cannot_share_a_prompt_is_still_exact(make_checkpoint: Make) -> None:
    backbone = load(make_checkpoint("gpt2"))
    assert backbone.can_share
    backbone.can_share = False
    _check(backbone, *_world(backbone))
