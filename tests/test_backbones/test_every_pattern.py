"""In float64 every architecture agrees with plain transformers to nine digits, however the
prompts are padded, whatever candidates share and in whatever blocks they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from instructrec.backbones import Backbone, load
from instructrec.backbones.base import MAX_CANDIDATE_TOKENS
from instructrec.backbones.limits import Limits

from .conftest import FOREIGN, plain_sum

Make = Callable[[str], Path]

IDS = st.integers(5, 60)
PROMPTS = st.lists(st.lists(IDS, min_size=1, max_size=24), min_size=1, max_size=4)
# Few different tokens, so that candidates share beginnings, are equal, or are the beginning of
# one another (they need not end in the end token here).
CANDIDATES = st.lists(st.lists(st.integers(5, 7), min_size=1, max_size=6), max_size=7)
LIMITS = st.builds(
    Limits,
    prompt_tokens=st.sampled_from([1, 30, 2048]),
    block_nodes=st.sampled_from([1, 2, 5, 384]),
    pairs=st.sampled_from([1, 150, 2**22]),
    head_rows=st.sampled_from([1, 3, 256]),
)
NESTED = [[5], [5, 6], [5, 6, 7], [5, 6, 7], [6], [5, 6, 7, 5], [7, 7]]

EXACT = tuple(kind for kind in FOREIGN if kind != "gemma2")
"""Gemma's attention is computed in float32 whatever its weights are: test_exactness has it."""


@pytest.fixture(scope="module")
def exact(make_checkpoint: Make) -> Iterator[Callable[[str], Backbone]]:
    """A checkpoint of an architecture in float64, loaded once."""
    loaded: dict[str, Backbone] = {}

    def get(kind: str) -> Backbone:
        if kind not in loaded:
            loaded[kind] = load(make_checkpoint(kind))
            loaded[kind].model.double()
        return loaded[kind]

    yield get
    loaded.clear()


def _check(backbone: Backbone, prompts: list[list[int]], lists: list[list[list[int]]]) -> None:
    found = backbone.token_log_likelihoods(prompts, lists)
    assert len(found) == len(prompts)
    for prompt, candidates, got in zip(prompts, lists, found, strict=True):
        assert got.lengths.tolist() == [len(ids) for ids in candidates]
        known: dict[tuple[int, ...], float] = {}
        for ids, value in zip(candidates, got.sums.tolist(), strict=True):
            expected = plain_sum(backbone, prompt, ids)
            assert abs(value - expected) <= 1e-9
            assert known.setdefault(tuple(ids), value) == value


def _properties(check: Callable[..., None]) -> Callable[..., None]:
    """The cases of both tests: a few that must be there, then what hypothesis draws."""
    long = [[5 + n % 50 for n in range(20)], [9], [8, 9, 10]]
    for limits in (Limits(1, 1, 1, 1), Limits(2048, 384, 2**22, 256), Limits(40, 2, 90, 3)):
        check = example(prompts=long, lists=[NESTED, [[6]], []], limits=limits)(check)
    lists = st.lists(CANDIDATES, min_size=4, max_size=4)
    return settings(
        max_examples=8,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )(given(prompts=PROMPTS, lists=lists, limits=LIMITS)(check))


@pytest.mark.parametrize("kind", EXACT)
@_properties
def test_every_architecture_is_exact_in_float64(
    exact: Callable[[str], Backbone],
    kind: str,
    prompts: list[list[int]],
    lists: list[list[list[int]]],
    limits: Limits,
) -> None:
    backbone = exact(kind)
    backbone.limits = limits
    _check(backbone, prompts, lists[: len(prompts)])


@_properties
def test_models_made_here_are_exact_in_float64(
    own: Backbone, prompts: list[list[int]], lists: list[list[list[int]]], limits: Limits
) -> None:
    own.model.double()
    own.limits = limits
    try:
        _check(own, prompts, lists[: len(prompts)])
    finally:
        own.model.float()
        own.limits = Limits.usual("cpu")


def test_padding_on_either_side_of_like_prompts_changes_nothing(
    exact: Callable[[str], Backbone],
) -> None:
    """All prompts of lengths 1 to 12 together, each with another list, in one bucket."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(5, 60, size).tolist() for size in range(1, 13)]
    lists = [[[5 + n % 3] * (1 + n % 4) for n in range(size)] for size in range(12)]
    for kind in ("flan", "llama", "gpt2"):
        backbone = exact(kind)
        backbone.limits = Limits.usual("cpu")
        _check(backbone, prompts, lists)


@pytest.mark.parametrize("kind", ["flan", "llama", "gpt2"])
def test_odd_texts_and_lists_are_exact(exact: Callable[[str], Backbone], kind: str) -> None:
    """No title, one beyond the limit, equal ones, a single one, none, and a thousand; a prompt of
    2,000 tokens, or of as many as the positions of the model allow."""
    backbone = exact(kind)
    backbone.limits = Limits.usual("cpu")
    prompts = backbone.prompt_ids(["A gift.", "word " * 1500, "x", "y"], max_tokens=2000)
    assert len(prompts[1]) == (2000 if kind == "flan" else 1024 - MAX_CANDIDATE_TOKENS)
    texts = ["", "endless title " * 200, "Turbo Kart", "Turbo Kart", "Turbo"]
    odd, many = (
        backbone.candidate_ids(texts),
        backbone.candidate_ids([f"Turbo Kart {number}" for number in range(1000)]),
    )
    assert len(odd[0]) == 1 and len(odd[1]) == MAX_CANDIDATE_TOKENS
    _check(backbone, prompts, [odd, odd, odd[2:3], []])
    (found,) = backbone.token_log_likelihoods(prompts[:1], [many])
    for place in range(0, 1000, 97):
        expected = plain_sum(backbone, prompts[0], many[place])
        assert abs(found.sums[place] - expected) <= 1e-9
