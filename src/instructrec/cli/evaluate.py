"""`instructrec evaluate`: a run beside its rivals, or a model alone, into a report folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from instructrec.cli.app import DeviceOption, JsonFlag, MemoryOption, emit, new_app
from instructrec.cli.progress import make_progress
from instructrec.errors import UsageError

if TYPE_CHECKING:
    from instructrec.evaluation import CandidateList, Report, Row

app = new_app()

SHOWN = ("judgements", "comparisons", "stage 1")
"""Answers that are printed; the page has all."""


@app.command()
def evaluate(
    what: Annotated[
        Path,
        typer.Argument(
            help="A run; or a model, followed by a dataset; with --check a report.",
            metavar="RUN|MODEL|REPORT",
        ),
    ],
    dataset: Annotated[
        Path | None, typer.Argument(help="After a model: what it is asked about.")
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help='Such as "P1,I0,T3", "P0,I1/I2,T3" or "P1,I0,T0/T1/T2"; may be repeated.'
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The report folder to make.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="leave-one-out, items or time: the one the run was made under."),
    ] = None,
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            help="A file of user_id and candidates, best first; or uniform, popularity-matched, "
            "hard:RETRIEVER (target put in), retrieved:RETRIEVER (nothing put in), catalogue; may "
            "be repeated. RETRIEVER: hybrid, lexical …. Left out: uniform."
        ),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Which lists of the candidates file.")
    ] = None,
    first: Annotated[
        list[int] | None,
        typer.Option(min=1, help="How many candidates beside the target (9); may be repeated."),
    ] = None,
    drop_history: Annotated[
        bool, typer.Option("--drop-history", help="Drop what the user had from the file's lists.")
    ] = False,
    users: Annotated[
        str | None,
        typer.Option(help="So many requests, drawn at random; or a file of user ids."),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="With a model: a corpus whose preferences and intentions are taken."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds negatives, draws and intervals.")] = 0,
    spread_users: Annotated[
        int, typer.Option(min=0, help="Validation requests each template is tried on; 0: none.")
    ] = 200,
    order_requests: Annotated[
        int,
        typer.Option(min=0, help="Requests asked again in other orders of candidates; 0: none."),
    ] = 30,
    probe_requests: Annotated[
        int,
        typer.Option(
            min=0, help="Requests asked again with another history, wish or wording; 0: none."
        ),
    ] = 50,
    full_requests: Annotated[
        int, typer.Option(min=1, help="Requests that rank the whole catalogue, at most.")
    ] = 50,
    max_history: Annotated[
        int | None,
        typer.Option(min=2, help="Items of a sequence at most; as in the corpus when left out."),
    ] = None,
    device: DeviceOption = "auto",
    memory: MemoryOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a report that is there give way.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Compute a report again from its run files; exit code 1 if it differs."
        ),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Measure a run beside its rivals, or a model alone, on test requests.

    Example: `instructrec evaluate runs/demo --scenario "P1/P2,I0,T3" --out report`

    A model: `instructrec evaluate model dataset --scenario "P1,I0,T3" --candidates lists.parquet
    --strategy random --first 9 --out report`

    Retrieval, then reranking: `instructrec evaluate runs/demo --scenario "P1,I0,T3" --candidates
    retrieved:hybrid --first 100 --out report`

    Whether a report is right: `instructrec evaluate --check report`
    """
    if check:
        return _check(what, json)
    if not scenario or out is None:
        missing = "--scenario" if not scenario else "--out"
        raise UsageError(f"{missing} is missing", "Say what is measured and where the report goes")
    from instructrec.evaluation import evaluate_model, evaluate_run
    from instructrec.evaluation.plan import read_users
    from instructrec.instructions.schema import Scenario

    if dataset is None and corpus is not None:
        raise UsageError("--corpus goes with a model", "A run has a corpus of its own")
    named, limit = read_users(users)
    common: dict[str, Any] = {
        "scenarios": [Scenario.parse(text) for text in scenario],
        "out": out,
        "protocol": protocol,
        "candidates": _sources(candidates or [], strategy, first or [9], drop_history),
        "users": named,
        "limit": limit,
        "seed": seed,
        "spread_users": spread_users,
        "order_requests": order_requests,
        "probe_requests": probe_requests,
        "full_requests": full_requests,
        "max_history": max_history,
        "device": device,
        "memory": memory,
        "replace": replace,
        "progress": make_progress(),
    }
    if dataset is None:
        report = evaluate_run(what, **common)
    else:
        report = evaluate_model(what, dataset, annotations=_annotations(corpus), **common)
    emit({"out": str(out), **report.model_dump(mode="json")}, _page(report, out), as_json=json)


