"""Computes a report again from its run files and results, and says what differs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from instructrec import metrics
from instructrec.errors import FolderError
from instructrec.evaluation.findings import ANSWERS, by_group, findings_of
from instructrec.evaluation.measure import compare_values, corrected, intervals
from instructrec.evaluation.report import Comparison, Finding, Report, Row
from instructrec.evaluation.trec import DEPTH, QRELS, RUN
from instructrec.evaluation.writing import ANSWERS_FILE, PER_USER_FILE

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Check:
    """What came of computing a report again.

    Attributes:
        figures: How many were compared.
        differing: A line about each that differs.
    """

    figures: int
    differing: tuple[str, ...]


class _Tally:
    def __init__(self) -> None:
        self.figures = 0
        self.differing: list[str] = []

    def same(self, what: str, told: float | None, found: float | None) -> None:
        """Compare one figure."""
        self.figures += 1
        if told is None or found is None:
            equal = told is found
        else:
            equal = math.isclose(told, found, rel_tol=0, abs_tol=_TOLERANCE)
            equal |= math.isnan(told) and math.isnan(found)
        if not equal:
            self.differing.append(f"{what}: the report has {told}, its results give {found}")

    def all_same(self, what: str, told: Mapping[str, object], found: Mapping[str, object]) -> None:
        """Compare figures and intervals by name."""
        for name in dict.fromkeys([*told, *found]):
            ours, theirs = _numbers(told.get(name)), _numbers(found.get(name))
            for at in range(max(len(ours), len(theirs))):
                self.same(
                    f"{what}, {name}{f' end {at + 1}' if len(ours) > 1 else ''}",
                    ours[at] if at < len(ours) else None,
                    theirs[at] if at < len(theirs) else None,
                )


def check_report(folder: Path) -> Check:
    """Compute a report's figures again.

    Metrics, intervals, differences and p-values come from the ranks in per_user.parquet, which
    are compared with those in the TREC run of each row; the other figures from answers.parquet.
    Not computed again: what needs the model (templates, the order of candidates) and times.

    Args:
        folder: A report.

    Raises:
        FolderError: It is no report, or one of an earlier version.
    """
    report = Report.load(folder)
    if not (folder / ANSWERS_FILE).is_file():
        raise FolderError(
            f"{folder} is a report of an earlier version: it has no {ANSWERS_FILE}", "Make it anew"
        )
    results = pl.read_parquet(folder / PER_USER_FILE)
    lines = pl.read_parquet(folder / ANSWERS_FILE)
    tally = _Tally()
    ranks = {row.slug: _ranks(results, row) for row in report.rows}
    for row in report.rows:
        _check_row(tally, folder, row, results, ranks[row.slug], report.seed)
    _check_differences(tally, report, ranks)
    found = [
        *findings_of(lines.select(ANSWERS.names()), report.seed),
        *by_group(results, report.rows, report.seed),
    ]
    _check_findings(tally, report.findings, found)
    return Check(tally.figures, tuple(tally.differing))


def _numbers(value: object) -> list[float]:
    if value is None:
        return []
    return [float(one) for one in value] if isinstance(value, tuple) else [float(value)]  # type: ignore[arg-type]


def _ranks(results: pl.DataFrame, row: Row) -> metrics.Ranks:
    own = results.filter(pl.col("slug") == row.slug)["rank"]
    return np.asarray(own.to_numpy(), dtype=np.int64)


def _check_row(
    tally: _Tally,
    folder: Path,
    row: Row,
    results: pl.DataFrame,
    ranks: metrics.Ranks,
    seed: int,
) -> None:
    where = f"⟨{row.scenario}⟩ {row.candidates}, {row.model}"
    tally.same(f"{where}, requests", float(row.users), float(len(ranks)))
    if not len(ranks):
        return
    values = metrics.per_request(ranks, tuple(row.metrics))
    tally.all_same(where, row.metrics, metrics.means(values))
    tally.all_same(f"{where}, interval", row.interval, intervals(values, seed))
    own = results.filter(pl.col("slug") == row.slug)
    for name, column in values.items():
        stored = own[name].to_numpy()
        gap = float(np.abs(stored - column).max())
        tally.same(f"{where}, {name} of each request against its rank", 0.0, gap)
    listed = _listed_ranks(folder / "rows" / row.slug)
    differing = int(np.count_nonzero(np.where(ranks > DEPTH, metrics.NOWHERE, ranks) != listed))
    if len(listed) == len(ranks):
        tally.same(f"{where}, ranks that differ from {RUN}", 0.0, float(differing))


def _listed_ranks(folder: Path) -> metrics.Ranks:
    """The target's rank in each list of a run file, in the order of the relevance file."""
    lines = pl.read_csv(
        folder / QRELS,
        separator=" ",
        has_header=False,
        quote_char=None,
        new_columns=["query", "iteration", "item", "relevance"],
        schema_overrides=[pl.String, pl.Int64, pl.String, pl.Int64],
    ).with_row_index("line")
    run = pl.read_csv(
        folder / RUN,
        separator=" ",
        has_header=False,
        quote_char=None,
        new_columns=["query", "iteration", "item", "rank", "score", "tag"],
        schema_overrides=[pl.String, pl.String, pl.String, pl.Int64, pl.Int64, pl.String],
    )
    found = lines.join(run.select("query", "item", "score"), on=["query", "item"], how="left")
    above = lines.join(
        run.select("query", pl.col("score").alias("other")), on="query", how="inner"
    ).join(found.select("line", "score"), on="line")
    places = above.filter(pl.col("other") >= pl.col("score")).group_by("line").len("place")
    told = found.join(places, on="line", how="left").sort("line")
    return told["place"].fill_null(metrics.NOWHERE).cast(pl.Int64).to_numpy()


