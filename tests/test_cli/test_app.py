"""The frame of the command line: start-up, errors, exit codes, progress, JSON."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from rich.console import Console

from instructrec.cli import app as frame
from instructrec.cli.progress import _Bars, _Lines
from instructrec.errors import DataError, InstructRecWarning, UsageError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Registers a function as the command `probe` and returns how to run it."""

    def register(function, *args: str) -> int:
        probe = frame.new_app()
        probe.command()(function)
        monkeypatch.setitem(frame.COMMANDS, "probe", ("probe_module", "Probe."))
        monkeypatch.setitem(sys.modules, "probe_module", SimpleNamespace(app=probe))
        return frame.run(["probe", *args])

    return register


def test_help_names_every_command_and_imports_neither_torch_nor_polars():
    code = (
        "import sys; from instructrec.cli.app import run; run(['--help']);"
        "print([m for m in ('torch', 'transformers', 'polars', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert all(f" {name} " in done.stdout for name in frame.COMMANDS)


def test_help_comes_at_once():
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "instructrec", "--help"], capture_output=True, check=True)
    assert time.perf_counter() - start < 2.0  # .12 s on an idle machine


def test_what_is_worth_knowing_is_one_line_and_the_answer_stays_apart(command, capsys):
    def noting():
        warnings.warn("memory ran out: going on", InstructRecWarning, stacklevel=1)
        typer.echo("done")

    assert command(noting) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("done\n", "instructrec: note: memory ran out: going on\n")


def test_an_unknown_command_is_one_line_with_the_nearest_name(capfd):
    assert frame.run(["recomend"]) == 2
    assert capfd.readouterr().err == (
        "instructrec: error: there is no command 'recomend'. Did you mean 'recommend'?\n"
    )


def test_an_unknown_option_is_one_line_that_points_to_the_help(command, capfd):
    assert command(lambda: None, "--nope") == 2
    assert capfd.readouterr().err == (
        "instructrec: error: No such option: --nope. See instructrec probe --help\n"
    )


def test_a_missing_argument_is_one_line(command, capfd):
    def needs(run: str) -> None:
        """Needs an argument."""

    assert command(needs) == 2
    assert capfd.readouterr().err == (
        "instructrec: error: Missing argument 'run'. See instructrec probe --help\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no user 'x'", "Check it"), 2, "error: no user 'x'. Check it"),
        (DataError("a.csv:3: bad\nrow", "Mend it"), 1, "error: a.csv:3: bad row. Mend it"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: Permission denied. Check"),
        (RuntimeError("odd"), 1, "error: unexpected RuntimeError: odd. Run it again with --debug"),
        (KeyboardInterrupt(), 130, "stopped; run the same command again to go on"),
        (typer.Abort(), 130, "stopped; run the same command again to go on"),
        (typer.Exit(5), 5, ""),
    ],
)
def test_every_error_ends_in_one_line_and_its_exit_code(command, capfd, error, code, line):
    def fail() -> None:
        raise error

    assert command(fail) == code
    err = capfd.readouterr().err
    assert err.startswith(f"instructrec: {line}") if line else not err
    assert err.count("\n") == bool(line)


def test_debug_shows_the_traceback_wherever_it_stands(command):
    def fail() -> None:
        raise DataError("bad", "Mend it")

    with pytest.raises(DataError):
        command(fail, "--debug")


def test_bytes_that_are_not_utf8_can_be_printed():
    code = "from instructrec.cli.app import run; import sys; sys.exit(run([sys.argv[1]]))"
    done = subprocess.run(
        [sys.executable, "-c", code, b"\xff\xfe"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"instructrec: error: there is no command")
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path):
    script = tmp_path / "many.py"
    script.write_text(
        "import sys\nfrom types import SimpleNamespace\nfrom instructrec.cli import app as frame\n"
        "probe = frame.new_app()\n"
        "@probe.command()\ndef many():\n    for n in range(200000):\n        print(n)\n"
        "frame.COMMANDS['probe'] = ('probe_module', '')\n"
        "sys.modules['probe_module'] = SimpleNamespace(app=probe)\n"
        "frame.main(['probe'])\n"
    )
    line = f"{sys.executable} {script} | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout == "0\n"
    assert "Traceback" not in done.stderr


def test_json_knows_arrays_paths_and_sets(capsys):
    payload = {"a": np.float32(0.5), "b": np.arange(2), "c": {"y", "x"}, "d": Path("e")}
    frame.emit(payload, "text", as_json=True)
    expected = {"a": 0.5, "b": [0, 1], "c": ["x", "y"], "d": "e"}
    assert json.loads(capsys.readouterr().out) == expected


def test_markup_in_a_title_is_printed_as_it_stands(capsys):
    frame.show("[red]Racer[/red] :smile:")
    assert capsys.readouterr().out == "[red]Racer[/red] :smile:\n"


def test_plain_progress_speaks_only_of_what_takes_long(monkeypatch):
    out = io.StringIO()
    clock = iter([0.0, 1.0, 16.0, 33.0, 34.0])
    monkeypatch.setattr("instructrec.cli.progress.time.monotonic", lambda: next(clock))
    lines = _Lines(Console(file=out))
    assert list(lines.track([1, 2, 3], "tuning")) == [1, 2, 3]
    assert out.getvalue() == (
        "tuning: 2/3 after 16 s\ntuning: 3/3 after 33 s\ntuning: done, 3 in 34 s\n"
    )


def test_bars_may_nest_and_be_left_early():
    bars = _Bars(Console(file=io.StringIO(), force_terminal=True))
    for outer in bars.track(range(3), "outer"):
        for _ in bars.track(range(2), "inner"):
            bars.note(f"at {outer}")
            break
    assert not bars._bars.tasks
