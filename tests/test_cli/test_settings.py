"""Flags and files of settings are refused in one line that names the flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructrec.cli.app import run as run_cli
from instructrec.cli.build import _settings
from instructrec.cli.settings import from_file, settled, settled_with
from instructrec.demo import DemoConfig
from instructrec.errors import UsageError
from instructrec.instructions.diversify import DiversityRates


def test_a_refused_value_names_its_flag():
    with pytest.raises(UsageError, match=r"--test-users 3: .*greater than or equal to 10"):
        settled(DemoConfig, test_users=3)


def test_an_unknown_setting_is_named():
    with pytest.raises(UsageError, match=r"--set colour: there is no such setting. Use one of us"):
        settled(DemoConfig, colour="red")
    with pytest.raises(UsageError, match="--tower colour: there is no such setting"):
        settled(DemoConfig, "--tower", colour="red")


def test_a_file_of_settings_is_read_and_no_file_is_none(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"users": 60}')
    assert settled(DemoConfig, **from_file(tmp_path / "a.json")).users == 60
    assert from_file(None) == {}


def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path):
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(UsageError, match="holds no settings"):
        from_file(tmp_path / "a.json")
    for absent in (tmp_path / "b.json", tmp_path):
        with pytest.raises(UsageError, match=r"there is no file .* Check --config"):
            from_file(absent)
    (tmp_path / "c.json").write_text("")
    with pytest.raises(UsageError, match="is not JSON"):
        from_file(tmp_path / "c.json")


def test_what_a_file_gets_wrong_is_told_of_the_file(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"colour": "red"}')
    with pytest.raises(UsageError, match=r"a\.json has an unknown setting 'colour'. Use users, "):
        settled_with(DemoConfig, path, {"items": 60})
    path.write_text('{"users": 3}')
    with pytest.raises(UsageError, match=r"a\.json, users 3: .*greater than or equal to 50"):
        settled_with(DemoConfig, path, {"items": 60})
    with pytest.raises(UsageError, match="--items 3"):
        settled_with(DemoConfig, path, {"users": 60, "items": 3})
    assert settled_with(DemoConfig, path, {"users": 60}).users == 60


def test_a_wrong_setting_of_the_corpus_is_told_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, out = tmp_path / "a.json", tmp_path / "run"
    path.write_text('{"corpus": {"negative": 1}}')
    assert run_cli(["build", "--out", str(out), "--config", str(path)]) == 2
    assert "a.json has an unknown setting 'corpus.negative'" in capsys.readouterr().err
    assert not out.exists()


def test_a_run_may_vary_the_wishes_it_learns_from(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"corpus": {"negatives": 4}}')
    varied = _settings(path, {}, {}, varied_wishes=True)
    assert varied.corpus == {"negatives": 4, "diversity": DiversityRates().model_dump()}
    assert _settings(path, {}, {}, varied_wishes=False).corpus == {"negatives": 4}


def test_a_wrong_setting_of_tuning_is_told_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, out = tmp_path / "a.json", tmp_path / "run"
    path.write_text('{"tuning": {"learning_rat": 1}}')
    assert run_cli(["build", "--out", str(out), "--config", str(path)]) == 2
    assert "a.json has an unknown setting 'tuning.learning_rat'" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("command", ["build", "demo", "tune"])
def test_an_unknown_backbone_is_told_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
):
    out = tmp_path / "made"
    words = [command, *([str(tmp_path)] if command == "tune" else []), "--out", str(out)]
    assert run_cli([*words, "--backbone", "tiny-casual"]) == 2
    told = capsys.readouterr().err
    assert "no backbone 'tiny-casual'" in told and "Did you mean 'tiny-causal'?" in told
    assert run_cli([*words, "--backbone", str(tmp_path / "absent")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not out.exists()
