"""Small models of every architecture, and plain transformers to check them against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from instructrec.backbones import SHAPES, Backbone, create, load, train_tokenizer
from instructrec.backbones.shapes import Shape
from instructrec.instructions.templating import Rendered

TITLES = (
    "Turbo Kart",
    "Turbo Kart 2 - Deluxe Edition",
    "Garden Hose",
    "Café Tycoon: Ünïcode Edition",
    "漢字 Puzzle 😀",
    "The Silent Library",
    "Library of the Night",
    "Harbor Lights",
)


def history(titles: list[str], asks: str = "What comes next?") -> Rendered:
    """A numbered history with its spans, as templates give it."""
    text, spans = "So far:\n", []
    for number, title in enumerate(titles, 1):
        text += f"{number}. "
        spans.append((len(text), len(text) + len(title)))
        text += title + "\n"
    return Rendered(text + asks, tuple(spans))


def plain_sum(backbone: Backbone, prompt: list[int], candidate: list[int]) -> float:
    """The oracle: one candidate, one forward pass of plain transformers, nothing shared."""
    model, labels = backbone.model, torch.tensor(candidate)
    with torch.no_grad():
        if backbone.family == "seq2seq":
            start = model.config.decoder_start_token_id
            logits = model(
                input_ids=torch.tensor([prompt]),
                decoder_input_ids=torch.tensor([[start, *candidate[:-1]]]),
            ).logits[0]
        else:
            ids = torch.tensor([prompt + candidate])
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    steps = logits.double().log_softmax(-1)
    return float(steps.gather(1, labels[:, None]).sum())


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    texts = [history(list(TITLES[:n])).text for n in range(1, 9)] + [f" {t}" for t in TITLES]
    return train_tokenizer(texts * 3, vocab_size=420)


@pytest.fixture(scope="session", params=["tiny-t5", "tiny-causal"])
def own(request: pytest.FixtureRequest, tokenizer: Any) -> Backbone:
    """A backbone made from nothing, of each family, smaller than those that are used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, request.param, Shape(width=32, heads=4, layers=2, feed_forward=48))
        return create(request.param, tokenizer, seed=1)


def foreign_tokenizer(chat: bool = False, t5: bool = False) -> Any:
    """A byte-level tokenizer that is not ours."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=["<pad>", "</s>", "<|user|>", "<|bot|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator([history(list(TITLES)).text] * 3, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>" if t5 or chat else None,
        eos_token="</s>",
        extra_special_tokens=["<|user|>", "<|bot|>"],
    )
    if chat:
        made.chat_template = (
            "{% for m in messages %}<|user|>{{ m.content }}</s>{% endfor %}"
            "{% if add_generation_prompt %}<|bot|>{% endif %}"
        )
    return made


def _t5_like(kind: str, own_head: bool) -> Any:
    from transformers import (
        MT5Config,
        MT5ForConditionalGeneration,
        T5Config,
        T5ForConditionalGeneration,
    )

    sizes: dict[str, Any] = dict(
        vocab_size=400,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    if kind == "mt5":
        return MT5ForConditionalGeneration(MT5Config(**sizes))
    if not own_head:
        return T5ForConditionalGeneration(T5Config(**sizes))
    # v1.1 and Flan have one shape; mT5's differs in its vocabulary of 250,112 alone.
    config = T5Config(**sizes, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(400, 32) * 0.3)
    return model


def _causal(kind: str) -> Any:
    import transformers as t

    sizes: dict[str, Any] = dict(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    if kind == "gpt2":
        return t.GPT2LMHeadModel(
            t.GPT2Config(
                vocab_size=400,
                n_embd=32,
                n_layer=2,
                n_head=4,
                n_positions=1024,
                initializer_range=0.2,
                bos_token_id=1,
                eos_token_id=1,
            )
        )
    if kind == "mistral":
        return t.MistralForCausalLM(t.MistralConfig(**sizes, sliding_window=16))
    if kind == "gemma2":
        extra = {"head_dim": 8, "sliding_window": 16, "attn_implementation": "eager"}
        return t.Gemma2ForCausalLM(t.Gemma2Config(**sizes, **extra))
    model, config = {
        "llama": (t.LlamaForCausalLM, t.LlamaConfig),
        "qwen2": (t.Qwen2ForCausalLM, t.Qwen2Config),
        "qwen3": (t.Qwen3ForCausalLM, t.Qwen3Config),
        "granite": (t.GraniteForCausalLM, t.GraniteConfig),
    }[kind]
    if kind == "granite":
        sizes |= {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5}
    return model(config(**sizes))


SEQ2SEQ = ("flan", "t5", "v1.1", "mt5")
CAUSAL = (
    "llama",
    "llama-chat",
    "gpt2",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma2",
    "granite",
)
FOREIGN = SEQ2SEQ + CAUSAL


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a random checkpoint of an architecture, in the layout the hub has, once."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            with torch.random.fork_rng():
                torch.manual_seed(3)
                seq2seq = kind in SEQ2SEQ
                arch = kind.removesuffix("-chat")
                own_head = kind in ("flan", "v1.1")
                model = _t5_like(arch, own_head) if seq2seq else _causal(arch)
            model.save_pretrained(folder)
            if own_head:
                _as_flan_publishes_it(folder)
            chat = kind.endswith("-chat")
            foreign_tokenizer(chat=chat, t5=seq2seq).save_pretrained(folder)
            made[kind] = folder
        return made[kind]

    return make


def _as_flan_publishes_it(folder: Path) -> None:
    import json

    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["tie_word_embeddings"] = False
    config.pop("scale_decoder_outputs", None)
    path.write_text(json.dumps(config))


@pytest.fixture(scope="session", params=FOREIGN)
def foreign(request: pytest.FixtureRequest, make_checkpoint: Callable[[str], Path]) -> Backbone:
    """A random checkpoint of each architecture, loaded."""
    return load(make_checkpoint(request.param))
