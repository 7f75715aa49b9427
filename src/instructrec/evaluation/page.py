"""report.html: one file for people, with its figures inside and nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from instructrec.evaluation.drawing import Line, Point, bars, curves, scatter
from instructrec.evaluation.findings import PARTS
from instructrec.evaluation.markdown import RANKINGS, shown_gaps, shown_metrics
from instructrec.evaluation.report import (
    HEADLINE,
    OURS,
    Comparison,
    Cost,
    Finding,
    OrderCheck,
    Report,
    Row,
    Spread,
)

STYLE = """
:root { color-scheme: light dark; --ink: #1d2429; --soft: #5c6870; --paper: #ffffff;
  --line: #d5dbdf; --ours: #1f6f8b; --rival: #9aa5ad; --trap: #b4552d; --tint: #f3f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ec; --soft: #9fabb3; --paper: #14181b;
  --line: #39434a; --ours: #5fb6d3; --rival: #77838b; --trap: #e08a62; --tint: #1d2327; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; } .lead { font-size: 1.15rem; }
p.how, figcaption, .soft { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; margin: 1rem 0;
  font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
td.n, th.n { text-align: right; white-space: nowrap; } tr.ours td { font-weight: 600; }
tr.trap td { color: var(--trap); } tr:nth-child(even) td { background: var(--tint); }
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; } svg text { fill: var(--ink);
  font: 12px system-ui, sans-serif; } svg .soft { fill: var(--soft); }
svg .axis { stroke: var(--line); } svg .ours { fill: var(--ours); stroke: var(--ours); }
svg .rival { fill: var(--rival); stroke: var(--rival); }
svg .trap { fill: var(--trap); stroke: var(--trap); } svg polyline { fill: none !important;
  stroke-width: 2; } svg .whisker { stroke: var(--ink); stroke-width: 1.2; }
svg .l0 { stroke: #1f8fb4; fill: #1f8fb4; } svg .l1 { stroke: #c2703d; fill: #c2703d; }
svg .l2 { stroke: #6f9a3c; fill: #6f9a3c; } svg .l3 { stroke: #8f6bb5; fill: #8f6bb5; }
svg .l4 { stroke: #a98a2c; fill: #a98a2c; } svg .l5 { stroke: #7d8790; fill: #7d8790; }
@media print { body { max-width: none; margin: 0; } h2, figure, tr { break-inside: avoid; }
  :root { color-scheme: light; --ink: #000; --paper: #fff; --tint: #fff; --line: #bbb; } }
"""


@dataclass(frozen=True, eq=False)
class Page:
    """What the page shows.

    Attributes:
        report: What was measured.
        costs: Of each row.
        curve: What loss.json of the model holds.
    """

    report: Report
    costs: Sequence[Cost] = ()
    curve: Mapping[str, Any] = field(default_factory=dict)


def to_html(page: Page) -> str:
    """The whole page; all text that comes from data is escaped."""
    report = page.report
    parts = [
        f'<p class="lead">{escape(report.summary)}</p>',
        _notes(report),
        *(_table(rows, report, page.costs) for _, rows in report.tables()),
        *_parts(report.findings),
        *_lengths(report.findings),
        *_orders(report.orders),
        *_learning(page.curve),
        _check(),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Evaluation report</title><style>{STYLE}</style></head><body>"
        "<h1>Evaluation report</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _notes(report: Report) -> str:
    told = (
        "Each test request has one right answer, the target. Ties count against the model. "
        "Sampled, full and two-stage rankings are never to be compared with each other. "
        "In brackets: 95 % bootstrap intervals over requests; differences are paired, p is of the "
        "paired randomisation test, and p (Holm) is corrected for all comparisons of this report."
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return f'<p class="how">{told}</p><ul>{notes}</ul>'


def _table(rows: Sequence[Row], report: Report, costs: Sequence[Cost]) -> str:
    first = rows[0]
    spent = {one.slug: one for one in costs}
    heads = ["model", "reads", *first.metrics, "seconds / 1,000", "core-seconds / 1,000"]
    lines = []
    for row in rows:
        cost = spent.get(row.slug)
        times = [f"{cost.seconds:.2f}", f"{cost.core_seconds:.2f}"] if cost else ["–", "–"]
        values = [_with_interval(row.metrics, row.interval, name) for name in row.metrics]
        lines.append((row.kind, [row.model, " + ".join(row.reads) or "–", *values, *times]))
    gaps = [gap for gap in report.differences if gap.table == first.table]
    spreads = [one for one in report.templates if one.scenario == first.scenario]
    what = f"{RANKINGS[first.ranking]}: {first.candidates}; {first.users:,} test requests"
    return "".join(
        (
            f"<h2>⟨{escape(first.scenario)}⟩, {escape(first.protocol)}</h2>",
            f"<p>{escape(what)}.</p>",
            _grid(heads, lines, 2),
            _figure(bars([_bar(row) for row in rows], first.chance), f"{first.headline}, {what}"),
            _cost_figure(rows, spent),
            _gaps(gaps),
            "".join(f'<p class="soft">{escape(_spread(one))}</p>' for one in spreads),
        )
    )


def _bar(row: Row) -> Point:
    name = row.headline
    return Point(row.model, row.metrics[name], row.kind, interval=row.interval[name])


def _cost_figure(rows: Sequence[Row], spent: Mapping[str, Cost]) -> str:
    points = [
        Point(row.model, row.metrics[row.headline], row.kind, spent[row.slug].core_seconds)
        for row in rows
        if row.slug in spent and row.kind != "trap"
    ]
    if not any(point.x > 0 for point in points):
        return ""
    caption = f"Quality against cost: {rows[0].headline} by core-seconds per 1,000 requests"
    return _figure(scatter(points, "core-seconds per 1,000 requests"), caption)


def _gaps(gaps: Sequence[Comparison]) -> str:
    if not gaps:
        return ""
    shown = shown_gaps(gaps) or list(gaps)
    lines = []
    for gap in shown:
        low, high = gap.interval
        corrected = "–" if gap.p_holm is None else f"{gap.p_holm:.4f}"
        what = f"{gap.model} − {gap.other}{' (best rival)' if gap.best_rival else ''}"
        difference = f"{gap.difference:+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(("", [what, difference, f"{gap.p_value:.4f}", corrected]))
    return _grid([f"paired difference in {gaps[0].metric}", "mean", "p", "p (Holm)"], lines, 1)


def _spread(spread: Spread) -> str:
    low, high = min(spread.values.values()), max(spread.values.values())
    return (
        f"Template {spread.used}; over {len(spread.values)} templates the likelihood alone has "
        f"{HEADLINE} {low:.4f} to {high:.4f} on {spread.users:,} validation requests."
    )


def _parts(findings: Sequence[Finding]) -> Iterator[str]:
    for part, about in PARTS.items():
        own = [one for one in findings if one.part == part]
        if not own:
            continue
        names = list(dict.fromkeys(name for one in own for name in shown_metrics(one)))
        lines = []
        for one in own:
            values = [
                _with_interval(one.metrics, one.interval, name) if name in one.metrics else "–"
                for name in names
            ]
            told = [f"⟨{one.scenario}⟩ {one.asked}", one.model, one.group, f"{one.requests:,}"]
            lines.append(("ours" if one.model == OURS else "", [*told, *values]))
        heads = ["what was asked", "model", "", "requests", *names]
        yield f"<h2>{escape(part[0].upper() + part[1:])}</h2><p>{escape(about)}</p>"
        yield _grid(heads, lines, 3)
        if bins := [one for one in own if one.bins]:
            yield _calibration(bins)


def _calibration(findings: Sequence[Finding]) -> str:
    lines = [
        Line(f"{one.model} ⟨{one.scenario}⟩", [(said, came) for *_, said, came in one.bins])
        for one in findings
    ]
    lines.append(Line("calibrated", [(0.0, 0.0), (1.0, 1.0)]))
    cells = [
        ("", [one.model, f"{low:.1f} to {high:.1f}", f"{count:,}", f"{said:.3f}", f"{came:.3f}"])
        for one in findings
        for low, high, count, said, came in one.bins
    ]
    heads = ["model", "probability of Yes", "judgements", "mean said", "share right"]
    figure = _figure(curves(lines, "probability said", (0.0, 1.0)), "Calibration of judgements")
    return figure + _grid(heads, cells, 2)


def _lengths(findings: Sequence[Finding]) -> Iterator[str]:
    """What each model gains with longer histories, a figure a table."""
    own = [one for one in findings if one.part == "history length"]
    for scenario, asked in dict.fromkeys((one.scenario, one.asked) for one in own):
        part = [one for one in own if (one.scenario, one.asked) == (scenario, asked)]
        groups = list(dict.fromkeys(one.group for one in part))
        if len(groups) < 2:
            continue
        lines = [
            Line(
                model,
                [
                    (float(groups.index(one.group)), one.metrics[HEADLINE])
                    for one in part
                    if one.model == model
                ],
            )
            for model in dict.fromkeys(one.model for one in part)
        ]
        caption = f"{HEADLINE} by length of history, ⟨{scenario}⟩ {asked}"
        yield _figure(curves(lines, "items of the history", ticks=groups), caption)


def _orders(orders: Sequence[OrderCheck]) -> Iterator[str]:
    if not orders:
        return
    lines = [
        Line(
            f"{one.model} ⟨{one.scenario}⟩",
            list(zip(map(float, one.places), one.hits, strict=True)),
        )
        for one in orders
    ]
    cells = [
        (
            "",
            [
                f"⟨{one.scenario}⟩ {one.candidates}",
                one.model,
                f"{one.requests:,}",
                f"{one.same_first:.4f}",
                f"{one.same_order:.4f}",
                f"{one.kendall:.4f}",
            ],
        )
        for one in orders
    ]
    heads = ["what was asked", "model", "requests", "same first", "same order", "Kendall's tau"]
    yield "<h2>The order of the candidates</h2>"
    yield _grid(heads, cells, 2)
    caption = f"{HEADLINE} by the place at which the target is given; flat where it does not matter"
    yield _figure(curves(lines, "place of the target", (0.0, 1.0)), caption)


def _learning(curve: Mapping[str, Any]) -> Iterator[str]:
    points = [(float(one["step"]), float(one[HEADLINE])) for one in curve.get("validation", ())]
    losses = [
        (float(one["step"]), float(one["response_loss"]))
        for one in curve.get("training", ())
        if "response_loss" in one
    ]
    if not points and not losses:
        return
    yield "<h2>Learning curve</h2>"
    if points:
        figure = curves([Line(f"validation {HEADLINE}", points)], "step")
        yield _figure(figure, f"Validation {HEADLINE} during tuning")
    if losses:
        yield _figure(curves([Line("response loss", losses)], "step"), "Loss, nats a token")


def _check() -> str:
    return (
        "<h2>How to check this</h2><p><code>instructrec evaluate --check REPORT</code> computes "
        "every figure again from per_user.parquet, answers.parquet and the TREC runs under rows/, "
        "and says what differs. Times are as measured.</p>"
    )


def _with_interval(
    values: Mapping[str, float], ends: Mapping[str, tuple[float, float]], name: str
) -> str:
    low, high = ends[name]
    return f"{values[name]:.4f} [{low:.4f}, {high:.4f}]"


def _grid(heads: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]], words: int) -> str:
    """A table whose first columns are words and the others numbers."""
    marks = ['<{0} class="n">' if at >= words else "<{0}>" for at in range(len(heads))]

    def cells(kind: str, values: Sequence[str]) -> str:
        return "".join(
            f"{mark.format(kind)}{escape(value)}</{kind}>"
            for mark, value in zip(marks, values, strict=True)
        )

    body = "".join(f'<tr class="{escape(kind)}">{cells("td", told)}</tr>' for kind, told in lines)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", heads)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
