"""A report as values: rows, differences, template spread, notes; what report.json holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from instructrec.folders import read_json, read_manifest
from instructrec.metrics import expected_at_random

HEADLINE = "HR@1"
"""The metric that models are compared by."""
OURS = "instructrec"
LM = "instructrec-lm"
WITHOUT_LM = "fused-without-lm"
GROUPS = "groups-of-ten"
RETRIEVAL = "retrieval-order"
"""Candidates as retrieval found them: what reranking has to beat."""
TRAP = "trap: fitted on these lists"
ASIDE = frozenset({WITHOUT_LM, GROUPS, TRAP})
"""Rows that are never the best rival: parts of our own system, and the trap."""
Kind = Literal["ours", "rival", "trap"]


Ranking = Literal["sampled", "full", "two-stage"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Value):
    """One model in one scenario under one protocol."""

    scenario: str
    protocol: str
    candidates: str
    """What was ranked, in one phrase."""
    model: str
    kind: Kind
    reads: tuple[str, ...]
    """What of an instruction it makes use of: ``history``, ``words``, both or nothing."""
    users: int
    """Requests that were answered, one a user (or a query, where nobody asks it)."""
    metrics: dict[str, float]
    """Name → mean over all requests."""
    interval: dict[str, tuple[float, float]]
    """Name → ends of the 95 % bootstrap interval."""
    slug: str
    """Its folder under rows/, with run.trec and qrels.trec."""
    ranking: Ranking = "sampled"
    """``sampled``: among few candidates beside the target, which was put in; ``full``: among the
    whole catalogue; ``two-stage``: among what retrieval found, nothing put in."""
    headline: str = HEADLINE
    """The metric that this table's models are compared by."""
    width: int = 10
    """Places of a list, the target's among them."""

    @property
    def chance(self) -> float | None:
        """What guessing reaches in the headline; unknown where the target may be missing."""
        if self.ranking == "two-stage":
            return None
        return expected_at_random(self.headline, self.width)

    @property
    def table(self) -> tuple[str, str, str]:
        """The table it belongs to: scenario, protocol, candidates."""
        return self.scenario, self.protocol, self.candidates


class Comparison(_Value):
    """How much better one model is than another on the same requests."""

    scenario: str
    protocol: str
    candidates: str
    model: str
    other: str
    metric: str
    difference: float
    interval: tuple[float, float]
    p_value: float
    """Of the paired randomisation test, two-sided, not corrected for the number of rivals."""
    p_holm: float | None = None
    """The same, corrected by Holm's method for all comparisons of the report."""
    best_rival: bool
    """Whether the other is the rival with the highest metric in this table."""

    @property
    def table(self) -> tuple[str, str, str]:
        """The table it belongs to: scenario, protocol, candidates."""
        return self.scenario, self.protocol, self.candidates


class Spread(_Value):
    """What each template that covers a scenario reaches on validation requests."""

    scenario: str
    used: str
    """The template every figure of this scenario was made with."""
    chosen: Literal["before", "here"]
    """Whether scoring.json of the model named it, or it was the best of these figures."""
    users: int
    values: dict[str, float]
    """Template → HR@1 of the likelihood alone on validation requests."""


class OrderCheck(_Value):
    """How much the order in which candidates are given matters to a model."""

    scenario: str
    protocol: str
    candidates: str
    model: str
    requests: int
    """Requests that were asked again and again, each with the target at every place in turn and
    the other candidates in random order."""
    same_first: float
    """Share of these lists whose first is the one of the request's first list."""
    same_order: float
    """Share of these lists that come out in the very order of the request's first list."""
    kendall: float
    """Kendall's tau between their orders, on average."""
    places: tuple[int, ...]
    """Places of the given list, counted from 1, at which the target stood."""
    hits: tuple[float, ...]
    """HR@1 with the target at each of ``places``; flat where the place does not matter."""

    @property
    def table(self) -> tuple[str, str, str]:
        """The table it belongs to: scenario, protocol, candidates."""
        return self.scenario, self.protocol, self.candidates


