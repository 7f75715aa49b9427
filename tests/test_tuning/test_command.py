"""`instructrec tune` does what `tune` does, and tells what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instructrec.cli.app import run
from instructrec.folders import read_manifest
from instructrec.instructions.corpus import Corpus

SMALL = {
    "vocab_size": 500,
    "batch_tokens": 1024,
    "max_tokens": 256,
    "choice_users": 4,
    "validation_users": 4,
}


def tune_with(corpus: Corpus, out: Path, *flags: str) -> int:
    settings = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    place = ["tune", str(corpus.folder), "--out", str(out), "--backbone", "micro-causal"]
    return run([*place, *settings, *flags])


def test_the_command_makes_a_model_and_answers_in_json(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users = tmp_path / "users.txt"
    users.write_text("u00\nu01\n", encoding="utf-8")
    flags = ["--steps", "2", "--mix", "T2=0.5", "--held-out-users", str(users), "--json"]
    assert tune_with(corpus, tmp_path / "m", *flags) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 2
    assert set(told["scenarios"]) == {"P0,I2,T3", "P1,I0,T3"}
    settings = read_manifest(tmp_path / "m", "model")["settings"]
    assert settings["mix"] == {"T2": 0.5}
    assert settings["held_out"]["users"] == 2


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--steps", "2", "--epochs", "1"], "exclude each other"),
        (["--budget", "soon"], "is not a duration"),
        (["--mix", "T2"], "has no value"),
        (["--mix", "T2=2"], "Use 0 to 1"),
        (["--set", "learning_rat=1"], "learning_rat"),
        (["--steps", "0"], "steps"),
        (["--dataset", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    corpus: Corpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    line: str,
) -> None:
    assert tune_with(corpus, tmp_path / "m", *flags) in (1, 2)
    told = capsys.readouterr().err.strip()
    assert line in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "m").exists()


def test_a_corpus_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tune", str(tmp_path / "no"), "--out", str(tmp_path / "m")]) == 2
    assert "there is no folder" in capsys.readouterr().err
