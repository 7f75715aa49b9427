"""bfloat16 orders candidates as float32 does, once a model has learnt what to prefer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from instructrec.backbones import SHAPES, Backbone, create, load
from instructrec.backbones.shapes import Shape

from .conftest import TITLES, history

STEPS = 60


@pytest.fixture(scope="module", params=["tiny-t5", "tiny-causal"])
def tuned(request: pytest.FixtureRequest, tokenizer: Any) -> Backbone:
    """A model that learnt, in a second or two, that each title is followed by the next one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, request.param, Shape(width=48, heads=4, layers=2, feed_forward=96))
        backbone = create(request.param, tokenizer, seed=1)
    pairs = list(zip(TITLES, TITLES[1:] + TITLES[:1], strict=True))
    batch = backbone.collate([backbone.encode(history([first]), next_) for first, next_ in pairs])
    optimizer = torch.optim.AdamW(backbone.model.parameters(), lr=5e-3)
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(STEPS):
            parts = backbone.loss_parts(batch)
            loss = parts.response_nll / parts.response_tokens
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    backbone.model.eval()
    return backbone


def test_bfloat16_keeps_the_order_of_tuned_weights(tuned: Backbone, tmp_path: Path) -> None:
    tuned.save(tmp_path)
    rough = load(tmp_path, dtype="bfloat16")
    titles = [*TITLES, *(f"{one} {other}" for one, other in zip(TITLES, TITLES[3:], strict=False))]
    prompts = tuned.prompt_ids([history([title]) for title in TITLES])
    lists = [tuned.candidate_ids(titles)] * len(prompts)
    pairs = zip(
        tuned.token_log_likelihoods(prompts, lists),
        rough.token_log_likelihoods(prompts, lists),
        strict=True,
    )
    found = [spearmanr(one.sums, other.sums).statistic for one, other in pairs]
    assert np.mean(found) >= 0.99
