"""`instructrec teacher`: what was paid for, to look at, to share and to drop."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.errors import UsageError

app = new_app("Look at what language models answered and share it.")
cache = new_app("Answers that were paid for: show, prune, export, import.")
app.add_typer(cache, name="cache")

CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="The cache's folder; the user's when left out.", metavar="FOLDER"),
]


@app.callback()
def _teacher() -> None:
    """Look at what language models answered and share it."""


@cache.command()
def show(
    cache: CacheOption = None,
    prices: Annotated[
        Path | None, typer.Option(help="Your own price list.", metavar="FILE")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show answers, tokens, cost and age by model and prompt version, and what failed.

    Example: `instructrec teacher cache show`
    """
    from rich.console import Group
    from rich.table import Table

    from instructrec.instructions.teachers.budget import Prices

    opened = _opened(cache)
    known = Prices.load(prices)
    models = [{**row, "usd": _usd(row, known)} for row in opened.summary()]
    failures = _failures(opened)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "prompts", "answers", "tokens in", "tokens out", "USD", "from", "to"):
        table.add_column(column, justify="left" if column in {"model", "prompts"} else "right")
    for row in models:
        table.add_row(
            row["model"],
            row["version"],
            *(f"{row[name]:,}" for name in ("answers", "prompt_tokens", "completion_tokens")),
            "?" if row["usd"] is None else f"{row['usd']:.2f}",
            _day(row["first"]),
            _day(row["last"]),
        )
    lines = [
        f"{one['model']}, {one['version']}: {one['requests']:,} requests without an answer that "
        f"can be used ({', '.join(f'{n:,} {fault}' for fault, n in one['faults'].items())})"
        for one in failures
    ]
    told = {"cache": str(opened.path), "models": models, "failures": failures}
    emit(told, Group(f"{opened.path}\n", table, *lines), as_json=json)


@cache.command()
def prune(
    older_than: Annotated[
        str | None, typer.Option(help="Only answers of this age: 90d, 12h.", metavar="AGE")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Only this model's, such as openai:gpt-5-mini.")
    ] = None,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Only answers that could not be used: they are asked anew."),
    ] = False,
    cache: CacheOption = None,
    json: JsonFlag = False,
) -> None:
    """Drop answers; what is dropped must be paid for again.

    Example: `instructrec teacher cache prune --failed`
    """
    if older_than is None and model is None and not failed:
        raise UsageError(
            "nothing says which answers to drop", "Add --older-than, --model, --failed"
        )
    before = None if older_than is None else time.time() - _age(older_than)
    opened = _opened(cache)
    dropped = opened.prune(older_than=before, model=model, failed=failed)
    emit(
        {"cache": str(opened.path), "dropped": dropped},
        f"{opened.path}: {dropped:,} answers dropped",
        as_json=json,
    )


@cache.command()
def export(
    file: Annotated[Path, typer.Argument(help="To write: .jsonl or .parquet.", metavar="FILE")],
    cache: CacheOption = None,
    json: JsonFlag = False,
) -> None:
    """Write all answers with their prompts to a file; prompts hold titles and reviews.

    Example: `instructrec teacher cache export answers.parquet`
    """
    from instructrec.instructions.teachers.sharing import export_answers

    count = export_answers(_opened(cache), file)
    emit({"file": str(file), "answers": count}, f"{file}: {count:,} answers", as_json=json)


@cache.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="What export wrote.", metavar="FILE")],
    cache: CacheOption = None,
    json: JsonFlag = False,
) -> None:
    """Take over what another team exported; answers that are here stay as they are.

    Example: `instructrec teacher cache import answers.parquet`
    """
    from instructrec.instructions.teachers.cache import AnswerCache
    from instructrec.instructions.teachers.sharing import check_file, import_answers

    check_file(file)  # A wrong path makes no empty cache.
    opened = AnswerCache(cache)
    new, count = import_answers(opened, file)
    emit(
        {"cache": str(opened.path), "answers": count, "new": new},
        f"{opened.path}: {new:,} of {count:,} answers are new",
        as_json=json,
    )


def _opened(folder: Path | None) -> Any:
    from instructrec.instructions.teachers.cache import AnswerCache

    return AnswerCache(folder, create=False)


def _usd(row: dict[str, Any], prices: Any) -> float | None:
    kind, _, name = row["model"].partition(":")
    price = prices.of(name)
    if price is None:
        return 0.0 if kind == "local" else None
    return float(price.cost(row["prompt_tokens"], row["completion_tokens"]))


def _failures(cache: Any) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for model, version, faults in cache.failures():
        empty = {"model": model, "version": version, "requests": 0, "faults": {}}
        one = found.setdefault((model, version), empty)
        one["requests"] += 1
        for fault in faults:
            one["faults"][fault] = one["faults"].get(fault, 0) + 1
    return [{**one, "faults": dict(sorted(one["faults"].items()))} for one in found.values()]


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


def _age(text: str) -> float:
    from instructrec.cli.durations import parse_seconds

    if days := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*d\s*", text.lower()):
        return float(days[1]) * 86_400
    try:
        return parse_seconds(text)
    except UsageError:
        raise UsageError(f"--older-than {text!r} is no age", "Write 90d, 12h or 30m") from None
