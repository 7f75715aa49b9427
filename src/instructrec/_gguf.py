"""A GGUF checkpoint as an ordinary transformers folder with bf16 safetensors."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from instructrec.errors import ModelError


def convert(gguf: Path, folder: Path) -> None:
    """Unpack a causal model's quantised weights once, so that loading it is plain and quick.

    Args:
        gguf: The checkpoint; its tokenizer and chat template are inside.
        folder: Where config, weights and tokenizer are written.

    Raises:
        ModelError: The file cannot be read, or the ``gguf`` package is missing.
    """
    if find_spec("gguf") is None:
        raise ModelError("reading a GGUF file needs the gguf package", "Run pip install gguf")
    try:
        _convert(gguf, folder)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"{gguf.name} cannot be converted ({error})", "Fetch it again") from error


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = {"gguf_file": gguf.name, "dtype": torch.bfloat16, **_unpacked()}
    # The bar of the unpacking itself is tqdm's own and has no switch.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), **given)
        _save(model.to(torch.bfloat16), folder)
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        tokenizer.save_pretrained(str(folder))


def _save(model: Any, folder: Path) -> None:
    # It is a plain model now; whoever loads it must not look for the quantised file again.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(str(folder))


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars of transformers meanwhile: how far we are is ours to say."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _unpacked() -> dict[str, Any]:
    """What newer transformers must be told so that it does not keep the weights packed."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}
