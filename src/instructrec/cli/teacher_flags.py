"""Flags of commands that ask a teacher, and what a dry run prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructrec.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Group

    from instructrec.instructions.planning import Plan
    from instructrec.instructions.teachers.options import TeacherOptions

TEACHER_HELP = (
    "Who writes preferences and intentions: rules (offline), openai:MODEL, local:PATH or "
    "answers:FILE."
)
BaseUrlFlag = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        help="openai: the server's address, such as http://127.0.0.1:8000/v1 (vLLM, Ollama, "
        "llama.cpp, OpenRouter); OpenAI's when left out.",
        metavar="URL",
    ),
]
ConcurrencyFlag = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="openai: requests in flight (8).")
]
RateFlag = Annotated[
    float | None,
    typer.Option("--requests-per-minute", min=0.01, help="openai: no more than so many."),
]
TimeoutFlag = Annotated[
    float | None, typer.Option("--timeout", min=0.1, help="openai: seconds a request gets (120).")
]
BudgetFlag = Annotated[
    str | None,
    typer.Option(
        help="What a language model may cost in this run: 5usd, or tokens as 500k or 2M.",
        metavar="AMOUNT",
    ),
]
PricesFlag = Annotated[
    Path | None, typer.Option("--prices", help="Your own price list (YAML).", metavar="FILE")
]
LanguageFlag = Annotated[
    str | None, typer.Option("--language", help="Of a language model's texts: en (default), zh.")
]
PromptsFlag = Annotated[
    Path | None, typer.Option("--prompts", help="Your own prompts (YAML).", metavar="FILE")
]
MaxWordsFlag = Annotated[
    int | None, typer.Option("--max-words", min=3, help="Words of a language model's text at most.")
]
TemperatureFlag = Annotated[
    float | None, typer.Option("--temperature", min=0, help="The model's own when left out.")
]
ParameterFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        help="openai: a further field of each request, such as reasoning_effort=minimal; may be "
        "given several times.",
        metavar="NAME=VALUE",
    ),
]
CacheFlag = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Folder of the answer cache; the user's when left out.", metavar="FOLDER"
    ),
]
AnswersColumnsFlag = Annotated[
    str | None,
    typer.Option("--answers-columns", help="answers: user_id=THEIRS,text=THEIRS,…", metavar="MAP"),
]
DryRunFlag = Annotated[
    bool,
    typer.Option("--dry-run", help="Send and write nothing: print requests, tokens and cost."),
]


def teacher_options(parameter: list[str] | None = None, **flags: Any) -> TeacherOptions:
    """Options of a teacher from flags; those that were not given keep their default.

    Raises:
        UsageError: A value is refused; the flag is named.
    """
    from instructrec.cli.settings import settled
    from instructrec.instructions.teachers.options import TeacherOptions

    if parameter:
        flags["parameters"] = dict(_pair(text) for text in parameter)
    given = {name: value for name, value in flags.items() if value is not None}
    return settled(TeacherOptions, **given)


def _pair(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not (name.strip() and found):
        raise UsageError(f"--parameter {text!r} is no pair", "Write NAME=VALUE")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def plan_view(plan: Plan) -> Group:
    """A plan for people."""
    from rich.console import Group
    from rich.table import Table

    if not plan.lines:
        return Group(f"{plan.teacher or 'nobody'}: nothing is sent, nothing is to be paid")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("kind", "texts", "requests", "in cache", "tokens in", "tokens out", "USD"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for line in plan.lines:
        counts = (line.texts, line.requests, line.cached, line.prompt_tokens)
        cost = None
        if plan.price:
            cost = plan.price.cost(line.prompt_tokens, line.completion_tokens)
        numbers = [f"{count:,}" for count in (*counts, line.completion_tokens)]
        table.add_row(line.kind, *numbers, _usd(cost))
    told = plan.told()
    names = ("texts", "requests", "cached", "prompt_tokens", "completion_tokens")
    table.add_row("all", *(f"{told[name]:,}" for name in names), _usd(plan.usd))
    based = (
        f"Tokens are estimated after {plan.measured:,} answers in the cache"
        if plan.measured
        else "Tokens are estimated, a quarter of the letters"
    )
    lines = [
        f"{based}; answers that must be asked for again come on top (docs/teachers.md).",
        f"Cache: {plan.cache}. Nothing was sent.",
    ]
    if plan.price is None:
        lines.append("No price is known for this model: give one with --prices FILE.")
    return Group(f"{plan.teacher} would be sent:\n", table, *lines)


def _usd(cost: float | None) -> str:
    return "?" if cost is None else f"{cost:,.2f}"
