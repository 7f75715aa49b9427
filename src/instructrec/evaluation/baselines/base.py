"""What every rival has: a name, what it reads, `fit`, and `score` as all scorers have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self

from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Dataset
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Protocol as SplitProtocol
from instructrec.errors import InstructRecError
from instructrec.folders import MANIFEST, read_manifest
from instructrec.instructions.schema import Instruction, Scenario
from instructrec.protocols import Rows, Scores

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
    """

    dataset: Dataset
    protocol: SplitProtocol
    retrievers: Path | None = None
    seed: int = 0

    @property
    def catalogue(self) -> Catalogue:
        """The items."""
        return self.dataset.catalogue

    @cached_property
    def train(self) -> Sequences:
        """Everybody's training interactions, as far as the run's retrievers have read them."""
        split = self.dataset.split(self.protocol)
        return split.before_test() if reads_validation(self.retrievers) else split.train()


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
