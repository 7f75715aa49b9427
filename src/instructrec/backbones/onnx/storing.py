"""Graphs on disk: every constant once, whatever graphs use it, and nothing of the machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instructrec.backbones.onnx.graphs import WEIGHTS, needs

_SMALL = 1024
"""Constants of fewer bytes stay in the graph, where ONNX Runtime can compute with them early."""
_ALIGNED = 4096
"""Larger ones begin at a multiple of a memory page, so that they can be mapped."""


def store(graphs: Mapping[str, Any], folder: Path) -> None:
    """Write graphs as ``NAME.onnx`` with their constants in one file of weights.

    Args:
        graphs: ONNX models in memory by name.
        folder: Where to write.
    """
    onnx = needs("onnx")
    places: dict[str, tuple[int, int]] = {}
    with (folder / WEIGHTS).open("wb") as file:
        for name, proto in graphs.items():
            _forget_origin(proto)
            for tensor in proto.graph.initializer:
                data = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(data) < _SMALL:
                    continue
                digest = hashlib.sha256(data).hexdigest()
                if digest not in places:
                    file.write(b"\0" * (-file.tell() % _ALIGNED))
                    places[digest] = (file.tell(), len(data))
                    file.write(data)
                _point(tensor, *places[digest])
            (folder / f"{name}.onnx").write_bytes(proto.SerializeToString(deterministic=True))


def _point(tensor: Any, offset: int, length: int) -> None:
    """Let a constant be read from the file of weights."""
    tensor.ClearField("raw_data")
    for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.data_location = 1  # external
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _forget_origin(proto: Any) -> None:
    """Drop where in which source file a node was traced: it names paths of this machine."""
    proto.doc_string = ""
    proto.graph.doc_string = ""
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    for part in (
        *proto.graph.node,
        *proto.graph.initializer,
        *proto.graph.value_info,
        *proto.graph.input,
        *proto.graph.output,
        *proto.functions,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
