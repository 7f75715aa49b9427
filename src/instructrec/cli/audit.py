"""`instructrec corpus audit` and `instructrec corpus judge`: is a corpus good, and honest?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, emit
from instructrec.cli.progress import make_progress
from instructrec.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

_NAMED = 5
"""Rows of each leak that are shown to a person; --json has all."""

CorpusArgument = Annotated[Path, typer.Argument(help="A corpus folder.", metavar="CORPUS")]
DatasetOption = Annotated[
    Path | None,
    typer.Option(help="The dataset it was made from; the folder dataset beside it otherwise."),
]
SeedOption = Annotated[int, typer.Option(help="Seeds the draw of samples.")]


def audit(
    corpus: CorpusArgument,
    dataset: DatasetOption = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="Who answers the quality questions: openai:MODEL or local:PATH; rules otherwise."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Of a server with OpenAI's API.", metavar="URL")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where a model's answers are kept.", metavar="FOLDER")
    ] = None,
    judged: Annotated[
        Path | None,
        typer.Option(help="A file of corpus judge: a person's answers, to compare with."),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Preferences and intentions drawn, so many of each.")
    ] = 100,
    seed: SeedOption = 0,
    json: JsonFlag = False,
) -> None:
    """Ask how good the texts are and whether any row knows too much; exit code 1 if one does.

    Example: `instructrec corpus audit runs/demo/corpus --json`
    """
    from instructrec.instructions.audit.grounds import dataset_of
    from instructrec.instructions.audit.leaks import find_leaks
    from instructrec.instructions.audit.quality import measure_quality
    from instructrec.instructions.audit.sheet import read_judged
    from instructrec.instructions.corpus import Corpus

    opened = Corpus(corpus)
    data = dataset_of(opened, dataset)
    progress = make_progress()
    by_hand = read_judged(judged) if judged else None
    model, kept = _judge(judge, base_url, cache)
    quality = measure_quality(
        opened,
        data,
        count=samples,
        seed=seed,
        model=model,
        cache=kept,
        judged=by_hand,
        progress=progress,
    )
    leaks = find_leaks(opened, data, progress)
    found = sum(leak.found for leak in leaks)
    payload = {
        "corpus": str(corpus),
        "protocol": opened.protocol.value,
        "passed": not found,
        "leaks": [leak.told() for leak in leaks],
        "quality": quality,
    }
    emit(payload, _told(payload), as_json=json)
    if found:
        failed = ", ".join(leak.check for leak in leaks if leak.found)
        raise DataError(
            f"{corpus} does not pass: {found:,} findings ({failed})",
            "Look at the rows named (all with --json), mend what made them, build it again",
        )


def judge(
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Option(help="The file of answers; it is gone on with.")],
    dataset: DatasetOption = None,
    samples: Annotated[
        int, typer.Option(min=2, help="Texts to judge, half preferences and half intentions.")
    ] = 100,
    seed: SeedOption = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    json: JsonFlag = False,
) -> None:
    """Open a page on this machine where a person judges texts: 1 yes, 0 no, ← back.

    Example: `instructrec corpus judge runs/demo/corpus --out judged.jsonl`
    """
    from instructrec.instructions.audit.grounds import dataset_of
    from instructrec.instructions.audit.page import JudgePage
    from instructrec.instructions.audit.samples import draw_samples
    from instructrec.instructions.audit.sheet import Sheet
    from instructrec.instructions.corpus import Corpus

    opened = Corpus(corpus)
    drawn = draw_samples(opened, dataset_of(opened, dataset), (samples + 1) // 2, seed)
    if not drawn:
        raise DataError(f"{corpus} has no preference and no intention", "Judge another corpus")
    sheet = Sheet(drawn, out)
    with JudgePage(sheet, port) as page:
        emit(
            {"url": page.url, "answered": sheet.done, "of": len(sheet.steps)},
            f"{page.url}  ({sheet.done} of {len(sheet.steps)} answered; Ctrl-C to stop)\n"
            f"Afterwards: instructrec corpus audit {corpus} --judged {out}",
            as_json=json,
        )
        sys.stdout.flush()
        if open_page:
            import webbrowser

            webbrowser.open(page.url)
        page.serve_forever()


def _judge(spec: str | None, base_url: str | None, cache: Path | None) -> tuple[Any, Any]:
    """The model that judges and where its answers are kept; nothing where rules judge."""
    if spec is None or spec == "rules":
        return None, None
    from instructrec.instructions.teachers.cache import AnswerCache
    from instructrec.instructions.teachers.named import completions_named
    from instructrec.instructions.teachers.options import TeacherOptions

    options = TeacherOptions(base_url=base_url, cache=cache, temperature=0.0)
    return completions_named(spec, options), AnswerCache(cache)


def _told(payload: dict[str, Any]) -> Any:
    from rich.console import Group

    quality = payload["quality"]
    blocks: list[Any] = [_quality(quality)]
    if "person" in quality:
        blocks.append(_person(quality["person"]))
    blocks.append(_leaks(payload["leaks"]))
    for leak in payload["leaks"]:
        for row in leak["rows"][:_NAMED]:
            blocks.append(f"{leak['check']}: {row['split']} row {row['row']}: {row['reason']}")
        if leak["found"] > _NAMED:
            blocks.append(f"{leak['check']}: and {leak['found'] - _NAMED:,} more")
    return Group(*blocks)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _quality(quality: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title=f"Quality, answered by {quality['judge']}", title_justify="left")
    for column in ("text", "question", "yes", "95 % interval", "of", "paper"):
        table.add_column(column, justify="left" if column in ("text", "question") else "right")
    for kind, told in quality["kinds"].items():
        for row in told["questions"]:
            low, high = row["interval"]
            table.add_row(
                kind,
                row["asks"],
                _percent(row["share"]),
                f"{low:.0%} to {high:.0%}",
                str(row["of"]),
                _percent(row["paper"]),
            )
    return table


def _person(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="Answered by a person", title_justify="left")
    for column in ("text", "question", "yes", "of", "compared", "agreement", "kappa"):
        table.add_column(column, justify="left" if column in ("text", "question") else "right")
    for row in rows:
        table.add_row(
            row["kind"],
            row["question"],
            _percent(row["share"]),
            str(row["of"]),
            str(row["compared"]),
            _percent(row["agreement"]),
            "" if row["kappa"] is None else f"{row['kappa']:.2f}",
        )
    return table


def _leaks(leaks: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="Leaks", title_justify="left")
    for column in ("check", "every row", "looked at", "found"):
        table.add_column(column, justify="left" if column in ("check", "every row") else "right")
    for leak in leaks:
        found = f"{leak['found']:,}"
        table.add_row(leak["check"], leak["asks"], f"{leak['looked_at']:,}", found)
    return table