def _check(report: Path, as_json: bool) -> None:
    """Tell what differs.

    Raises:
        Exit: Something does; exit code 1.
    """
    from instructrec.evaluation.check import check_report

    found = check_report(report)
    verdict = f"{found.figures:,} figures computed again, {len(found.differing):,} differ"
    told = {"figures": found.figures, "differing": list(found.differing)}
    emit(told, Group(*found.differing, verdict), as_json=as_json)
    if found.differing:
        raise typer.Exit(1)


def _sources(
    named: list[str], strategy: str | None, sizes: list[int], drop_history: bool
) -> list[CandidateList]:
    """Where the candidates come from: each way with each size.

    Raises:
        UsageError: An option speaks of a file and there is none.
    """
    from instructrec.evaluation import CandidateList
    from instructrec.evaluation.trials import DRAWS

    files = [text for text in named if text.partition(":")[0] not in DRAWS]
    if not files:
        for flag, given in (("--strategy", strategy), ("--drop-history", drop_history)):
            if given:
                raise UsageError(f"{flag} is about a candidates file", "Add --candidates FILE")
    found = []
    for text in named or ["uniform"]:
        for first in sizes:
            if text in files:
                found.append(CandidateList(Path(text), strategy, first, drop_history))
            else:
                found.append(CandidateList.parse(text, first))
    return list(dict.fromkeys(found))


def _annotations(corpus: Path | None) -> Any:
    if corpus is None:
        return None
    from instructrec.instructions.corpus import Corpus

    return Corpus(corpus).annotations


def _page(report: Report, out: Path) -> RenderableType:
    """The tables of a report, the first line above them and the folder below."""
    tables = [_table(rows) for _, rows in report.tables()]
    tables += [
        _answers(part, report) for part in SHOWN if any(f.part == part for f in report.findings)
    ]
    pages = f"The report: {out / 'report.html'} and {out / 'report.md'}"
    return Group(report.summary, *tables, pages)


def _answers(part: str, report: Report) -> Table:
    """What came of judgements, comparisons or retrieval."""
    found = [one for one in report.findings if one.part == part]
    table = Table(title=part, title_justify="left")
    for name in ("scenario", "model", ""):
        table.add_column(name)
    names = list(dict.fromkeys(name for one in found for name in one.metrics))
    for name in names:
        table.add_column(f"{name}, 95 %", justify="right")
    for one in found:
        values = []
        for name in names:
            low, high = one.interval[name]
            values.append(f"{one.metrics[name]:.4f} [{low:.4f}, {high:.4f}]")
        table.add_row(f"⟨{one.scenario}⟩", one.model, one.group, *values)
    return table


def _table(rows: list[Row]) -> Table:
    first = rows[0]
    asked = f"{first.ranking} ranking, {first.candidates}"
    title = f"⟨{first.scenario}⟩ {first.protocol}, {first.users:,} requests, {asked}"
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    table.add_column("reads")
    for name in first.metrics:
        table.add_column(name, justify="right")
    table.add_column(f"{first.headline}, 95 %", justify="right")
    for row in rows:
        low, high = row.interval[row.headline]
        values = [f"{value:.4f}" for value in row.metrics.values()]
        style = "bold" if row.kind == "ours" else None
        reads = " + ".join(row.reads) or "–"
        table.add_row(row.model, reads, *values, f"{low:.4f} to {high:.4f}", style=style)
    return table
