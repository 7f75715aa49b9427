"""What every training of ours needs: state on disk for an exact resume, rates, seeds, threads."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from instructrec.folders import read_json, sync, write_json

POSITION = "position.json"

Weights = Mapping[str, Tensor]


@dataclass
class State:
    """Everything about a training that is not a tensor.

    Attributes:
        step: Updates done.
        position: Epoch, block and number of the next one (`stream.Position`).
        tokens: Tokens read so far, padding left out.
        seconds: Time spent in updates; told in the log alone.
        window: Sums since the last point of the curve.
        curve: One entry a point of the loss curve.
        validations: One entry a validation.
        best: The best validation's entry.
        stale: Validations since then.
        stopped: Whether patience has run out.
    """

    step: int = 0
    position: tuple[int, int, int] = (0, 0, 0)
    tokens: int = 0
    seconds: float = 0.0
    window: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    stale: int = 0
    stopped: bool = False


class Store:
    """The state of a training on disk.

    Tensors are written to files named after the step; `POSITION`, replaced in one go, says which
    of them count. A kill at any moment leaves the state before or the state after.

    Args:
        folder: Below the unfinished output folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: State, tensors: Weights) -> None:
        """Write where the training stands."""
        name = f"step-{state.step:08}.safetensors"
        self._write(name, tensors)
        self._commit(state, name)

    def save_best(self, step: int, weights: Weights) -> None:
        """Write the weights of the best validation; they count with the next `save`."""
        self._write(f"best-{step:08}.safetensors", weights)

    def load(self) -> tuple[State, dict[str, Tensor]] | None:
        """The last state that was written whole, none at the start."""
        if not (self.folder / POSITION).is_file():
            return None
        found = read_json(self.folder / POSITION)
        tensors = _read(self.folder / found.pop("tensors"))
        found["position"] = tuple(found["position"])
        return State(**found), tensors

    def load_best(self, step: int) -> dict[str, Tensor]:
        """The weights of the best validation, made at ``step``."""
        return _read(self.folder / f"best-{step:08}.safetensors")

    def note(self, name: str, value: object) -> None:
        """Write something that is decided once."""
        write_json(self.folder / f"{name}.json", value)

    def noted(self, name: str) -> Any | None:
        """What was written by `note`, none when nothing was."""
        path = self.folder / f"{name}.json"
        return read_json(path) if path.is_file() else None

    def clear(self) -> None:
        """Throw everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, tensors: Weights) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.part"
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part)
        sync(part)
        part.replace(self.folder / name)

    def _commit(self, state: State, name: str) -> None:
        write_json(self.folder / POSITION, {**vars(state), "tensors": name})
        kept = {name}
        if state.best is not None:
            kept.add(f"best-{state.best['step']:08}.safetensors")
        for path in self.folder.glob("*.safetensors*"):
            if path.name not in kept:
                path.unlink()


def _read(path: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(path)
    return found


def pack(
    parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Weights, moments and random state as named tensors."""
    tensors = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for name, parameter in parameters.items():
        tensors[f"weight.{name}"] = parameter.detach().cpu()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value.detach().cpu()
    return tensors


def unpack(
    tensors: Weights,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Undo `pack`."""
    torch.set_rng_state(tensors["random"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    put(parameters, {name: tensors[f"weight.{name}"] for name in parameters})
    for name, parameter in parameters.items():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if (value := tensors.get(f"{key}.{name}")) is not None:
                optimizer.state[parameter][key] = value.to(parameter.device).clone()


def take(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    """Copies of the weights."""
    return {name: parameter.detach().cpu().clone() for name, parameter in parameters.items()}


def put(parameters: Mapping[str, torch.nn.Parameter], weights: Weights) -> None:
    """Set the weights."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The learning rate of an update: a linear rise, then a cosine down to zero.

    Args:
        step: Counted from 0.
        steps: All of them.
        peak: The highest learning rate.
        warmup: Share of the steps in which it rises.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    done = (step - rising) / max(steps - rising, 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class SavePoints:
    """When the state is written besides at every validation; it never changes the result.

    Attributes:
        seconds: Time between two saves.
        steps: Or so many steps between them.
    """

    seconds: float = 60.0
    steps: int | None = None

    def is_due(self, step: int, since: float) -> bool:
        """Whether to save after ``step`` updates, ``since`` seconds after the last save."""
        return since >= self.seconds or (self.steps is not None and step % self.steps == 0)


EVERY_MINUTE = SavePoints()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run with torch's random state set by ``seed``; it is as before afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Run with so many threads of torch's; there are as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
