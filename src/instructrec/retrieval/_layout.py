"""What a folder in the sentence-transformers layout says of its encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructrec.errors import ModelError

MODULES = "modules.json"
POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The older spelling of each way of pooling, in the order in which several are joined."""
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
MAX_TOKENS = 256
"""Where a model does not say how long its texts may be."""
_LONGEST = 512
"""Longer texts are cut, whatever a model could read: items and wishes are short."""
_OFFSET = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"})
"""Architectures whose first position is numbered behind that of the padding."""


@dataclass(frozen=True)
class Projection:
    """A dense layer behind the pooling.

    Attributes:
        weights: Its safetensors file.
        activation: One of `ACTIVATIONS`.
    """

    weights: Path
    activation: str


@dataclass(frozen=True)
class Layout:
    """The parts of an encoder, in order.

    Attributes:
        transformer: Folder of weights, configuration and tokenizer.
        config: Of the transformer.
        pooling: How token states become one vector; several are joined.
        projections: Dense layers behind that.
        max_tokens: Longer texts are cut.
        lower: Whether texts are lowered first.
        query: What is put before what is asked.
        passage: What is put before what is found.
    """

    transformer: Path
    config: Mapping[str, Any]
    pooling: tuple[str, ...]
    projections: tuple[Projection, ...]
    max_tokens: int
    lower: bool
    query: str
    passage: str

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that decide the vectors, in order of name within each part."""
        names = ("*.safetensors", "config.json", "tokenizer*", "vocab*", "*.model", "merges.txt")
        found = {path for name in names for path in self.transformer.glob(name)}
        return (*sorted(found), *(layer.weights for layer in self.projections))


def read_layout(folder: Path) -> Layout:
    """Read the small files of a folder.

    A folder without modules.json is a plain transformers checkpoint, whose states are averaged.

    Raises:
        ModelError: A file is missing or cannot be read, or asks for a part that is not known here.
    """
    modules: list[dict[str, Any]] = [
        {"type": "Transformer", "path": ""},
        {"type": "Pooling", "path": None},
    ]
    if (folder / MODULES).is_file():
        modules = _json(folder / MODULES)
    parts = [(str(part["type"]).rsplit(".", 1)[-1], part["path"]) for part in modules]
    kinds = [kind for kind, _ in parts]
    unknown = [k for k in kinds if k not in ("Transformer", "Pooling", "Dense", "Normalize")]
    if unknown or kinds[:2] != ["Transformer", "Pooling"]:
        raise ModelError(
            f"{folder} is made of {', '.join(kinds)}",
            "Use an encoder made of Transformer, Pooling and perhaps Dense and Normalize",
        )
    transformer = folder / parts[0][1]
    config = _json(transformer / "config.json")
    query, passage = _prompts(folder)
    tokens, lower = _limits(transformer, config)
    return Layout(
        transformer,
        config,
        _pooling(folder, parts[1][1], has_prompt=bool(query or passage)),
        tuple(_projection(folder / path) for kind, path in parts if kind == "Dense"),
        tokens,
        lower,
        query,
        passage,
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing", "Name a folder that holds a text encoder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "Fetch the encoder anew") from None


def _pooling(folder: Path, path: str | None, *, has_prompt: bool) -> tuple[str, ...]:
    if path is None:
        return ("mean",)
    config = _json(folder / path / "config.json")
    if not config.get("include_prompt", True) and has_prompt:
        raise ModelError(f"{folder} leaves its prompts out of the pooling", "Use another encoder")
    chosen = config.get("pooling_mode")
    if chosen is None:
        chosen = [mode for key, mode in POOLINGS.items() if config.get(key)] or "mean"
    modes = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    if unknown := [mode for mode in modes if mode not in POOLINGS.values()]:
        raise ModelError(
            f"{folder / path} pools by {unknown[0]!r}", f"Known is {', '.join(POOLINGS.values())}"
        )
    return modes


def _projection(folder: Path) -> Projection:
    config = _json(folder / "config.json")
    activation = str(config.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    weights = folder / "model.safetensors"
    if activation not in ACTIVATIONS or config.get("use_residual"):
        raise ModelError(
            f"{folder} is a dense layer of a kind not known here ({activation})",
            f"Known is {', '.join(ACTIVATIONS)}, without residual",
        )
    if not weights.is_file():
        raise ModelError(f"{weights} is missing", "Only safetensors are read: convert the encoder")
    return Projection(weights, activation)


def _prompts(folder: Path) -> tuple[str, str]:
    """What is put before what is asked and before what is found."""
    path = folder / "config_sentence_transformers.json"
    config = _json(path) if path.is_file() else {}
    prompts = config.get("prompts") or {}
    usual = prompts.get(config.get("default_prompt_name") or "", "")
    query = prompts.get("query", usual)
    names = [name for name in ("document", "passage", "corpus") if name in prompts]
    return query, prompts[names[0]] if names else usual


def _limits(folder: Path, config: Mapping[str, Any]) -> tuple[int, bool]:
    """How many tokens a text may have, and whether it is lowered first."""
    stated, lower = None, False
    for path in sorted(folder.glob("sentence_*_config.json")):
        found = _json(path)
        stated = stated or found.get("max_seq_length")
        lower = lower or bool(found.get("do_lower_case"))
    positions = int(config.get("max_position_embeddings") or _LONGEST)
    if config.get("model_type") in _OFFSET:
        positions -= int(config.get("pad_token_id") or 0) + 1
    return max(min(int(stated or MAX_TOKENS), positions, _LONGEST), 3), lower
