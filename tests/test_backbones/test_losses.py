"""The losses tuning sees: response and history titles apart, equal to plain transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from instructrec.backbones import Backbone

from .conftest import TITLES, history, plain_sum


def _examples(backbone: Backbone) -> list[Any]:
    titles = list(TITLES)
    return [
        backbone.encode(history(titles[:5]), titles[5]),
        backbone.encode(history(titles[2:4]), "Someone who likes puzzles.", asks="preference"),
        backbone.encode("A gift for my son.", titles[0]),
    ]


def _check_response(backbone: Backbone) -> None:
    examples = _examples(backbone)
    parts = backbone.loss_parts(backbone.collate(examples))
    expected = -sum(plain_sum(backbone, one.prompt, one.response) for one in examples)
    assert parts.response_nll.item() == pytest.approx(expected, abs=1e-2)
    assert parts.response_tokens.item() == sum(len(one.response) for one in examples)


def test_the_response_loss_is_the_plain_one(own: Backbone) -> None:
    _check_response(own)


def test_the_response_loss_is_the_plain_one_for_every_architecture(foreign: Backbone) -> None:
    _check_response(foreign)


def test_a_causal_history_title_costs_what_it_would_as_a_candidate(own: Backbone) -> None:
    examples = _examples(own)
    parts = own.loss_parts(own.collate(examples))
    expected, tokens = 0.0, 0
    for one in examples:
        for start, end in one.spans:
            expected -= plain_sum(own, one.prompt[:start], one.prompt[start:end])
            tokens += end - start
    assert (tokens > 0) == (own.family == "causal")
    assert parts.span_tokens.item() == tokens
    assert parts.span_nll.item() == pytest.approx(expected, abs=1e-2)


def test_both_losses_reach_the_weights(own: Backbone) -> None:
    own.model.zero_grad()
    parts = own.loss_parts(own.collate(_examples(own)))
    (parts.response_nll + parts.span_nll).backward()
    gradients = [p.grad for p in own.model.parameters() if p.requires_grad]
    own.model.zero_grad()
    assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients)


def test_a_batch_counts_the_tokens_it_reads(own: Backbone) -> None:
    examples = _examples(own)
    assert own.collate(examples).tokens == sum(len(one) for one in examples)
    assert own.collate(examples).to("cpu").tokens == own.collate(examples).tokens


def test_an_example_fits_its_limit(own: Backbone) -> None:
    one = own.encode(history(list(TITLES) * 4), " and ".join(TITLES), max_tokens=64)
    assert len(one.response) <= 32
    assert len(one.prompt) + (len(one.response) if own.family == "causal" else 0) <= 64
