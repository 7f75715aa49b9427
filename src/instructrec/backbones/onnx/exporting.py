"""A backbone's weights as ONNX graphs, in float32 or with eight-bit weights."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from instructrec.backbones.base import MAX_CANDIDATE_TOKENS, MAX_TOKENS, Backbone
from instructrec.backbones.causal import CausalBackbone, window_of
from instructrec.backbones.common import Language
from instructrec.backbones.onnx.causal_graphs import CausalFollow, CausalRead, body_of
from instructrec.backbones.onnx.graphs import GRAPHS, WEIGHTS, Graphs, needs
from instructrec.backbones.onnx.layers import Edges, Head, Logits, Normalizers
from instructrec.backbones.onnx.storing import store
from instructrec.backbones.onnx.t5_graphs import GROUPS, T5Follow, T5Read
from instructrec.errors import UsageError
from instructrec.folders import sha256, write_json
from instructrec.protocols import SILENT, Progress

OPSET = 20
_MOST = 2**31 - 2**20
"""A graph in memory, its constants included, may have no more bytes than that."""


@dataclass(frozen=True)
class _Graph:
    """A module with example inputs; dimensions of one name are equal, all others are fixed."""

    module: nn.Module
    inputs: dict[str, Any]
    dimensions: dict[str, Any]


_READ = {name: {0: "prompts", 1: "length"} for name in ("ids", "mask")}


def export_onnx(
    backbone: Backbone, folder: Path, int8: bool = True, progress: Progress | None = None
) -> Path:
    """Write a backbone as ONNX graphs with its configuration and tokenizer.

    Args:
        backbone: A T5-shaped or causal one, in memory.
        folder: Where to write; it is made if need be.
        int8: Whether weights are held in eight bits and inputs of products are quantised as they
            come; float32 otherwise.
        progress: Told of each graph.

    Returns:
        The folder, which `backbones.load` reads.

    Raises:
        UsageError: The extra is not installed, or the model cannot be exported.
    """
    needs("onnxscript")
    needs("onnxruntime")
    language = _exportable(backbone)
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {}
    with torch.no_grad(), _quiet():
        makers = _t5 if language.family == "seq2seq" else _causal
        names = {**makers(language, int8), **_heads(language, int8)}
        for name in (progress or SILENT).track(names, "exporting graphs"):
            proto = _export(names[name](), language.name)
            graphs[name] = _quantized(proto) if int8 else proto
    store(graphs, folder)
    language.model.config.save_pretrained(folder)
    language.tokenizer.save_pretrained(folder)
    files = [*(f"{name}.onnx" for name in graphs), WEIGHTS]
    config = language.model.config
    made = Graphs(
        format="onnx-int8" if int8 else "onnx",
        family=language.family,
        layers=int(getattr(config, "num_decoder_layers", None) or config.num_hidden_layers),
        vocabulary=len(language.model.get_output_embeddings().weight),
        parameters=sum(value.numel() for value in language.model.parameters()),
        files={name: sha256(folder / name) for name in sorted(files)},
    )
    write_json(folder / GRAPHS, made.model_dump(mode="json"))
    return folder


def _exportable(backbone: Backbone) -> Language:
    if not isinstance(backbone, Language) or not isinstance(backbone.model, nn.Module):
        raise UsageError(
            f"{backbone.name} is an exported model already", "Export what it was made of"
        )
    biggest = sum(value.numel() for value in backbone.model.parameters()) * 4
    if biggest > _MOST:
        raise UsageError(
            f"{backbone.name} has {biggest / 2**30:.1f} GiB of float32 weights, a graph holds 2",
            "Export a smaller model, or serve this one in bfloat16",
        )
    window = window_of(backbone.model.config) if isinstance(backbone, CausalBackbone) else None
    if window is not None and window < MAX_TOKENS + MAX_CANDIDATE_TOKENS:
        raise UsageError(
            f"{backbone.name} looks back over {window} tokens alone; an export needs "
            f"{MAX_TOKENS + MAX_CANDIDATE_TOKENS}, prompt and candidate",
            "Use the model itself",
        )
    if isinstance(backbone, CausalBackbone) and not backbone.can_share:
        raise UsageError(
            f"{backbone.name} ({backbone.model.config.model_type}) cannot share one reading of a "
            "prompt among candidates, which an exported model must",
            "Export a Llama, Qwen, Mistral or GPT-2 architecture, or T5",
        )
    return backbone


Makers = dict[str, Callable[[], _Graph]]


def _t5(backbone: Language, int8: bool) -> Makers:
    """The graphs of a T5-shaped model; each is made when it is needed."""
    model = backbone.model
    heads, width = int(model.config.num_heads), int(model.config.d_kv)
    mask = torch.ones(2, 7, dtype=torch.long)
    layers = [torch.zeros(2, heads, 7, width)] * (2 * len(model.decoder.block))
    groups = [torch.zeros(3 + at, 4 + at, dtype=torch.long) for at in range(len(GROUPS) + 1)]
    nodes = torch.zeros(2, 9, dtype=torch.long)

    def read() -> _Graph:
        return _Graph(T5Read(model, int8), {"ids": mask, "mask": mask}, _READ)

    def follow() -> _Graph:
        inputs = {"tokens": nodes, "mask": mask, "at": nodes, "groups": groups, "layers": layers}
        dimensions = {
            "tokens": {0: "prompts", 1: "nodes"},
            "mask": {0: "prompts", 1: "length"},
            "at": {0: "prompts", 1: "nodes"},
            "groups": [{0: f"lines_{at}", 1: f"longest_{at}"} for at in range(len(groups))],
            "layers": [{0: "prompts", 2: "length"}] * len(layers),
        }
        return _Graph(T5Follow(model, int8), inputs, dimensions)

    return {"read": read, "follow": follow}


def _causal(backbone: Language, int8: bool) -> Makers:
    """The graphs of a causal model; each is made when it is needed."""
    mask = torch.ones(2, 7, dtype=torch.long)
    nodes = torch.zeros(2, 9, dtype=torch.long)

    def read() -> _Graph:
        body = body_of(backbone.model, int8)
        return _Graph(CausalRead(body), {"ids": mask, "mask": mask}, _READ)

    def follow() -> _Graph:
        body = body_of(backbone.model, int8)
        parts = CausalRead(body)(mask, mask)[1:]
        layers = [torch.zeros(part.shape) for part in parts]
        inputs = {
            "tokens": nodes,
            "mask": mask,
            "depths": nodes,
            "tree": torch.ones(2, 9, 9, dtype=torch.bool),
            "layers": layers,
        }
        dimensions = {
            "tokens": {0: "prompts", 1: "nodes"},
            "mask": {0: "prompts", 1: "length"},
            "depths": {0: "prompts", 1: "nodes"},
            "tree": {0: "prompts", 1: "nodes", 2: "nodes"},
            "layers": [{0: "prompts", 2: "length"}] * len(layers),
        }
        return _Graph(CausalFollow(body), inputs, dimensions)

    return {"read": read, "follow": follow}


def _heads(backbone: Language, int8: bool) -> Makers:
    """The graphs of an output head; each is made when it is needed."""
    head = backbone.model.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    hidden, rows = torch.zeros(5, weight.shape[1]), {0: "rows"}

    def graph(kind: type[Head], **more: Tensor) -> Callable[[], _Graph]:
        def make() -> _Graph:
            module = kind(weight, bias, backbone.head_input, backbone.head_output, int8)
            inputs = {"hidden": hidden, **more}
            return _Graph(module, inputs, dict.fromkeys(inputs, rows))

        return make

    tokens = torch.zeros(5, dtype=torch.long)
    return {
        "normalizers": graph(Normalizers),
        "edges": graph(Edges, tokens=tokens),
        "logits": graph(Logits),
    }


def _export(graph: _Graph, name: str) -> Any:
    """A module as an ONNX model in memory.

    Raises:
        UsageError: torch.onnx cannot export it.
    """
    try:
        program = torch.onnx.export(
            graph.module.eval(),
            args=(),
            # Two inputs that are one tensor would be taken for one input.
            kwargs=tree_map(torch.clone, graph.inputs),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=graph.dimensions,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(
            f"{name} cannot be exported ({first})",
            "Export a Llama, Qwen, Mistral or GPT-2 architecture, or T5",
        ) from error
    assert program is not None
    return program.model_proto


def _quantized(proto: Any) -> Any:
    """The same graph with eight-bit matrices, a scale for each of their columns."""
    quantization = needs("onnxruntime.quantization")
    onnx = needs("onnx")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "quantized.onnx"
        quantization.quantize_dynamic(
            proto,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.onnx and the quantiser tell of themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