def _check_differences(tally: _Tally, report: Report, ranks: Mapping[str, metrics.Ranks]) -> None:
    found: list[Comparison] = []
    for table, rows in report.tables():
        headline = rows[0].headline
        if any(not len(ranks[row.slug]) for row in rows):
            continue
        values = {row.model: metrics.measure(headline, ranks[row.slug]) for row in rows}
        if len({len(column) for column in values.values()}) > 1:
            continue
        rivals = [row.model for row in rows if row.kind != "ours"]
        found += compare_values(values, rivals, table, headline, report.seed)
    again = {(*one.table, one.model, one.other): one for one in corrected(found)}
    for told in report.differences:
        where = f"⟨{told.scenario}⟩ {told.candidates}, {told.model} − {told.other}"
        one = again.get((*told.table, told.model, told.other))
        for name in ("difference", "p_value", "p_holm"):
            theirs = None if one is None else getattr(one, name)
            tally.same(f"{where}, {name}", getattr(told, name), theirs)
        ends: Mapping[str, object] = {} if one is None else {"interval": one.interval}
        tally.all_same(where, {"interval": told.interval}, ends)


def _check_findings(tally: _Tally, told: Sequence[Finding], found: Sequence[Finding]) -> None:
    again = {_key(one): one for one in found}
    for one in told:
        other = again.pop(_key(one), None)
        where = f"{one.part}, ⟨{one.scenario}⟩ {one.asked}, {one.model} {one.group}".rstrip()
        if other is None:
            tally.same(where, float(one.requests), None)
            continue
        tally.same(f"{where}, requests", float(one.requests), float(other.requests))
        tally.all_same(where, one.metrics, other.metrics)
        tally.all_same(f"{where}, interval", one.interval, other.interval)
    for one in again.values():
        where = f"{one.part}, ⟨{one.scenario}⟩ {one.model} {one.group}".rstrip()
        tally.same(f"{where}, requests", None, float(one.requests))


def _key(finding: Finding) -> tuple[str, ...]:
    return (
        finding.part,
        finding.scenario,
        finding.protocol,
        finding.asked,
        finding.model,
        finding.group,
    )
