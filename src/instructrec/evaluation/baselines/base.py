"""What every rival has: a name, what it reads, `fit`, and `score` as all scorers have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self

import numpy as np

from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Dataset
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Protocol as SplitProtocol
from instructrec.data.splits import Targets
from instructrec.errors import InstructRecError
from instructrec.folders import MANIFEST, read_manifest
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.schema import Instruction, Scenario
from instructrec.protocols import Rows, Scores
from instructrec.retrieval.making import without

Input = Literal["history", "words"]
"""What an instruction may hold: the items a user had (P1), and what is said in words (P2, I)."""


class UnavailableError(InstructRecError):
    """A rival that cannot be made here; the report leaves it out and says why."""


@dataclass(frozen=True)
class Material:
    """What a rival may learn from: training rows and what the run has made of them.

    Attributes:
        dataset: Items and interactions; only the training part of ``protocol`` may be read.
        protocol: What is training.
        retrievers: The run's folder of fitted retrievers, where there is one.
        seed: For whatever is drawn.
        rivals: The folder of trained rivals, where there is one
            (`instructrec.evaluation.baselines.trained`).
        texts: Preferences and intentions, for rivals that learn from words.
        held_out: Users whose validation targets no choice may look at.
        refit: Learn from validation rows too, all that comes before a test item, and choose
            nothing; so it is as well where the retrievers were fitted that way.
        only: Users whose rows are read; all when none.
    """

    dataset: Dataset
    protocol: SplitProtocol
    retrievers: Path | None = None
    seed: int = 0
    rivals: Path | None = None
    texts: Annotations | None = None
    held_out: frozenset[str] = frozenset()
    refit: bool = False
    only: frozenset[str] | None = None

    @property
    def catalogue(self) -> Catalogue:
        """The items."""
        return self.dataset.catalogue

    @cached_property
    def train(self) -> Sequences:
        """Everybody's training interactions, as far as the run's retrievers have read them."""
        split = self.dataset.split(self.protocol)
        late = self.refit or reads_validation(self.retrievers)
        sequences = split.before_test() if late else split.train()
        return sequences if self.only is None else _of_users(sequences, self.only)

    @cached_property
    def validation(self) -> Targets:
        """Validation targets by which a rival may choose when to stop, and its settings."""
        targets = self.dataset.split(self.protocol).targets("validation")
        left_out = self.held_out
        if self.only is not None:
            left_out |= frozenset(targets.user_ids) - self.only
        return without(targets, left_out)


class Baseline(Protocol):
    """A rival: a `instructrec.protocols.Scorer` that is fitted on training rows alone.

    Attributes:
        name: Its name in reports.
        reads: What it makes use of; nothing means that it answers everybody alike.
    """

    name: str
    reads: ClassVar[frozenset[Input]]

    @classmethod
    def fit(cls, material: Material) -> Self:
        """Learn.

        Raises:
            UnavailableError: Something it needs is not here.
        """
        ...

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        ...


def reads_validation(retrievers: Path | None) -> bool:
    """Whether a folder of retrievers was fitted on validation rows as well (``--refit``)."""
    if retrievers is None or not (retrievers / MANIFEST).is_file():
        return False
    return bool(read_manifest(retrievers).get("refit"))


def _of_users(sequences: Sequences, users: frozenset[str]) -> Sequences:
    """The sequences of some users."""
    kept = [number for number, user in enumerate(sequences.user_ids) if user in users]
    parts = [sequences[number] for number in kept]
    lengths = [len(part) for part in parts]
    return Sequences(
        [sequences.user_ids[number] for number in kept],
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64),
    )


def inputs_of(scenario: Scenario) -> frozenset[Input]:
    """What the requests of a single scenario hold."""
    (preference,), (intention,), _ = scenario.axes
    found: set[Input] = set()
    if "P1" in preference:
        found.add("history")
    if "P2" in preference or intention != "I0":
        found.add("words")
    return frozenset(found)


def applies(reads: frozenset[Input], scenario: Scenario) -> bool:
    """Whether a scorer that reads this has anything to read in a scenario."""
    return not reads or bool(reads & inputs_of(scenario))
