"""What an evaluation measures: scenarios, candidates, whose requests, how many."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict

import polars as pl

from instructrec.errors import UsageError
from instructrec.evaluation.trials import CandidateList
from instructrec.instructions.schema import Scenario
from instructrec.negatives import TABLES, listed_users, read_table

SPREAD_USERS = 200
"""Validation requests on which every template is tried."""
ORDER_REQUESTS = 30
"""Test requests that are asked again with their candidates in other orders, of each scenario."""
FULL_REQUESTS = 50
"""Test requests of each scenario whose ranking of the whole catalogue is measured."""


class Wanted(TypedDict, total=False):
    """What a caller may say of a plan beside its scenarios; see `Plan`."""

    candidates: Sequence[CandidateList] | None
    users: Collection[str] | None
    limit: int | None
    seed: int
    spread_users: int
    order_requests: int
    probe_requests: int
    full_requests: int
    max_history: int | None


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        scenarios: Alternatives are measured one by one.
        candidates: Where candidates come from; each makes rows of its own.
        users: Only these users' requests.
        limit: At most so many requests a scenario, drawn at random.
        seed: Seeds negatives, draws and bootstrap samples.
        spread_users: Validation requests on which templates are measured where the model does not
            bring what they reached; 0 leaves that out.
        order_requests: See `instructrec.evaluation.order.check_orders`.
        max_history: Items of a sequence at most, target included, instead of as many as in the
            corpus; more reach the other evidence, a prompt spells out no more than in training.
        probe_requests: Test requests of each scenario with which it is found out what changes of
            the request do (`instructrec.evaluation.probes`); 0 leaves that out.
        full_requests: Test requests of each scenario that rank the whole catalogue, at most.

    Raises:
        UsageError: Two lists of candidates have one name, so that their rows would get mixed up.
    """

    scenarios: tuple[Scenario, ...]
    candidates: tuple[CandidateList, ...] = (CandidateList(),)
    users: frozenset[str] | None = None
    limit: int | None = None
    seed: int = 0
    spread_users: int = SPREAD_USERS
    order_requests: int = ORDER_REQUESTS
    max_history: int | None = None
    probe_requests: int = 0
    full_requests: int = FULL_REQUESTS

    @classmethod
    def of(cls, scenarios: Sequence[Scenario], wanted: Wanted) -> Self:
        """A plan from what a caller has said."""
        values: dict[str, Any] = dict(wanted)
        values["candidates"] = tuple(values.get("candidates") or (CandidateList(),))
        users = values.get("users")
        values["users"] = None if users is None else frozenset(users)
        return cls(tuple(scenarios), **values)

    def __post_init__(self) -> None:
        names = [source.name for source in self.candidates]
        if again := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(
                f"two lists of candidates would both be called {again} in the report",
                "Name each once, and files that are different differently",
            )

    def singles(self) -> list[Scenario]:
        """Every single scenario, each once, in the order written."""
        return list(dict.fromkeys(s for scenario in self.scenarios for s in scenario.singles()))

    def lists(self) -> Iterator[tuple[Scenario, CandidateList, int | None]]:
        """Scenarios that are rankings (T2, T3), their candidates, and how many requests at most."""
        whole = CandidateList(draw="all")
        fewer = self.full_requests
        if self.limit is not None:
            fewer = min(fewer, self.limit)
        for scenario in self.singles():
            if scenario.axes[2] == ("T2",):
                yield scenario, whole, fewer
            elif scenario.axes[2] == ("T3",):
                for source in self.candidates:
                    yield scenario, source, fewer if source.draw == "all" else self.limit

    def judged(self) -> list[Scenario]:
        """Scenarios that are judgements (T0) and comparisons (T1)."""
        return [one for one in self.singles() if one.axes[2] in (("T0",), ("T1",))]

    def named_retrievers(self) -> bool:
        """Whether candidates come from retrievers."""
        return any(source.retriever for source in self.candidates)

    def settings(self) -> dict[str, Any]:
        """Plain values for a manifest, where the files are named by their hashes as well."""
        return {
            "scenarios": [str(scenario) for scenario in self.scenarios],
            "candidates": [source.describe(self.seed) for source in self.candidates],
            "users": None if self.users is None else sorted(self.users),
            "limit": self.limit,
            "spread_users": self.spread_users,
            "order_requests": self.order_requests,
            "probe_requests": self.probe_requests,
            "full_requests": self.full_requests,
            "max_history": self.max_history,
        }

    def inputs(self) -> Iterator[tuple[str, Path]]:
        """The candidates files, by role."""
        for number, source in enumerate(self.candidates):
            if source.path is not None:
                yield f"candidates-{number}", source.path

    def tested_users(self) -> set[str]:
        """The users that the plan names as test users: no choice may look at them."""
        named: set[str] = set(self.users or ())
        for source in self.candidates:
            if source.path is not None:
                named |= listed_users(source.path, source.strategy)
        return named


def read_users(text: str | None) -> tuple[frozenset[str] | None, int | None]:
    """What ``--users`` names: a number of requests at most, or a file of user ids.

    Args:
        text: A number, or the path of a file: one user id a line, or Parquet, CSV, TSV or JSON
            lines with a column user_id.

    Returns:
        (users, limit); one of them is none, both where there is no text.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return None, None
    if text.isdecimal() and int(text) > 0:
        return None, int(text)
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{text!r} is neither a number of users nor a file", "Check --users")
    return users_of(path), None


def users_of(path: Path) -> frozenset[str]:
    """The user ids in a file.

    Args:
        path: One user id a line, or Parquet, CSV, TSV or JSON lines with a column user_id.

    Raises:
        UsageError: There is no such file, it has no column user_id, or it names nobody.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "Check the path")
    if path.suffix.casefold() in TABLES:
        frame = read_table(path)
        if "user_id" not in frame.columns:
            raise UsageError(f"{path} has no column 'user_id'", "Name it so")
        named = frame["user_id"].cast(pl.String).drop_nulls().to_list()
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
        named = [line.strip() for line in lines if line.strip()]
    if not named:
        raise UsageError(f"{path} names no user", "Write one user id a line")
    return frozenset(named)
