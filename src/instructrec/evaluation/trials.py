"""What every model is asked: the requests of a scenario, each with its candidates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from instructrec import metrics
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.evaluation.report import HEADLINE, Ranking
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.requests import MAX_HISTORY, Requests, make_requests
from instructrec.instructions.schema import Scenario
from instructrec.negatives import (
    from_candidates_file,
    listed_users,
    matched_negatives,
    sample_negatives,
)
from instructrec.protocols import Retriever, Rows, Scores
from instructrec.retrieval.shares import unseen

NEGATIVES = 9
"""Negatives a request in the paper's protocol (paper §4.1)."""
Draw = Literal["uniform", "popularity", "hard", "retrieved", "all"]
UNIFORM: Draw = "uniform"
DRAWS: Mapping[str, Draw] = {
    "uniform": "uniform",
    "popularity-matched": "popularity",
    "hard": "hard",
    "retrieved": "retrieved",
    "catalogue": "all",
}
"""Names of ways to get candidates without a file, as the command line has them."""
AT_RANDOM = ("random", UNIFORM)
"""Strategies of a file whose lists no matcher made."""
FULL_CELLS = 20_000_000
"""Requests times items of a full ranking at most: about 250 MB."""


@dataclass(frozen=True)
class CandidateList:
    """Where the candidates come from: drawn, retrieved, all there are, or read from a file.

    Attributes:
        path: A candidates file (`instructrec.negatives.from_candidates_file`); none draws.
        strategy: Which of the file's lists.
        first: Negatives a request; of ``retrieved``, candidates a request.
        drop_history: Whether items of the user's history are dropped from the file's lists.
        draw: Without a file: ``uniform``; ``popularity``, about as popular as the target;
            ``hard``, the first that a retriever finds, the target put in by hand; ``retrieved``,
            the first that a retriever finds and nothing put in; ``all`` of the catalogue.
        retriever: Whose, of ``hard`` and ``retrieved``.
    """

    path: Path | None = None
    strategy: str | None = None
    first: int = NEGATIVES
    drop_history: bool = False
    draw: Draw = UNIFORM
    retriever: str = ""

    @classmethod
    def parse(cls, text: str, first: int = NEGATIVES) -> CandidateList:
        """A way without a file by its name: ``hard:lexical``, ``retrieved:hybrid``, ``catalogue``.

        Raises:
            UsageError: There is no such way.
        """
        name, _, retriever = text.partition(":")
        if name not in DRAWS or bool(retriever) != (name in ("hard", "retrieved")):
            raise UsageError(
                f"{text!r} is no way to get candidates",
                "Use uniform, popularity-matched, hard:RETRIEVER, retrieved:RETRIEVER or catalogue",
            )
        return cls(first=first, draw=DRAWS[name], retriever=retriever)

    @property
    def name(self) -> str:
        """A short name: ``uniform``, or the file's with the strategy; then what is unusual."""
        if self.draw == "all":
            return "catalogue"
        parts = [self._kind if self.path is None else self.path.stem]
        if self.strategy is not None:
            parts.append(self.strategy)
        if self.first != NEGATIVES:
            parts.append(str(self.first))
        if self.drop_history:
            parts.append("history-dropped")
        return "-".join(parts)

    @property
    def _kind(self) -> str:
        named = next(name for name, draw in DRAWS.items() if draw == self.draw)
        return f"{named}-{self.retriever}" if self.retriever else named

    @property
    def ranking(self) -> Ranking:
        """What a figure made with such candidates is."""
        if self.draw == "all":
            return "full"
        return "two-stage" if self.draw == "retrieved" else "sampled"

    @property
    def is_put_together(self) -> bool:
        """Whether a matcher chose the others and the target was put in by hand (a trap).

        A file's lists count as such unless their strategy says that they were drawn at random.
        """
        return self.draw == "hard" or (self.path is not None and self.strategy not in AT_RANDOM)

    def describe(self, seed: int) -> str:
        """The candidates in one phrase."""
        if self.path is None:
            return {
                "uniform": f"1 + {self.first} uniform, seed {seed}",
                "popularity": f"1 + {self.first} about as popular as the target, seed {seed}",
                "hard": f"1 + the first {self.first} of {self.retriever}, target put in by hand",
                "retrieved": f"the first {self.first} of {self.retriever}, nothing put in",
                "all": "the whole catalogue without the user's history",
            }[self.draw]
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
        candidates: (n, 1 + negatives) rows, column 0 the target, -1 where a list is shorter; under
            ``retrieved`` column 0 is -1 where the target was not found.
        source: Where the candidates come from.
        seed: What seeded them.
        unknown: Item ids of a candidates file that the catalogue does not have.
        given: (n, 1 + negatives) the order in which a retriever found them, higher is better.
    """

    scenario: Scenario
    protocol: Protocol
    requests: Requests
    candidates: Rows
    source: CandidateList
    seed: int = 0
    unknown: int = 0
    given: Scores | None = None

    @property
    def short(self) -> int:
        """How many requests have fewer candidates than the others, and so are easier."""
        if self.source.ranking != "sampled":
            return 0
        return int((self.candidates < 0).any(axis=1).sum())

    @property
    def description(self) -> str:
        """The candidates in one phrase."""
        return self.source.describe(self.seed)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What its rows tell: more places where lists are whole or retrieved."""
        return metrics.METRICS if self.source.ranking == "sampled" else metrics.WIDE

    @property
    def headline(self) -> str:
        """The metric that models are compared by."""
        return HEADLINE if self.source.ranking == "sampled" else "NDCG@10"

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n,) whether the target is among the candidates."""
        return np.asarray(self.candidates[:, 0] >= 0)


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
    retrievers: Mapping[str, Retriever] | None = None,
) -> Trial:
    """Gather the requests of a scenario and give each its candidates.

    Args:
        dataset: Targets, titles and queries.
        protocol: How targets are set apart.
        scenario: A single scenario of task form T3, or of T2 with the whole catalogue.
        texts: Preferences and intentions.
        source: Where the candidates come from.
        split: ``validation`` or ``test``.
        users: Only these users' requests.
        limit: At most so many requests, drawn at random.
        max_history: Items a sequence has at most, target included.
        seed: Seeds negatives and the draw of ``limit``.
        retrievers: Those that ``source`` may name.

    Raises:
        UsageError: The scenario is of another task form, no request can be made, the catalogue is
            too large to be ranked for so many, or there is no such retriever.
    """
    if scenario.axes[2] != ("T3",) and (scenario.axes[2], source.draw) != (("T2",), "all"):
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
    if source.path is not None:
        return _from_file(dataset, protocol, requests, source, seed)
    if source.draw in ("hard", "retrieved"):
        rows, given = _retrieved(requests, source, dict(retrievers or {}))
        return Trial(scenario, protocol, requests, rows, source, seed, given=given)
    candidates = _drawn(dataset, protocol, requests, source, seed)
    return Trial(scenario, protocol, requests, candidates, source, seed)


def _drawn(
    dataset: Dataset, protocol: Protocol, requests: Requests, source: CandidateList, seed: int
) -> Rows:
    """Candidates that no retriever chose."""
    targets, seen, keys = requests.targets, requests.seen, requests.keys
    if source.draw == "all":
        return _whole(len(dataset.catalogue), targets, seen)
    if source.draw == "popularity":
        counts = dataset.split(protocol).train().counts(len(dataset.catalogue))
        return matched_negatives(counts, targets, seen, keys, n=source.first, seed=seed)
    return sample_negatives(dataset.catalogue, targets, seen, keys, n=source.first, seed=seed)


def _whole(items: int, targets: Rows, seen: list[NDArray[np.int64]]) -> Rows:
    """(n, items) the target, then everything else that the user has not had, else -1."""
    if items * len(targets) > FULL_CELLS:
        raise UsageError(
            f"{len(targets):,} full rankings of {items:,} items do not fit into memory",
            f"Ask for at most {max(FULL_CELLS // items, 1):,} (--full-requests)",
        )
    rows = np.tile(np.arange(items, dtype=np.int64), (len(targets), 1))
    for line, (target, avoid) in enumerate(zip(targets.tolist(), seen, strict=True)):
        rows[line, avoid] = -1
        rows[line, target] = rows[line, 0]
        rows[line, 0] = target
    return rows


def _retrieved(
    requests: Requests, source: CandidateList, retrievers: dict[str, Retriever]
) -> tuple[Rows, Scores | None]:
    """What a retriever finds, the target in column 0, and the order in which it was found."""
    if source.retriever not in retrievers:
        raise UsageError(
            f"there is no retriever {source.retriever!r}",
            f"Use one of {', '.join(retrievers) or 'those of a run (name a run)'}",
        )
    first = source.first
    depth = first + 1 if source.draw == "hard" else first
    finder = retrievers[source.retriever]
    found = unseen(finder, requests.instructions, requests.seen, depth)
    is_target = found == requests.targets[:, None]
    rows = np.full((len(found), 1 + first), -1, dtype=np.int64)
    others = np.where(is_target, -1, found)
    # Empty places move behind the others, whose order stays.
    behind = np.argsort(others < 0, axis=1, kind="stable")[:, :first]
    rows[:, 1:] = np.take_along_axis(others, behind, axis=1)
    if source.draw == "hard":
        rows[:, 0] = requests.targets
        return rows, None
    rows[:, 0] = np.where(is_target.any(axis=1), requests.targets, -1)
    given = np.full(rows.shape, -np.inf, dtype=np.float32)
    given[:, 1:] = np.where(rows[:, 1:] >= 0, -behind.astype(np.float32), -np.inf)
    given[:, 0] = np.where(rows[:, 0] >= 0, -is_target.argmax(axis=1).astype(np.float32), -np.inf)
    return rows, given


def _from_file(
    dataset: Dataset, protocol: Protocol, requests: Requests, source: CandidateList, seed: int
) -> Trial:
    assert source.path is not None
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
    return Trial(requests.scenario, protocol, asked, found.candidates, source, seed, found.unknown)
