"""What every command has: --json, a help text, an example of its own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer

from instructrec.cli.app import COMMANDS


def every_command() -> Iterator[tuple[str, Any]]:
    for name, (module, _) in COMMANDS.items():
        yield from within(name, typer.main.get_command(import_module(module).app))


def within(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command, or all of a group, groups in it among them."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    else:
        for sub, found in inner.items():
            yield from within(f"{name} {sub}", found)


@pytest.mark.parametrize(("name", "command"), list(every_command()))
def test_every_command_has_json_a_help_text_and_an_example(name: str, command: Any):
    options = {option for param in command.params for option in param.opts}
    assert "--json" in options
    assert command.help
    assert f"instructrec {name}" in command.help


@pytest.mark.parametrize(("name", "command"), list(every_command()))
def test_every_option_says_what_it_is(name: str, command: Any):
    silent = [
        param.opts[0]
        for param in command.params
        if param.param_type_name == "option" and "--help" not in param.opts and not param.help
    ]
    assert silent == []
