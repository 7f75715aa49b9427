"""A language model in memory as a teacher's `Completions`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from instructrec.errors import UsageError
from instructrec.folders import sha256
from instructrec.instructions.teachers.base import Answer, Prompt
from instructrec.protocols import TextGenerator

_WEIGHTS = ("*.safetensors", "*.gguf", "config.json", "tokenizer.json", "generation_config.json")


class LocalCompletions:
    """Answers prompts with a model from a folder; it is loaded when the first prompt comes.

    Args:
        path_or_name: As `instructrec.backbones.load` takes it.
        temperature: 0 for the likeliest words; else they are drawn.
        seed: Seeds the draws.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: ``cpu``, ``cuda`` or ``auto``.
        generator: Who answers, instead of a model loaded from ``path_or_name``.

    Raises:
        ModelError: On the first prompt: the model cannot be loaded.
        UsageError: Likewise: there is no such model or device.
    """

    def __init__(
        self,
        path_or_name: str | Path,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        dtype: str = "float32",
        device: str = "cpu",
        generator: TextGenerator | None = None,
    ) -> None:
        self.path_or_name = path_or_name
        self.temperature = temperature
        self.seed = seed
        self.dtype = dtype
        self.device = device
        self.name = f"local:{path_or_name}"
        self._given = generator

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """What decides an answer: how words are chosen, and which weights choose them.

        Raises:
            UsageError: There is no such folder.
        """
        settings = {"temperature": self.temperature, "seed": self.seed, "dtype": self.dtype}
        return {**settings, "weights": _weights(self.path_or_name)}

    @cached_property
    def generator(self) -> TextGenerator:
        """The model, loaded when first asked for."""
        if self._given is not None:
            return self._given
        from instructrec.backbones.generating import Generator

        return Generator.load(
            self.path_or_name,
            dtype=self.dtype,
            device=self.device,
            temperature=self.temperature,
            seed=self.seed,
        )

    def complete(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        """See `Completions.complete`."""
        if not prompts:
            return
        chats = [[(turn.role, turn.content) for turn in prompt.messages] for prompt in prompts]
        rooms = [prompt.max_tokens for prompt in prompts]
        for at, made in self.generator.generate(chats, rooms):
            yield at, Answer(made.text, made.prompt_tokens, made.tokens, made.error)


def _weights(path_or_name: str | Path) -> str:
    """A digest of a folder's model files; ``""`` for a name on the hub, which says it all."""
    from instructrec import pretrained

    name = str(path_or_name)
    folder = Path(path_or_name)
    if not folder.is_dir() and name in pretrained.names():
        folder = pretrained.require(name)
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith("."):  # Told before anything is reckoned.
            raise UsageError(f"there is no folder {folder}", "Check the path")
        return ""
    digest = hashlib.sha256()
    for pattern in _WEIGHTS:
        for file in sorted(folder.glob(pattern)):
            digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()[:16]
