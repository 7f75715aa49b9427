"""Checkpoints from a folder, a hub name or the table of pretrained models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from instructrec.backbones.base import Backbone
from instructrec.backbones.causal import CausalBackbone
from instructrec.backbones.seq2seq import Seq2SeqBackbone
from instructrec.errors import ModelError, UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SEQ2SEQ = frozenset({"t5", "mt5"})


def load(path_or_name: str | Path, dtype: str = "float32") -> Backbone:
    """Load a language model with its tokenizer.

    Args:
        path_or_name: A folder in the ordinary transformers layout, a folder with a LoRA adapter
            (which is merged into its base model), a name of `instructrec.pretrained`, or a name
            on the hub.
        dtype: ``float32``, ``bfloat16`` or, for causal models, ``float16``.

    Raises:
        ModelError: It cannot be found or read, or is of an architecture that is no language model.
        UsageError: The dtype is unknown, or float16 is asked of T5.
    """
    if dtype not in DTYPES:
        raise UsageError(f"there is no dtype {dtype!r}", f"Use one of {', '.join(DTYPES)}")
    source = _locate(path_or_name)
    adapter = Path(source) / "adapter_config.json"
    base = _locate(_adapter_base(adapter)) if adapter.is_file() else source
    try:
        model, tokenizer = _read(base, source, dtype, adapter=adapter.is_file())
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise _unreadable(path_or_name, error) from error
    kind = Seq2SeqBackbone if model.config.model_type in _SEQ2SEQ else CausalBackbone
    return kind(model.eval(), tokenizer, str(path_or_name))


def _read(base: str, source: str, dtype: str, adapter: bool) -> tuple[Any, Any]:
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
    )

    config = AutoConfig.from_pretrained(base)
    is_seq2seq = config.model_type in _SEQ2SEQ
    if config.is_encoder_decoder and not is_seq2seq:
        raise ModelError(
            f"{base} is a {config.model_type}, which is neither T5-shaped nor causal",
            "Use a T5, mT5 or causal checkpoint",
        )
    if is_seq2seq and dtype == "float16":
        raise UsageError(
            "T5 in float16 overflows in its feed-forward layers and gives wrong scores",
            "Use bfloat16 or float32",
        )
    auto = AutoModelForSeq2SeqLM if is_seq2seq else AutoModelForCausalLM
    model = auto.from_pretrained(base, dtype=DTYPES[dtype], use_safetensors=True)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, source).merge_and_unload()
    has_tokenizer = adapter and (Path(source) / "tokenizer.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(source if has_tokenizer else base)
    return model, tokenizer


def _adapter_base(path: Path) -> str:
    base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{path} names no base model", "Give base_model_name_or_path in it")
    return str(base)


def _locate(path_or_name: str | Path) -> str:
    path = Path(path_or_name)
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ModelError(f"{path} has no config.json", "Name a folder that holds a model")
        return str(path)
    if path.is_absolute() or str(path_or_name).startswith("."):
        raise ModelError(f"there is no folder {path}", "Check the path")
    try:
        from instructrec.pretrained import MODELS, locate
    except ImportError:
        return str(path_or_name)
    return str(locate(str(path_or_name))) if str(path_or_name) in MODELS else str(path_or_name)


def _unreadable(path_or_name: str | Path, error: Exception) -> ModelError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(
        f"{path_or_name} cannot be loaded ({first})",
        "Give a folder or hub name of a T5 or causal model with safetensors weights, "
        'or a name that "instructrec models list" shows',
    )
