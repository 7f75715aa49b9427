"""What lies in the folder of an exported model, and the library that reads it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from instructrec.errors import UsageError

GRAPHS = "graphs.json"
"""What a folder of an exported model has."""
WEIGHTS = "weights.onnx_data"
"""The constants of all graphs, each once."""

Format = Literal["onnx", "onnx-int8"]
FORMATS: tuple[Format, ...] = ("onnx", "onnx-int8")


class Graphs(BaseModel):
    """graphs.json: how to run the graphs beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    """``onnx`` (float32) or ``onnx-int8``."""
    family: Literal["seq2seq", "causal"]
    layers: int = Field(ge=1)
    """Pairs of keys and values that a prompt leaves."""
    vocabulary: int = Field(ge=1)
    """Rows of the output head."""
    parameters: int = Field(ge=1)
    files: dict[str, str]
    """Every graph and the weights, with their sha256."""


def needs(module: str) -> Any:
    """A library of the extra.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(
            f"exported models need {module.partition('.')[0]}, which is not installed",
            "pip install 'instructrec[onnx]'",
        ) from None
