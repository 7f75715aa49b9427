"""Writes a report folder: report.json, report.md, report.html, results of every request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from instructrec.evaluation.figures import draw_bars, draw_places
from instructrec.evaluation.markdown import ORDER_FIGURE, to_markdown
from instructrec.evaluation.page import Page, to_html
from instructrec.evaluation.report import Cost, Report
from instructrec.folders import LOG, Draft, read_json, write_json

PER_USER_FILE = "per_user.parquet"
ANSWERS_FILE = "answers.parquet"
COSTS_FILE = "costs.json"
LOSSES = "loss.json"


@dataclass(frozen=True, eq=False)
class Results:
    """What a report is made of.

    Attributes:
        per_user: Ranks of every request of every row.
        answers: Answers to the further questions.
        costs: Of each row.
        curve: How tuning went: what loss.json of the model holds.
    """

    per_user: pl.DataFrame
    answers: pl.DataFrame
    costs: Sequence[Cost] = ()
    curve: dict[str, Any] = field(default_factory=dict)


def learning_curve(model: Path | None) -> dict[str, Any]:
    """What loss.json in a model folder holds; nothing where there is none."""
    if model is None or not (model / LOSSES).is_file():
        return {}
    return dict(read_json(model / LOSSES))


def write_report(draft: Draft, report: Report, results: Results) -> None:
    """Write everything but the TREC files, which are there already, into a report folder.

    Times are kept in log/ and shown in report.html: all else is the same from run to run.

    Args:
        draft: Of kind ``report``.
        report: What was measured.
        results: What it was made of.
    """
    write_json(draft.path / "report.json", report.model_dump(mode="json"))
    results.per_user.write_parquet(draft.path / PER_USER_FILE, compression="zstd")
    results.answers.write_parquet(draft.path / ANSWERS_FILE, compression="zstd")
    write_json(draft.path / LOG / COSTS_FILE, [one.model_dump() for one in results.costs])
    figures = {}
    for table, rows in report.tables():
        # One figure a table, named like the folders of its rows without the model.
        name = rows[0].slug.rpartition("_")[0]
        path = Path("figures") / f"{name}.png"
        draw_bars(draft.path / path, rows, rows[0].chance)
        figures[table] = path.as_posix()
    if report.orders:
        draw_places(draft.path / ORDER_FIGURE, report.orders)
    text = to_markdown(report, figures)
    (draft.path / "report.md").write_text(text, encoding="utf-8")
    page = to_html(Page(report, results.costs, results.curve))
    (draft.path / "report.html").write_text(page, encoding="utf-8")
    draft.rows["rows"] = len(report.rows)
    draft.rows["per_user"] = results.per_user.height
    draft.rows["answers"] = results.answers.height
