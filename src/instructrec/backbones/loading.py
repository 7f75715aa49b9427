"""Checkpoints from a folder, a hub name or the table of pretrained models."""

from __future__ import annotations

import json
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from instructrec.backbones._quiet import quiet
from instructrec.backbones.base import Backbone
from instructrec.backbones.causal import CausalBackbone
from instructrec.backbones.devices import device_named, move
from instructrec.backbones.onnx.graphs import GRAPHS
from instructrec.backbones.seq2seq import Seq2SeqBackbone
from instructrec.backbones.shapes import SHAPES
from instructrec.errors import ModelError, UsageError
from instructrec.pretrained import names, require

_READING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    ImportError,
    SafetensorError,
    UserWarning,
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""Without any of them transformers makes up a tokenizer that knows nothing, and does not say so."""
_ADAPTER_WEIGHTS = "adapter_model.safetensors"

ADAPTER = "adapter_config.json"
"""What a folder of a LoRA adapter has."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SEQ2SEQ = frozenset({"t5", "mt5"})


def load(
    path_or_name: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    memory: float | None = None,
) -> Backbone:
    """Load a language model with its tokenizer.

    Args:
        path_or_name: A folder in the ordinary transformers layout, a folder with a LoRA adapter
            (which is merged into its base model), one of ONNX graphs
            (`instructrec.backbones.onnx`), a name of `instructrec.pretrained`, or a name
            on the hub.
        dtype: ``float32``, ``bfloat16`` or, for causal models, ``float16``.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: a GPU where there is one.
        memory: About how many MiB scoring may take beside the weights; as many as are fastest
            when left out.

    Raises:
        ModelError: It cannot be read, or is of an architecture that is no language model.
        UsageError: There is no such folder or device, the dtype is unknown, or float16 is asked
            of T5.
    """
    if dtype not in DTYPES:
        raise UsageError(f"there is no dtype {dtype!r}", f"Use one of {', '.join(DTYPES)}")
    place = device_named(device)
    source = _locate(path_or_name)
    if (Path(source) / GRAPHS).is_file():
        return _exported(Path(source), dtype, device, memory)
    adapter = Path(source) / ADAPTER
    base = _locate(_adapter_base(adapter)) if adapter.is_file() else source
    try:
        with quiet():
            model, tokenizer = _read(base, source, dtype, adapter=adapter.is_file())
    except _READING_ERRORS as error:
        raise _unreadable(path_or_name, error) from error
    _check_weights(model, tokenizer, path_or_name)
    kind = Seq2SeqBackbone if model.config.model_type in _SEQ2SEQ else CausalBackbone
    move(model, place, str(path_or_name))
    backbone = kind(model.eval(), tokenizer, str(path_or_name))
    if isinstance(backbone, CausalBackbone):
        _check_looks_back(backbone)
    _check_head(backbone)
    if memory is not None:
        backbone.bound_memory(memory)
    return backbone


def check(path_or_name: str | Path) -> None:
    """Be sure that there is a language model of this name, without its weights.

    Raises:
        ModelError: It is of an architecture that is no language model, or cannot be reached.
        UsageError: There is no such folder, or nothing of this name.
    """
    source = _locate(path_or_name)
    adapter = Path(source) / ADAPTER
    base = _locate(_adapter_base(adapter)) if adapter.is_file() else source
    try:
        with quiet():
            _config(base)
    except _READING_ERRORS as error:
        if Path(base).is_dir():
            raise _unreadable(path_or_name, error) from error
        near = get_close_matches(str(path_or_name), (*SHAPES, *names()), n=1)
        raise UsageError(
            f"there is no backbone {str(path_or_name)!r}, or it cannot be reached",
            f"Did you mean {near[0]!r}?"
            if near
            else f"Use one of {', '.join(SHAPES)}, a checkpoint's folder or its hub name",
        ) from error


