"""report.md: a report that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from instructrec.evaluation.findings import PARTS
from instructrec.evaluation.report import (
    HEADLINE,
    OURS,
    RETRIEVAL,
    WITHOUT_LM,
    Comparison,
    Finding,
    OrderCheck,
    Report,
    Row,
    Spread,
)

RANKINGS = {
    "sampled": "sampled ranking",
    "full": "full ranking",
    "two-stage": "two stages",
}
"""What a table is, in words."""
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
        lines += [
            f"{rows[0].users:,} test requests; {RANKINGS[rows[0].ranking]}: {candidates}.",
            "",
        ]
        lines += _table(rows)
        if table in figures:
            lines += ["", f"![{rows[0].headline} of every model in {scenario}]({figures[table]})"]
        gaps = [gap for gap in report.differences if gap.table == table]
        if gaps:
            lines += ["", *_differences(gaps)]
        for spread in report.templates:
            if spread.scenario == scenario:
                lines += ["", _spread(spread)]
    lines += _findings(report.findings)
    if report.orders:
        lines += ["", "## The order of the candidates", "", *_orders(report.orders)]
        lines += ["", f"![{HEADLINE} by place]({ORDER_FIGURE})"]
    lines += ["", "## How to check this", "", *_check()]
    return "\n".join(lines) + "\n"


def _how(report: Report) -> Iterator[str]:
    yield (
        "Each test request has one right answer, the target, among its candidates. A model gives "
        "every candidate a score and is measured by the target's rank; ties count against it. "
        "Every table says what it is: a *sampled* ranking (few candidates, the target put in; of "
        "the whole catalogue every figure is far lower), a *full* ranking of the catalogue, "
        "or *two stages* (retrieval, then reranking, nothing put in). Never compare across them."
    )
    yield ""
    yield (
        "In brackets: 95 % percentile bootstrap intervals over requests. Differences are paired: "
        "both models answer the same requests with the same candidates; p is of the paired "
        "randomisation test, beside it p after Holm's correction for all comparisons of this "
        "report. What answering costs stands in report.html."
    )
    if report.notes:
        yield ""
    for note in report.notes:
        yield f"- {note}"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    first = rows[0].headline
    others = [name for name in rows[0].metrics if name != first]
    yield f"| model | reads | {first} | {' | '.join(others)} |"
    yield f"|---|---|---|{'---|' * len(others)}"
    for row in rows:
        name = f"**{row.model}**" if row.kind == "ours" else row.model
        low, high = row.interval[first]
        value = f"{row.metrics[first]:.4f} [{low:.4f}, {high:.4f}]"
        rest = " | ".join(f"{row.metrics[metric]:.4f}" for metric in others)
        yield f"| {name} | {' + '.join(row.reads) or '–'} | {value} | {rest} |"


def _differences(gaps: Sequence[Comparison]) -> Iterator[str]:
    yield f"| paired difference in {gaps[0].metric} | mean | 95 % interval | p | p (Holm) |"
    yield "|---|---|---|---|---|"
    for gap in shown_gaps(gaps):
        what = " (best rival)" if gap.best_rival else ""
        low, high = gap.interval
        holm = "–" if gap.p_holm is None else f"{gap.p_holm:.4f}"
        yield (
            f"| {gap.model} − {gap.other}{what} | {gap.difference:+.4f} "
            f"| {low:+.4f} to {high:+.4f} | {gap.p_value:.4f} | {holm} |"
        )


def shown_gaps(gaps: Sequence[Comparison]) -> list[Comparison]:
    """Of one table: ours against what is left without the language model, the order of retrieval
    and the best rival."""
    shown = [
        gap
        for gap in gaps
        if gap.model == OURS and (gap.other in (WITHOUT_LM, RETRIEVAL) or gap.best_rival)
    ]
    return sorted(shown, key=lambda gap: gap.other != WITHOUT_LM)


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    for part, about in PARTS.items():
        own = [one for one in findings if one.part == part]
        if not own:
            continue
        names = list(dict.fromkeys(name for one in own for name in shown_metrics(one)))
        yield from ("", f"## {part[0].upper()}{part[1:]}", "", about, "")
        yield f"| scenario, what was asked | model | | requests | {' | '.join(names)} |"
        yield f"|---|---|---|---|{'---|' * len(names)}"
        for one in own:
            values = " | ".join(_cell(one, name) for name in names)
            yield (
                f"| ⟨{one.scenario}⟩ {one.asked} | {one.model} | {one.group} | {one.requests:,} "
                f"| {values} |"
            )


def shown_metrics(finding: Finding) -> list[str]:
    """The figures of a finding that a table has room for."""
    if len(finding.metrics) <= 4:
        return list(finding.metrics)
    wide = "NDCG@10" if "NDCG@10" in finding.metrics else "NDCG@5"
    return [HEADLINE, wide]


def _cell(finding: Finding, name: str) -> str:
    if name not in finding.metrics:
        return "–"
    low, high = finding.interval[name]
    return f"{finding.metrics[name]:.4f} [{low:.4f}, {high:.4f}]"


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
        "matters; of the whole catalogue it has the first 1,001 places. `per_user.parquet` has "
        "every rank and `answers.parquet` every further answer; `report.json` has every figure, "
        "with the intervals of all metrics and the differences to all rivals. `instructrec "
        "evaluate --check REPORT` computes all of it again and says what differs."
    )
