"""ONNX Runtime's sessions: opened when first used, values passed on without copies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from instructrec.backbones.onnx.graphs import needs
from instructrec.errors import ModelError

_NO_MEMORY = ("bad_alloc", "Failed to allocate", "not enough memory", "out of memory")


class Session:
    """One graph, ready to be run.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _session(self) -> Any:
        runtime = needs("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        # Threads that wait for work by spinning slow each other, and torch's, down: two threads
        # took longer than one.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.enable_mem_pattern = False  # shapes differ from call to call
        options.log_severity_level = 4
        try:
            return runtime.InferenceSession(
                str(self._path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(
                f"{self._path} cannot be run ({_first_line(error)})", "Export the model anew"
            ) from None

    @cached_property
    def _inputs(self) -> list[str]:
        return [given.name for given in self._session.get_inputs()]

    def run(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The graph's outputs; neither they nor its inputs are copied.

        Args:
            given: Its inputs in order.

        Raises:
            MemoryError: Memory ran out.
            ModelError: ONNX Runtime fails.
        """
        value = needs("onnxruntime").OrtValue.ortvalue_from_numpy
        feeds = {
            name: value(tensor.contiguous().numpy())
            for name, tensor in zip(self._inputs, given, strict=True)
        }
        try:
            found = self._session.run_with_ort_values(None, feeds)
        except Exception as error:
            if any(sign in str(error) for sign in _NO_MEMORY):
                raise MemoryError(str(error)) from None
            raise ModelError(
                f"{self._path} cannot be run ({_first_line(error)})", "Export the model anew"
            ) from None
        return [torch.from_numpy(one.numpy()) for one in found]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
