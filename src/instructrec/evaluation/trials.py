"""What every model is asked: the requests of a scenario, each with its candidates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.requests import MAX_HISTORY, Requests, make_requests
from instructrec.instructions.schema import Scenario
from instructrec.negatives import from_candidates_file, listed_users, sample_negatives
from instructrec.protocols import Rows

NEGATIVES = 9
"""Negatives a request in the paper's protocol (paper §4.1)."""
UNIFORM = "uniform"


@dataclass(frozen=True)
class CandidateList:
    """Where the candidates come from: drawn uniformly, or read from a file.

    Attributes:
        path: A candidates file (`instructrec.negatives.from_candidates_file`); none draws.
        strategy: Which of the file's lists.
        first: Negatives a request.
        drop_history: Whether items of the user's history are dropped from the file's lists.
    """

    path: Path | None = None
    strategy: str | None = None
    first: int = NEGATIVES
    drop_history: bool = False

    @property
    def name(self) -> str:
        """A short name: ``uniform``, or the file's with the strategy; then what is unusual."""
        parts = [UNIFORM if self.path is None else self.path.stem]
        if self.strategy is not None:
            parts.append(self.strategy)
        if self.first != NEGATIVES:
            parts.append(str(self.first))
        if self.drop_history:
            parts.append("history-dropped")
        return "-".join(parts)

    def describe(self, seed: int) -> str:
        """The candidates in one phrase."""
        if self.path is None:
            return f"1 + {self.first} uniform, seed {seed}"
        strategy = "" if self.strategy is None else f" of {self.strategy}"
        history = "history dropped" if self.drop_history else "history kept"
        return f"1 + the first {self.first}{strategy} in {self.path.name}, {history}"


@dataclass(frozen=True, eq=False)
class Trial:
    """Requests of one scenario with their candidates.

    Attributes:
        scenario: A single scenario.
        protocol: How the targets were set apart.
        requests: n requests.
        candidates: (n, 1 + negatives) rows, column 0 the target, -1 where a list is shorter.
        source: Where the candidates come from.
        seed: What seeded them.
        unknown: Item ids of a candidates file that the catalogue does not have.
    """

    scenario: Scenario
    protocol: Protocol
    requests: Requests
    candidates: Rows
    source: CandidateList
    seed: int = 0
    unknown: int = 0

    @property
    def short(self) -> int:
        """How many requests have fewer candidates than the others, and so are easier."""
        return int((self.candidates < 0).any(axis=1).sum())

    @property
    def description(self) -> str:
        """The candidates in one phrase."""
        return self.source.describe(self.seed)


def make_trial(
    dataset: Dataset,
    protocol: Protocol,
    scenario: Scenario,
    texts: Annotations,
    source: CandidateList,
    *,
    split: str = "test",
    users: Collection[str] | None = None,
    limit: int | None = None,
    max_history: int = MAX_HISTORY,
    seed: int = 0,
) -> Trial:
    """Gather the requests of a scenario and give each its candidates.

    Args:
        dataset: Targets, titles and queries.
        protocol: How targets are set apart.
        scenario: A single scenario of task form T3.
        texts: Preferences and intentions.
        source: Where the candidates come from.
        split: ``validation`` or ``test``.
        users: Only these users' requests.
        limit: At most so many requests, drawn at random.
        max_history: Items a sequence has at most, target included.
        seed: Seeds negatives and the draw of ``limit``.

    Raises:
        UsageError: The scenario is of another task form, or no request can be made.
    """
    if scenario.axes[2] != ("T3",):
        raise UsageError(
            f"{scenario} cannot be evaluated here",
            "Reranking is what is measured: write T3 as its task form",
        )
    if source.path is not None:
        listed = listed_users(source.path, source.strategy)
        users = listed if users is None else listed & set(users)
    requests = make_requests(
        dataset,
        protocol,
        split,
        scenario,
        texts,
        max_history=max_history,
        limit=limit,
        users=users,
        seed=seed,
    )
    if source.path is None:
        drawn = sample_negatives(
            dataset.catalogue,
            requests.targets,
            requests.seen,
            requests.keys,
            n=source.first,
            seed=seed,
        )
        return Trial(scenario, protocol, requests, drawn, source, seed)
    found = from_candidates_file(
        source.path,
        dataset.catalogue,
        requests.user_ids,
        requests.targets,
        requests.seen,
        first=source.first,
        strategy=source.strategy,
        drop_history=source.drop_history,
    )
    asked = requests.take(found.requests)
    return Trial(scenario, protocol, asked, found.candidates, source, seed, found.unknown)
