"""The Typer application: lazily loaded commands, one-line errors, exit codes, JSON output.

Exit codes: 0 done, 1 the run failed, 2 the request is wrong, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console, RenderableType
from typer.core import TyperGroup

from instructrec.errors import InstructRecError, InstructRecWarning, UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("instructrec.cli.demo", "Make a shop, learn it, measure it and answer requests."),
    "build": (
        "instructrec.cli.build",
        "Make a recommender from your own logs, in one go.",
    ),
    "recommend": ("instructrec.cli.recommend", "Answer one request, or those of many users."),
    "serve": ("instructrec.cli.serve", "Serve a run over HTTP."),
    "keys": ("instructrec.cli.keys", "Make, list and take back a server's API keys."),
    "data": ("instructrec.cli.data", "Import logs, make a marketplace, describe a dataset."),
    "corpus": ("instructrec.cli.corpus", "Turn a dataset into instructions, or describe a corpus."),
    "teacher": ("instructrec.cli.teacher", "Look at what language models answered and share it."),
    "retrievers": ("instructrec.cli.retrievers", "Fit what finds candidates in the catalogue."),
    "tune": ("instructrec.cli.tune", "Tune a language model on a corpus."),
    "evaluate": ("instructrec.cli.evaluate", "Measure a run or a model beside its rivals."),
    "rank": ("instructrec.cli.rank", "Rank titles by the likelihood a model gives them."),
    "models": ("instructrec.cli.models", "List, pull and verify public pretrained models."),
    "export": ("instructrec.cli.export", "Turn a model into ONNX graphs, for fast processors."),
    "doctor": (
        "instructrec.cli.doctor",
        "Say what is installed, what is missing and the cure.",
    ),
}
"""Command name → (module that has the Typer application ``app``, one line of help)."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        "--model-device",
        help="Where the model computes: auto (a GPU where there is one), cpu or cuda.",
    ),
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        min=1, help="About how many MiB the model may take beside its weights.", metavar="MIB"
    ),
]

_show_any_warning = warnings.showwarning

# The base classes of Typer's errors have no public name; which click they come from differs
# between Typer versions, these two hold for all of them.
_WRONG_USAGE: type[Exception] = typer.BadParameter.__mro__[1]
_ANY_CLICK: type[Exception] = typer.BadParameter.__mro__[2]


def new_app(help: str = "") -> typer.Typer:
    """A Typer application as every command module of ours makes it."""
    return typer.Typer(
        help=help,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )


class _LazyGroup(TyperGroup):
    """Imports a command's module only when that command is run."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            cure = f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(COMMANDS)}"
            raise UsageError(f"there is no command {cmd_name!r}", cure)
        module, line = COMMANDS[cmd_name]
        if self._listing:
            command = _stub(line)
        else:
            command = typer.main.get_command(import_module(module).app)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


def _stub(line: str) -> Any:
    stub = new_app()
    stub.command(help=line)(lambda: None)
    return typer.main.get_command(stub)


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    invoke_without_command=True,
)


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (anywhere in the line).")
    ] = False,
) -> None:
    """Recommendation as instruction following: tell it what you want.

    Start with `instructrec demo --out runs/demo`, or on your own logs with
    `instructrec build --interactions FILE --items FILE --out RUN`.
    """
    if version:
        import instructrec

        typer.echo(instructrec.__version__)
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        _make_utf8(stream)
    # Help is formatted by Typer outside any console of ours, so --debug is taken out by hand,
    # which lets it stand anywhere in the line.
    debug = "--debug" in args
    warnings.showwarning = _show_warning
    command = typer.main.get_command(app)
    try:
        code = command.main(
            args=[arg for arg in args if arg != "--debug"],
            prog_name="instructrec",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except BaseException as error:
        if debug and isinstance(error, Exception) and not isinstance(error, _ANY_CLICK):
            raise
        return _report(error)
    if code == 130:
        return _report(KeyboardInterrupt())
    return code if isinstance(code, int) else 0


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings are one line as errors are; those of libraries stay as they are."""
    if issubclass(category, InstructRecWarning):
        _say(f"note: {message}")
    else:
        _show_any_warning(message, category, filename, lineno, file, line)


def _make_utf8(stream: TextIO) -> None:
    if hasattr(stream, "reconfigure"):
        with contextlib.suppress(ValueError, OSError):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _report(error: BaseException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        # Typer has printed the help by itself where rich formats it.
        if text := str(error):
            typer.echo(text)
        return 0
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        _say("stopped; run the same command again to go on")
        return 130
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has gone (`| head`); nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    line, code = _explain(error)
    _say(f"error: {line}")
    return code


def _explain(error: BaseException) -> tuple[str, int]:
    """The line that tells of an error, and its exit code."""
    if isinstance(error, InstructRecError):
        return str(error), error.exit_code
    if isinstance(error, _ANY_CLICK):
        return _click_line(error), 2 if isinstance(error, _WRONG_USAGE) else 1
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. Check the path and its permissions", 1
    if isinstance(error, MemoryError):
        return "there is not enough memory. Take a smaller --batch-size, model or dataset", 1
    kind = type(error).__name__
    return f"unexpected {kind}: {error}. Run it again with --debug to see where", 1


def _click_line(error: Any) -> str:
    text = error.format_message().strip().rstrip(".")
    ctx = getattr(error, "ctx", None)
    where = ctx.command_path if ctx is not None else "instructrec"
    return f"{text}. See {where} --help"


def _say(text: str) -> None:
    line = " ".join(text.split())
    print(f"instructrec: {line}", file=sys.stderr, flush=True)  # noqa: T201


def emit(payload: Mapping[str, Any], table: RenderableType, *, as_json: bool) -> None:
    """Print a command's answer: ``payload`` as one JSON object, or ``table`` for a person."""
    if as_json:
        typer.echo(json.dumps(payload, ensure_ascii=False, indent=2, default=_plain))
    else:
        show(table)


def show(table: RenderableType) -> None:
    """Print something for a person on standard output; titles are never read as markup."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        # A file or a pipe has no width; a table cut at 80 columns would lose text.
        console = Console(markup=False, highlight=False, emoji=False, width=160)
    console.print(table, soft_wrap=isinstance(table, str))


def _plain(value: Any) -> Any:
    """Numbers of NumPy, paths and sets as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def check_choice(value: str, allowed: Sequence[str], what: str) -> str:
    """``value`` if it is one of ``allowed``.

    Raises:
        UsageError: It is not.
    """
    if value not in allowed:
        raise UsageError(f"{value!r} is not a {what}", f"Use one of {', '.join(allowed)}")
    return value
