"""Memory is bounded by a setting, and when it runs out less is read at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from instructrec.backbones import Backbone
from instructrec.backbones.limits import SMALLEST_BLOCK, Cost, Limits, is_out_of_memory
from instructrec.errors import InstructRecWarning, ModelError

from .conftest import TITLES, history


def _world(backbone: Backbone) -> tuple[list[list[int]], list[list[list[int]]]]:
    prompts = backbone.prompt_ids([history(list(TITLES[:n])) for n in (1, 5, 3, 8)])
    lists = [backbone.candidate_ids([f"{t} {n}" for t in TITLES]) for n in range(4)]
    return prompts, lists


def _runs_out(
    patch: pytest.MonkeyPatch, backbone: Backbone, is_too_much: Callable[..., bool], error: Any
) -> list[tuple[int, ...]]:
    """Make ``follow`` raise while what it is handed is too much; what it managed is listed."""
    managed: list[tuple[int, ...]] = []
    follow = type(backbone).follow

    def tight(self: Any, memory: Any, tree: Any) -> Any:
        if is_too_much(tree.tokens.shape):
            raise error
        managed.append(tuple(tree.tokens.shape))
        return follow(self, memory, tree)

    patch.setattr(type(backbone), "follow", tight)
    patch.setattr(backbone, "_limits", Limits.usual("cpu"))
    return managed


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"),
    ],
    ids=["python", "cuda", "linux", "windows"],
)
def test_when_memory_runs_out_less_is_read_and_the_scores_are_the_same(
    own: Backbone, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    prompts, lists = _world(own)
    whole = own.token_log_likelihoods(prompts, lists)
    managed = _runs_out(monkeypatch, own, lambda shape: shape[0] * shape[1] > 40, error)
    with pytest.warns(InstructRecWarning, match="memory ran out on cpu") as told:
        found = own.token_log_likelihoods(prompts, lists)
    assert len(told) == 1
    assert managed and all(rows * nodes <= 40 for rows, nodes in managed)
    for one, other in zip(whole, found, strict=True):
        np.testing.assert_allclose(one.sums, other.sums, atol=1e-4, rtol=0)


def test_what_did_not_fit_once_is_not_tried_again_nor_told_again(
    own: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, lists = _world(own)
    _runs_out(monkeypatch, own, lambda shape: shape[0] > 1, MemoryError())
    with pytest.warns(InstructRecWarning):
        own.token_log_likelihoods(prompts, lists)
    kept = own.limits
    assert kept.halvings > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.token_log_likelihoods(prompts, lists)
    assert own.limits == kept


def test_when_not_even_one_prompt_fits_that_is_one_clear_error(
    own: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, lists = _world(own)
    _runs_out(monkeypatch, own, lambda shape: True, MemoryError())
    with (
        pytest.warns(InstructRecWarning),
        pytest.raises(ModelError, match="not enough memory on cpu for a prompt of"),
    ):
        own.token_log_likelihoods(prompts, lists)


def test_candidates_after_a_prompt_that_was_read_need_no_more_memory_either(
    own: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, lists = _world(own)
    candidates = [ids for one in lists for ids in one]
    memory = own.read(prompts[:1])
    whole = own.memory_log_likelihoods(memory, candidates)
    most = sum(map(len, candidates)) // 4
    managed = _runs_out(monkeypatch, own, lambda shape: shape[1] > most, MemoryError())
    with pytest.warns(InstructRecWarning, match="memory ran out on cpu"):
        found = own.memory_log_likelihoods(memory, candidates)
    assert managed
    np.testing.assert_allclose(found.sums, whole.sums, atol=1e-4, rtol=0)
    _runs_out(monkeypatch, own, lambda shape: True, MemoryError())
    with (
        pytest.warns(InstructRecWarning),
        pytest.raises(ModelError, match=r"not enough memory on cpu for .* candidates"),
    ):
        own.memory_log_likelihoods(memory, candidates)


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    own: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    _runs_out(monkeypatch, own, lambda shape: True, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        own.token_log_likelihoods(*_world(own))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_a_likelihood_that_is_no_number_is_never_ranked(
    own: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(own), "head_output", lambda self, logits: logits * float("inf"))
    for constrained in (False, True):
        with pytest.raises(ModelError, match="not a number"):
            own.token_log_likelihoods(*_world(own), constrained)


COST = Cost(token=1000, pair=50, row=40_000)


def test_less_memory_never_allows_more_at_once() -> None:
    found = [Limits.usual("cuda").within(size, COST) for size in (0.001, 1, 16, 256, 4096, 1e6)]
    for low, high in pairwise(found):
        for name in ("prompt_tokens", "block_nodes", "pairs", "head_rows"):
            assert 1 <= getattr(low, name) <= getattr(high, name)
    assert found[-1] == Limits.usual("cuda")


def test_what_the_limits_allow_fits_the_memory_that_was_set() -> None:
    limits = Limits.usual("cuda").within(64, COST)
    parts = (limits.prompt_tokens, limits.pairs, limits.head_rows)
    used = sum(a * b for a, b in zip(parts, (COST.token, COST.pair, COST.row), strict=True))
    assert used <= 64 * 2**20
    assert limits.block_nodes >= SMALLEST_BLOCK


def test_bounded_memory_reads_less_at_once_with_the_same_scores(
    own: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, lists = _world(own)
    whole = own.token_log_likelihoods(prompts, lists)
    managed = _runs_out(monkeypatch, own, lambda shape: False, None)
    own.token_log_likelihoods(prompts, lists)
    usual = max(rows * nodes for rows, nodes in managed)
    managed.clear()
    own.bound_memory(0.05)
    found = own.token_log_likelihoods(prompts, lists)
    assert max(rows * nodes for rows, nodes in managed) < usual
    for one, other in zip(whole, found, strict=True):
        np.testing.assert_allclose(one.sums, other.sums, atol=1e-4, rtol=0)