class Cost(_Value):
    """What answering a thousand requests of one row took; not the same from run to run."""

    slug: str
    seconds: float
    core_seconds: float
    """Seconds of processor cores, of all cores together."""


class Finding(_Value):
    """What one model reached in one further question beside the tables."""

    part: str
    """Which question: see `instructrec.evaluation.findings.PARTS`."""
    scenario: str
    protocol: str
    asked: str
    """What was asked, in one phrase."""
    model: str
    group: str = ""
    """Which requests, or which change of them; ``""`` where all are meant as they are."""
    requests: int
    metrics: dict[str, float]
    interval: dict[str, tuple[float, float]]
    """95 % bootstrap intervals."""
    bins: tuple[tuple[float, float, int, float, float], ...] = ()
    """Of judgements (T0): lower end, upper end, how many, mean probability, share that is right."""


class Report(_Value):
    """All that was measured.

    Example:
        >>> report = Report.load(Path("runs/demo/report"))  # doctest: +SKIP
        >>> report.row("P1,I0,T3", "instructrec").metrics["HR@1"]  # doctest: +SKIP
    """

    summary: str
    """The first line: whether the language model adds anything."""
    rows: tuple[Row, ...]
    differences: tuple[Comparison, ...] = ()
    templates: tuple[Spread, ...] = ()
    orders: tuple[OrderCheck, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the figures."""
    seed: int = 0

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a report folder.

        Raises:
            FolderError: It is absent, incomplete or of another kind.
        """
        read_manifest(folder, "report")
        return cls.model_validate(read_json(folder / "report.json"))

    def tables(self) -> Iterator[tuple[tuple[str, str, str], list[Row]]]:
        """Rows by scenario, protocol and candidates, in the order measured."""
        for table, rows in groupby(self.rows, key=lambda row: row.table):
            yield table, list(rows)

    def row(self, scenario: str, model: str) -> Row:
        """The first row of a model in a scenario.

        Raises:
            KeyError: There is none.
        """
        for row in self.rows:
            if (row.scenario, row.model) == (scenario, model):
                return row
        raise KeyError(f"{model} in {scenario}")


def summarise(differences: Sequence[Comparison], rows: Sequence[Row]) -> str:
    """The first line of a report.

    Where `instructrec` is not above `fused-without-lm` with its whole paired interval, the line
    says that the language model adds nothing there.
    """
    compared = [
        gap
        for gap in differences
        if gap.other == WITHOUT_LM and gap.model == OURS and gap.metric == HEADLINE
    ]
    if not compared:
        return (
            f"What the language model adds was not measured: {OURS} and {WITHOUT_LM} are not both "
            f"among the {len(rows)} rows."
        )
    idle = [gap for gap in compared if gap.interval[0] <= 0]
    useful = [gap for gap in compared if gap.interval[0] > 0]
    sentences = []
    if idle:
        sentences.append(
            f"The language model adds nothing in {_list(idle)}: `{OURS}` is not above "
            f"`{WITHOUT_LM}` there ({HEADLINE}, paired, 95 % intervals)."
        )
    if useful:
        sentences.append(
            f"The language model adds to all other evidence in {_list(useful)}: `{OURS}` is above "
            f"`{WITHOUT_LM}` there ({HEADLINE}, paired, 95 % intervals)."
        )
    return " ".join(sentences)


def _list(gaps: Sequence[Comparison]) -> str:
    several = len({gap.candidates for gap in gaps}) > 1
    return ", ".join(
        f"⟨{gap.scenario}⟩ {gap.difference:+.4f} [{gap.interval[0]:+.4f}, {gap.interval[1]:+.4f}]"
        f"{f' with {gap.candidates}' if several else ''}"
        for gap in gaps
    )
