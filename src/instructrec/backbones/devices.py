"""Where a model computes: the processor, or a GPU that is there."""

from __future__ import annotations

from typing import Any

import torch

from instructrec.backbones.limits import is_out_of_memory
from instructrec.errors import ModelError, UsageError

DEVICES = ("auto", "cpu", "cuda")


def device_named(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: ``cpu``, ``cuda`` (the first GPU), ``cuda:1``, or ``auto``: a GPU where there is one.

    Raises:
        UsageError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in DEVICES[1:] or (number and (kind == "cpu" or not number.isdecimal())):
        raise UsageError(f"there is no device {name!r}", f"Use one of {', '.join(DEVICES)}")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(
                "CUDA is asked for, but torch finds no GPU here",
                "Use cpu or auto, or install a driver and a torch that fits it",
            )
        if number and int(number) >= torch.cuda.device_count():
            raise UsageError(
                f"there is no device {name}: this machine has {torch.cuda.device_count()} GPU(s)",
                "Use cuda:0",
            )
    return torch.device(name)


def move(model: Any, device: torch.device, name: str) -> None:
    """Bring a model's weights to a device.

    Raises:
        ModelError: They do not fit there.
    """
    if device.type == "cpu":
        return
    try:
        model.to(device)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"the weights of {name} do not fit into the memory of {device}",
            "Take bfloat16, a smaller model or the processor (cpu)",
        ) from None
