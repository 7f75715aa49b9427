"""Checkpoints from a folder, a hub name or the table of pretrained models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from instructrec.backbones._quiet import quiet
from instructrec.backbones.base import Backbone
from instructrec.backbones.causal import CausalBackbone
from instructrec.backbones.seq2seq import Seq2SeqBackbone
from instructrec.errors import ModelError, UsageError
from instructrec.pretrained import names, require

_READING_ERRORS = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)

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
        ModelError: It cannot be read, or is of an architecture that is no language model.
        UsageError: There is no such folder, the dtype is unknown, or float16 is asked of T5.
    """
    if dtype not in DTYPES:
        raise UsageError(f"there is no dtype {dtype!r}", f"Use one of {', '.join(DTYPES)}")
    source = _locate(path_or_name)
    adapter = Path(source) / "adapter_config.json"
    base = _locate(_adapter_base(adapter)) if adapter.is_file() else source
    try:
        with quiet():
            model, tokenizer = _read(base, source, dtype, adapter=adapter.is_file())
    except _READING_ERRORS as error:
        raise _unreadable(path_or_name, error) from error
    bad = next((n for n, p in model.named_parameters() if not p.detach().sum().isfinite()), None)
    if bad is not None:
        raise ModelError(f"{path_or_name} has weights that are no numbers ({bad})", "Fetch it anew")
    kind = Seq2SeqBackbone if model.config.model_type in _SEQ2SEQ else CausalBackbone
    backbone = kind(model.eval(), tokenizer, str(path_or_name))
    _check_head(backbone)
    return backbone


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
    model, found = auto.from_pretrained(
        base, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True
    )
    if found["missing_keys"]:
        raise ModelError(
            f"{base} lacks weights of its own configuration ({min(found['missing_keys'])})",
            "Fetch it anew",
        )
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, source).merge_and_unload()
    has_tokenizer = adapter and (Path(source) / "tokenizer.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(source if has_tokenizer else base)
    return model, tokenizer


def _check_head(backbone: Seq2SeqBackbone | CausalBackbone) -> None:
    """Be sure that our way from hidden states to logits is the model's own."""
    ids = torch.arange(3, device=backbone.device)[None]
    with torch.inference_mode():
        if isinstance(backbone, Seq2SeqBackbone):
            start = backbone.model.config.decoder_start_token_id
            if start is None:
                raise ModelError(f"{backbone.name} names no decoder_start_token_id", "Set it to 0")
            begin = torch.full((1, 1), start, device=backbone.device)
            theirs = backbone.model(input_ids=ids, decoder_input_ids=begin).logits[0, -1]
            ours = backbone.logits(backbone.read(ids.tolist()).last)[0]
        else:
            theirs = backbone.model(input_ids=ids, use_cache=False).logits[0, -1]
            ours = backbone.logits(backbone.read(ids.tolist()).last)[0]
    if (ours - theirs.float()).norm() > 1e-2 * theirs.float().norm():
        raise ModelError(
            f"{backbone.name} ({backbone.model.config.model_type}) turns its states into logits "
            "in a way that is not known here",
            "Use a model of another architecture",
        )


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
    # A hub name has one slash at most, and what comes before it is no folder here.
    is_path = len(path.parts) > 2 or (len(path.parts) == 2 and path.parent.exists())
    if is_path or path.is_absolute() or str(path_or_name).startswith("."):
        raise UsageError(f"there is no folder {path}", "Check the path")
    name = str(path_or_name)
    return str(require(name)) if name in names() else name


def _unreadable(path_or_name: str | Path, error: Exception) -> ModelError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(
        f"{path_or_name} cannot be loaded ({first})",
        "Give a folder or hub name of a T5 or causal model with safetensors weights, "
        'or a name that "instructrec models list" shows',
    )