def _config(base: str) -> Any:
    """The configuration of a checkpoint of one of our two families.

    Raises:
        ModelError: It is of another kind.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = AutoConfig.from_pretrained(base)
    is_causal = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if config.model_type not in _SEQ2SEQ and (config.is_encoder_decoder or not is_causal):
        raise ModelError(
            f"{base} is a {config.model_type}, which is neither T5-shaped nor causal",
            "Use a T5, mT5 or causal checkpoint",
        )
    return config


def _exported(folder: Path, dtype: str, device: str, memory: float | None) -> Backbone:
    """A folder of ONNX graphs; what they compute in is settled."""
    from instructrec.backbones.onnx.backbone import OnnxBackbone

    if dtype != "float32" or device not in ("auto", "cpu"):
        raise UsageError(
            f"{folder} is an exported model: it computes on the processor, in what it was "
            "exported to",
            "Leave dtype and device out, or name the model that it was made of",
        )
    backbone = OnnxBackbone(folder, str(folder))
    if memory is not None:
        backbone.bound_memory(memory)
    return backbone


def _read(base: str, source: str, dtype: str, adapter: bool) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    is_seq2seq = _config(base).model_type in _SEQ2SEQ
    if is_seq2seq and dtype == "float16":
        raise UsageError(
            "T5 in float16 overflows in its feed-forward layers and gives wrong scores",
            "Use bfloat16 or float32",
        )
    auto = AutoModelForSeq2SeqLM if is_seq2seq else AutoModelForCausalLM
    model, found = auto.from_pretrained(
        base,
        dtype=torch.float32 if adapter else DTYPES[dtype],  # a sum in bfloat16 would be rounded
        use_safetensors=True,
        output_loading_info=True,
    )
    if found["missing_keys"]:
        raise ModelError(
            f"{base} lacks weights of its own configuration ({min(found['missing_keys'])})",
            "Fetch it anew",
        )
    if adapter:
        model = _merged(model, source).to(DTYPES[dtype])
    has_tokenizer = adapter and (Path(source) / "tokenizer.json").is_file()
    home = Path(source if has_tokenizer else base)
    if home.is_dir() and not any((home / name).is_file() for name in _TOKENIZERS):
        raise ModelError(f"{home} has no tokenizer", "Put its tokenizer.json there")
    return model, AutoTokenizer.from_pretrained(home if home.is_dir() else base)


def _merged(model: Any, source: str) -> Any:
    """A base model with an adapter added to its weights."""
    from peft import PeftModel

    if not (Path(source) / _ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{source} has no {_ADAPTER_WEIGHTS}", "Save the adapter as safetensors")
    with warnings.catch_warnings():
        # An adapter of another model would else be read as one that changes nothing.
        warnings.filterwarnings("error", message="Found missing adapter keys")
        # Said of heads that never were tied, such as Flan's.
        warnings.filterwarnings("ignore", message="Input and output embeddings are no longer tied")
        return PeftModel.from_pretrained(model, source).merge_and_unload()


def _check_weights(model: Any, tokenizer: Any, name: str | Path) -> None:
    """Be sure that weights are numbers and that every token has an embedding."""
    for key, weight in model.named_parameters():
        if not weight.detach().sum(dtype=torch.float32).isfinite():
            raise ModelError(f"{name} has weights that are no numbers ({key})", "Fetch it anew")
    rows = int(model.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > rows:
        raise ModelError(
            f"{name} has a tokenizer of {len(tokenizer):,} tokens and embeddings for {rows:,}",
            "Give it the tokenizer that it was trained with",
        )


def _check_looks_back(backbone: CausalBackbone) -> None:
    """Be sure that what comes later changes nothing before it, as it does in BERT."""
    ids = torch.arange(6, device=backbone.device)[None].repeat(2, 1)
    ids[1, 3:] += 1
    with torch.inference_mode():
        first, second = backbone.model(input_ids=ids, use_cache=False).logits[:, :3].float()
    rounding = 1e-5 if backbone.model.dtype == torch.float32 else 1e-2
    if (first - second).norm() > rounding * first.norm():
        raise ModelError(
            f"{backbone.name} ({backbone.model.config.model_type}) reads what comes after a token "
            "as well as what comes before it, so it gives no likelihoods",
            "Use a T5, mT5 or causal checkpoint",
        )


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
    if not (ours - theirs.float()).norm() <= 1e-2 * theirs.float().norm():
        raise ModelError(
            f"{backbone.name} ({backbone.model.config.model_type}) turns its states into logits "
            "in a way that is not known here",
            "Use a model of another architecture",
        )


def _adapter_base(path: Path) -> str:
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        raise ModelError(f"{path} cannot be read", "Fetch it anew") from None
    if not base:
        raise ModelError(f"{path} names no base model", "Give base_model_name_or_path in it")
    return str(base)


def _locate(path_or_name: str | Path) -> str:
    path = Path(path_or_name)
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", ADAPTER)):
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
