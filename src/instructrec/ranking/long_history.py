"""Long histories: the recent titles are spelled out, older ones read in chunks and remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrec.backbones import Backbone
from instructrec.backbones.base import Prompt
from instructrec.backbones.likelihoods import Memory, within_memory
from instructrec.instructions.schema import Instruction
from instructrec.ranking.likelihood import Likelihood

Floats = NDArray[np.float64]
_MEBIBYTE = 2**20


def spell(instruction: Instruction, titles: int | None) -> Instruction:
    """The instruction with no more than the latest ``titles`` of its history, all when none."""
    preference = instruction.preference
    if titles is None or len(preference.history) <= titles:
        return instruction
    recent = replace(
        preference,
        history=preference.history[-titles:],
        history_ids=preference.history_ids[-titles:],
    )
    return replace(instruction, preference=recent)


def chunks(instruction: Instruction, size: int) -> list[Instruction]:
    """The part of a history that `spell` leaves out, ``size`` titles at a time.

    Chunks are counted from the oldest title, so that one that is full never changes; the last
    may reach into the titles that are spelled out, and what follows it is among them.

    Returns:
        Instructions that differ in their histories alone, oldest first.
    """
    preference = instruction.preference
    older = len(preference.history) - size
    return [
        replace(
            instruction,
            preference=replace(
                preference,
                history=preference.history[start : start + size],
                history_ids=preference.history_ids[start : start + size],
            ),
        )
        for start in range(0, older, size)
    ]


class ChunkMemories:
    """What a model keeps of prompts that it has read, for prompts that come again and again.

    The key is the prompt's exact token ids: whatever user, template or wish it came from, equal
    ids have equal memories and others have none, so that nobody can be served with what was read
    for somebody else. A prompt is read alone, whether it is remembered or not, so that the scores
    are the same either way.

    Args:
        backbone: Reads them.
        mebibytes: Memory that may be kept; what was not used for longest goes first.
    """

    def __init__(self, backbone: Backbone, mebibytes: float) -> None:
        self._backbone = backbone
        self._room = int(mebibytes * _MEBIBYTE)
        self._kept: OrderedDict[tuple[int, ...], tuple[Memory, int]] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, ids: Sequence[int]) -> Memory:
        """The memory of a prompt, read now where it is not remembered.

        Raises:
            ModelError: There is no room for it, even with nothing else remembered.
        """
        key = tuple(ids)
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key][0]
        self.misses += 1
        memory = self._read(list(ids))
        size = held_bytes(memory)
        if size <= self._room:
            self._kept[key] = (memory, size)
            self.bytes += size
            while self.bytes > self._room:
                _, (_, freed) = self._kept.popitem(last=False)
                self.bytes -= freed
        return memory

    def _read(self, ids: list[int]) -> Memory:
        def read() -> Memory:
            memory: Memory = self._backbone.read([ids])
            return memory

        what = f"a prompt of {len(ids):,} tokens"
        with torch.inference_mode():
            return within_memory(self._backbone, read, what, free=self.forget)

    def forget(self) -> None:
        """Let go of everything."""
        self._kept.clear()
        self.bytes = 0


def held_bytes(value: Any) -> int:
    """Bytes of all tensors in a memory, each storage counted once."""
    storages: dict[int, int] = {}
    _collect(value, storages)
    return sum(storages.values())


def _collect(value: Any, storages: dict[int, int]) -> None:
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    elif is_dataclass(value):
        for field in fields(value):
            _collect(getattr(value, field.name), storages)
    elif isinstance(value, list | tuple):
        for one in value:
            _collect(one, storages)


@dataclass(frozen=True)
class ChunkReader:
    """Tells what a model makes of the older part of a history.

    Attributes:
        likelihood: The engine; its null prompt stands for "without the user".
        memories: Of the chunks.
        render: How an instruction is asked.
        size: Titles of a chunk.
    """

    likelihood: Likelihood
    memories: ChunkMemories
    render: Callable[[Instruction], Prompt]
    size: int

    def gains(self, instruction: Instruction, titles: Sequence[str]) -> Floats:
        """How much likelier the older part makes each title than no history does.

        Args:
            instruction: With its whole history.
            titles: Candidates.

        Returns:
            (titles,) mean over chunks of the gain in log-likelihood; zeros where there is none.

        Source: docs/long-histories.md; contexts read apart as in Ratner et al., Parallel Context
        Windows for Large Language Models (ACL 2023), joined by their scores.
        """
        older = chunks(instruction, self.size)
        if not older or not titles:
            return np.zeros(len(titles))
        backbone = self.likelihood.backbone
        prompts = backbone.prompt_ids([self.render(one) for one in older], self._max_tokens)
        candidates = backbone.candidate_ids(titles)
        total = np.zeros(len(titles))
        for ids in prompts:
            memory = self.memories.get(ids)
            total += backbone.memory_log_likelihoods(memory, candidates).sums
        (without,) = self.likelihood.without_user([candidates])
        return np.asarray(total / len(prompts) - without, dtype=np.float64)

    @property
    def _max_tokens(self) -> int:
        return self.likelihood.max_tokens
