"""A scorer that remembers, so that what several models share is computed once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scorer, Scores


@dataclass
class Clock:
    """What remembered scores have cost when they were computed.

    Attributes:
        seconds: Of all scores handed on without computing them again.
        core_seconds: The same in seconds of processor cores.
    """

    seconds: float = 0.0
    core_seconds: float = 0.0


class Remembering:
    """Passes on what a scorer said before about the same request and candidates.

    The likelihood stands on a row of its own and is a piece of the fused score; it is by far the
    dearest thing in an evaluation.

    Args:
        scorer: Whose scores; they must depend on each request alone.
        clock: Where it is noted what the scores would have cost that are handed on.
    """

    def __init__(self, scorer: Scorer, clock: Clock | None = None) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._clock = clock or Clock()
        self._spent = Clock()
        self._computed = 0
        self._known: dict[tuple[Instruction, bytes], Scores] = {}

    @property
    def scorer(self) -> Scorer:
        """Whose scores these are."""
        return self._scorer

    @property
    def lists_candidates(self) -> bool:
        """As its scorer has it."""
        return bool(getattr(self._scorer, "lists_candidates", False))

    @property
    def scores_apart(self) -> bool:
        """As its scorer has it."""
        return bool(getattr(self._scorer, "scores_apart", False))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        keys = [
            (instruction, blake2b(row.tobytes(), digest_size=16).digest())
            for instruction, row in zip(instructions, candidates, strict=True)
        ]
        new = [number for number, key in enumerate(keys) if key not in self._known]
        if new:
            start = time.perf_counter(), time.process_time()
            scores = self._scorer.score([instructions[number] for number in new], candidates[new])
            self._spent.seconds += time.perf_counter() - start[0]
            self._spent.core_seconds += time.process_time() - start[1]
            self._computed += len(new)
            self._known.update(zip([keys[number] for number in new], scores, strict=True))
        if not keys:
            return np.zeros(candidates.shape, dtype=np.float32)
        share = (len(keys) - len(new)) / max(self._computed, 1)
        self._clock.seconds += share * self._spent.seconds
        self._clock.core_seconds += share * self._spent.core_seconds
        return np.stack([self._known[key] for key in keys])

    def forget(self) -> None:
        """Let go of all that is remembered."""
        self._known.clear()
        self._spent, self._computed = Clock(), 0


@dataclass(frozen=True, eq=False)
class Shared:
    """What several models of an evaluation have in common.

    Attributes:
        memories: Let go of after each trial.
        clock: What remembered scores have cost.
        pieces: All evidence by name.
    """

    memories: Sequence[Remembering] = ()
    clock: Clock = field(default_factory=Clock)
    pieces: Mapping[str, Scorer] = field(default_factory=dict)
