"""Backbones made from nothing: deterministic, of sane logits, saved the ordinary way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from instructrec.backbones import SHAPES, Backbone, create, load
from instructrec.errors import UsageError

from .conftest import TITLES, foreign_tokenizer, history


@pytest.mark.parametrize("name", ["tiny-t5", "tiny-causal"])
def test_the_same_seed_gives_the_same_weights(tokenizer: Any, name: str) -> None:
    states = [create(name, tokenizer, seed).model.state_dict() for seed in (5, 5, 6)]
    equal = [all(torch.equal(states[0][k], other[k]) for k in states[0]) for other in states[1:]]
    assert equal == [True, False]


def test_making_a_backbone_leaves_the_global_generator_alone(tokenizer: Any) -> None:
    before = torch.random.get_rng_state()
    create("tiny-causal", tokenizer, seed=9)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_new_model_starts_with_logits_that_are_not_large(tokenizer: Any, name: str) -> None:
    backbone = create(name, tokenizer)
    prompts = backbone.prompt_ids([history(list(TITLES[:n])) for n in (1, 3, 5)])
    with torch.inference_mode():
        logits = backbone.logits(backbone.read(prompts).last)
    assert 0.01 < logits.std() < 2.0


def test_sizes_are_what_the_names_say() -> None:
    class Tokenizer:
        pad_token_id, eos_token_id, bos_token_id = 0, 1, 2

        def __len__(self) -> int:
            return 8192

    from instructrec.backbones.shapes import _llama, _t5

    sizes = {
        name: (_t5 if name.endswith("t5") else _llama)(shape, Tokenizer()).num_parameters() / 1e6
        for name, shape in SHAPES.items()
    }
    assert all(2 < size < 3 for name, size in sizes.items() if name.startswith("tiny"))
    assert all(8 < size < 9.5 for name, size in sizes.items() if name.startswith("mini"))


def test_an_unknown_name_or_a_foreign_tokenizer_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UsageError, match="huge-t5"):
        create("huge-t5", tokenizer)
    with pytest.raises(UsageError, match="tokenizer of ours"):
        create("tiny-t5", foreign_tokenizer())


def test_plain_transformers_reads_what_was_saved_and_agrees(own: Backbone, tmp_path: Path) -> None:
    own.save(tmp_path)
    auto = AutoModelForSeq2SeqLM if own.family == "seq2seq" else AutoModelForCausalLM
    model, plain = auto.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    state = own.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert plain.get_vocab() == own.tokenizer.get_vocab()


def test_what_was_saved_loads_with_the_same_likelihoods(own: Backbone, tmp_path: Path) -> None:
    own.save(tmp_path)
    read = load(tmp_path)
    prompts = [history(list(TITLES[:4])), "A gift."]
    assert read.family == own.family
    assert read.prompt_ids(prompts) == own.prompt_ids(prompts)
    lists = [own.candidate_ids(list(TITLES))] * 2
    ids = own.prompt_ids(prompts)
    for one, other in zip(
        own.token_log_likelihoods(ids, lists), read.token_log_likelihoods(ids, lists), strict=True
    ):
        assert one.sums.tolist() == other.sums.tolist()


def test_generation_answers_each_prompt(own: Backbone) -> None:
    texts = own.generate(["one", "a longer prompt"], max_new_tokens=4)
    assert len(texts) == 2
    assert texts[0] == own.generate(["one"], max_new_tokens=4)[0]
