"""Tiny random encoders in the sentence-transformers layout, and what plain transformers give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

WORDS = """a turbo kart quiet farm garden hose rose shears clay pot games racing farming for my son
who likes something to with the roses query passage : . ,"""
WIDTH = 16
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
SPECIAL = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
    "roberta": ("<pad>", "<unk>", "<s>", "</s>"),
}
FAMILY = {"bert": "bert", "distilbert": "bert", "electra": "bert"}


def a_tokenizer(family: str, pad: int) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    padding, unknown, start, end = SPECIAL[family]
    special = [start, padding, unknown, end] if pad else [padding, unknown, start, end]
    vocabulary = {
        word: number for number, word in enumerate([*special, *dict.fromkeys(WORDS.split())])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    return tokenizer


def write_encoder(
    folder: Path,
    kind: str = "bert",
    *,
    pooling: str | Sequence[str] = "mean",
    dense: bool = False,
    prompts: dict[str, str] | None = None,
    scale: float = 8.0,
    seed: int = 0,
) -> Path:
    """Write a random encoder of an architecture (a transformers model_type)."""
    from transformers import AutoConfig, AutoModel

    folder.mkdir(parents=True, exist_ok=True)
    pad = 0 if kind in FAMILY else 1
    tokenizer = a_tokenizer(FAMILY.get(kind, "roberta"), pad)
    tokenizer.enable_padding(length=128, pad_id=pad)  # as some published ones ask for
    tokenizer.save(str(folder / "tokenizer.json"))
    padding, unknown, start, end = SPECIAL[FAMILY.get(kind, "roberta")]
    names = {"pad_token": padding, "unk_token": unknown, "cls_token": start, "sep_token": end}
    names |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    sizes = dict(SIZES, vocab_size=tokenizer.get_vocab_size(), pad_token_id=pad)
    if kind == "distilbert":
        sizes |= {"dim": WIDTH, "n_layers": 3, "n_heads": 2, "hidden_dim": 32}
    torch.manual_seed(seed)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **sizes))
    for parameter in model.parameters():  # initial weights are too small to tell places apart
        parameter.data.mul_(scale if parameter.ndim > 1 else 1.0)
    model.save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    if dense:
        kinds.insert(2, ("2_Dense", "Dense"))
        write_dense(folder / "2_Dense", WIDTH if isinstance(pooling, str) else WIDTH * len(pooling))
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{name}"}
        for n, (path, name) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    told = {"word_embedding_dimension": WIDTH, "pooling_mode": pooling}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(told))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    if prompts:
        text = json.dumps({"prompts": prompts, "default_prompt_name": None})
        (folder / "config_sentence_transformers.json").write_text(text)
    return folder


def write_dense(folder: Path, width: int) -> None:
    folder.mkdir(exist_ok=True)
    activation = "torch.nn.modules.activation.Tanh"
    told = {
        "in_features": width,
        "out_features": 6,
        "bias": True,
        "activation_function": activation,
    }
    (folder / "config.json").write_text(json.dumps(told))
    rng = torch.Generator().manual_seed(1)
    weights = {
        "linear.weight": torch.randn(6, width, generator=rng),
        "linear.bias": torch.randn(6, generator=rng),
    }
    save_file(weights, folder / "model.safetensors")


def by_transformers(folder: Path, texts: Sequence[str], modes: Sequence[str]) -> np.ndarray:
    """One text at a time, nothing padded: pooled states, not normalised."""
    from tokenizers import Tokenizer
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    found = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        ids = ids if len(ids) <= 12 else [*ids[:11], ids[-1]]
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        weights = torch.arange(1, len(ids) + 1)[:, None] / sum(range(1, len(ids) + 1))
        pooled = {
            "mean": states.mean(0),
            "cls": states[0],
            "max": states.amax(0),
            "lasttoken": states[-1],
            "mean_sqrt_len_tokens": states.sum(0) / len(ids) ** 0.5,
            "weightedmean": (states * weights).sum(0),
        }
        found.append(torch.cat([pooled[mode] for mode in modes]))
    return torch.stack(found).numpy()
