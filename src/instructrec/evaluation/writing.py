"""Writes a report folder: report.json, report.md, per_user.parquet and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from instructrec import metrics
from instructrec.evaluation.figures import draw_bars, draw_places
from instructrec.evaluation.markdown import ORDER_FIGURE, to_markdown
from instructrec.evaluation.measure import Outcome, per_user
from instructrec.evaluation.report import HEADLINE, Report
from instructrec.folders import Draft, write_json


def write_report(draft: Draft, report: Report, outcomes: Sequence[Outcome]) -> None:
    """Write everything but the TREC files, which are there already, into a report folder.

    Args:
        draft: Of kind ``report``.
        report: What was measured.
        outcomes: What the rows were made of.
    """
    write_json(draft.path / "report.json", report.model_dump(mode="json"))
    frame = pl.concat([per_user(outcome) for outcome in outcomes])
    frame.write_parquet(draft.path / "per_user.parquet", compression="zstd")
    figures = {}
    sizes = {outcome.slug: outcome.trial.candidates.shape[1] for outcome in outcomes}
    for table, rows in report.tables():
        # One figure a table, named like the folders of its rows without the model.
        name = rows[0].slug.rpartition("_")[0]
        path = Path("figures") / f"{name}.png"
        chance = metrics.expected_at_random(HEADLINE, sizes[rows[0].slug])
        draw_bars(draft.path / path, rows, chance)
        figures[table] = path.as_posix()
    if report.orders:
        draw_places(draft.path / ORDER_FIGURE, report.orders)
    text = to_markdown(report, figures)
    (draft.path / "report.md").write_text(text, encoding="utf-8")
    draft.rows["rows"] = len(report.rows)
    draft.rows["per_user"] = frame.height
