"""report.md: a report that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from instructrec.evaluation.report import (
    HEADLINE,
    OURS,
    WITHOUT_LM,
    Comparison,
    OrderCheck,
    Report,
    Row,
    Spread,
)
from instructrec.metrics import METRICS

ORDER_FIGURE = "figures/order.png"
"""What the order of the candidates does to a report's models."""


def to_markdown(report: Report, figures: dict[tuple[str, str, str], str]) -> str:
    """Write a report down.

    Args:
        report: What was measured.
        figures: Table (scenario, protocol, candidates) → path of its figure.
    """
    lines = [report.summary, "", "# Report", "", *_how(report)]
    for table, rows in report.tables():
        scenario, protocol, candidates = table
        lines += ["", f"## ⟨{scenario}⟩, {protocol}", ""]
        lines += [f"{rows[0].users:,} test requests; candidates: {candidates}.", ""]
        lines += _table(rows)
        if table in figures:
            lines += ["", f"![{HEADLINE} of every model in {scenario}]({figures[table]})"]
        gaps = [gap for gap in report.differences if gap.table == table]
        if gaps:
            lines += ["", *_differences(gaps)]
        for spread in report.templates:
            if spread.scenario == scenario:
                lines += ["", _spread(spread)]
    if report.orders:
        lines += ["", "## The order of the candidates", "", *_orders(report.orders)]
        lines += ["", f"![{HEADLINE} by place]({ORDER_FIGURE})"]
    lines += ["", "## How to check this", "", *_check()]
    return "\n".join(lines) + "\n"


def _how(report: Report) -> Iterator[str]:
    yield (
        "Each test request has one right answer, the target, among its candidates. A model gives "
        "every candidate a score and is measured by the target's rank; ties count against it. "
        "These are *sampled* rankings: among the whole catalogue every figure would be far lower."
    )
    yield ""
    yield (
        "In brackets: 95 % percentile bootstrap intervals over requests. Differences are paired: "
        "both models answer the same requests with the same candidates."
    )
    if report.notes:
        yield ""
    for note in report.notes:
        yield f"- {note}"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    others = [name for name in METRICS if name != HEADLINE]
    yield f"| model | reads | {HEADLINE} | {' | '.join(others)} |"
    yield f"|---|---|---|{'---|' * len(others)}"
    for row in rows:
        name = f"**{row.model}**" if row.kind == "ours" else row.model
        low, high = row.interval[HEADLINE]
        first = f"{row.metrics[HEADLINE]:.4f} [{low:.4f}, {high:.4f}]"
        rest = " | ".join(f"{row.metrics[metric]:.4f}" for metric in others)
        yield f"| {name} | {' + '.join(row.reads) or '–'} | {first} | {rest} |"


def _differences(gaps: Sequence[Comparison]) -> Iterator[str]:
    yield f"| paired difference in {HEADLINE} | mean | 95 % interval | p |"
    yield "|---|---|---|---|"
    shown = [
        gap for gap in gaps if gap.model == OURS and (gap.other == WITHOUT_LM or gap.best_rival)
    ]
    for gap in sorted(shown, key=lambda gap: gap.other != WITHOUT_LM):
        what = " (best rival)" if gap.best_rival else ""
        low, high = gap.interval
        yield (
            f"| {gap.model} − {gap.other}{what} | {gap.difference:+.4f} "
            f"| {low:+.4f} to {high:+.4f} | {gap.p_value:.4f} |"
        )


def _spread(spread: Spread) -> str:
    values = sorted(spread.values.values())
    middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
    chosen = {
        "before": "the model's own choice",
        "here": "the best of these",
    }[spread.chosen]
    return (
        f"Templates: `{spread.used}` was used ({chosen}). Over the {len(values)} templates that "
        f"cover the scenario, the likelihood alone has {HEADLINE} {values[0]:.4f} / {middle:.4f} / "
        f"{values[-1]:.4f} (lowest / median / highest) on {spread.users:,} validation requests."
    )


def _orders(orders: Sequence[OrderCheck]) -> Iterator[str]:
    yield (
        "The same requests with their candidates in other orders, the target at every place of "
        "the list in turn. Same first, same order, Kendall's tau: how much of a ranking stays, "
        f"compared with each request's first list; 1 is all of it. {HEADLINE} by place: flat where "
        "the place does not matter."
    )
    yield ""
    yield (
        f"| scenario | model | requests | same first | same order | Kendall's tau | {HEADLINE} by "
        "place: lowest to highest |"
    )
    yield "|---|---|---|---|---|---|---|"
    for check in orders:
        yield (
            f"| ⟨{check.scenario}⟩ {check.candidates} | {check.model} | {check.requests:,} "
            f"| {check.same_first:.4f} | {check.same_order:.4f} | {check.kendall:.4f} "
            f"| {min(check.hits):.4f} to {max(check.hits):.4f} |"
        )


def _check() -> Iterator[str]:
    yield (
        "`rows/<row>/run.trec` and `qrels.trec` are what TREC tools read: `ir_measures qrels.trec "
        "run.trec Success@1 nDCG@5 RR` gives HR@1, NDCG@5 and MRR of that row. The score in a run "
        "is the number of candidates that do not stand above, so that no tool's rule for ties "
        "matters. `per_user.parquet` has every rank; `report.json` has every figure, with the "
        "intervals of all metrics and the differences to all rivals."
    )
