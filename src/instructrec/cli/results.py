"""How a run's report is shown: a table for each group of scenarios, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from instructrec.evaluation.report import Comparison, Report, Row


def results(run: Path) -> dict[str, Any]:
    """The figures of a run's report as plain values."""
    report = _load(run)
    return {
        "report": str(run / "report"),
        "summary": report.summary,
        "rows": [row.model_dump(mode="json") for row in report.rows],
        "differences": [gap.model_dump(mode="json") for gap in report.differences],
    }


def result_view(run: Path, groups: Sequence[str] | None = None) -> RenderableType:
    """Tables of HR@1 with intervals, and what they come to.

    Args:
        run: A finished run.
        groups: Scenarios, a table each; those that the run measured when left out.
    """
    from instructrec.stages import SCENARIOS

    report = _load(run)
    blocks: list[RenderableType] = []
    for group in groups or SCENARIOS:
        if scenarios := _singles(report, group):
            blocks += [Text(), _title(report, group, scenarios[0]), _table(report, scenarios)]
            blocks += _verdicts(report, scenarios)
    blocks += [Text(), Text(report.summary, style="bold")]
    return Group(*blocks)


def next_view(run: Path, ask: str) -> RenderableType:
    """Where the report lies and the next command to try."""
    return Group(
        Text(),
        Text(f"The report: {run / 'report' / 'report.md'}"),
        Text(f"Next:       {ask}", style="green"),
    )


def _load(run: Path) -> Report:
    from instructrec.evaluation.report import Report

    return Report.load(run / "report")


def _singles(report: Report, group: str) -> list[str]:
    from instructrec.instructions.schema import Scenario

    measured = {row.scenario for row in report.rows}
    wanted = [str(single) for single in Scenario.parse(group).singles()]
    return [scenario for scenario in wanted if scenario in measured]


def _title(report: Report, group: str, scenario: str) -> Text:
    from instructrec.evaluation.report import HEADLINE

    some = next(row for row in report.rows if row.scenario == scenario)
    how = f"{HEADLINE} with 95 % intervals; {some.candidates}; {some.protocol}"
    return Text.assemble((f"⟨{group}⟩", "bold"), f"  {how}")


def _table(report: Report, scenarios: Sequence[str]) -> Table:
    """Models by scenarios: HR@1 with its 95 % interval."""
    # Of several tables of a scenario the first, whose candidates the title names.
    cells = {(row.model, row.scenario): row for row in reversed(report.rows)}
    models = list(dict.fromkeys(row.model for row in report.rows))
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for scenario in scenarios:
        some = next(row for row in report.rows if row.scenario == scenario)
        table.add_column(f"⟨{scenario}⟩\n{some.users:,} requests", justify="right", no_wrap=True)
    for model in models:
        shown = [cells.get((model, scenario)) for scenario in scenarios]
        if any(shown):
            ours = any(row is not None and row.kind == "ours" for row in shown)
            style = "bold" if ours else ""
            table.add_row(Text(model, style=style), *(Text(_cell(row), style) for row in shown))
    return table


def _cell(row: Row | None) -> str:
    from instructrec.evaluation.report import HEADLINE

    if row is None:
        return "–"
    low, high = row.interval[HEADLINE]
    return f"{row.metrics[HEADLINE]:.3f} [{low:.3f}, {high:.3f}]"


def _verdicts(report: Report, scenarios: Sequence[str]) -> list[Text]:
    """For each scenario, how far instructrec is above its best rival and above the rest of it."""
    from instructrec.evaluation.report import OURS, WITHOUT_LM

    lines = []
    for scenario in scenarios:
        gaps = [gap for gap in report.differences if (gap.scenario, gap.model) == (scenario, OURS)]
        told = [_gap(gap) for gap in gaps if gap.best_rival]
        told += [_gap(gap) for gap in gaps if gap.other == WITHOUT_LM]
        if told:
            lines.append(Text(f"⟨{scenario}⟩ {OURS}: {'; '.join(told)}", style="dim"))
    return lines


def _gap(gap: Comparison) -> str:
    low, high = gap.interval
    what = f"best rival {gap.other}" if gap.best_rival else gap.other
    return f"{gap.difference:+.3f} [{low:+.3f}, {high:+.3f}] to {what}"
