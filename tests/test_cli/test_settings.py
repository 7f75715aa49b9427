"""Flags and files of settings are refused in one line that names the flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructrec.cli.settings import from_file, settled
from instructrec.demo import DemoConfig
from instructrec.errors import UsageError


def test_a_refused_value_names_its_flag():
    with pytest.raises(UsageError, match=r"--test-users 3: .*greater than or equal to 10"):
        settled(DemoConfig, test_users=3)


def test_an_unknown_setting_is_named():
    with pytest.raises(UsageError, match="--colour 'red': Extra inputs are not permitted"):
        settled(DemoConfig, colour="red")


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
