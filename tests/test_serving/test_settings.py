"""Settings come from flags, the environment and a file, and a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructrec.errors import UsageError
from instructrec.serving.settings import is_loopback, read_settings

SECRET = "correct horse battery staple"


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path):
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nqueue = 2\nbatch = 3\nhost = "127.0.0.1"\n')
    environment = {"INSTRUCTREC_PORT": "4", "INSTRUCTREC_QUEUE": "5", "INSTRUCTREC_OTHER": "6"}
    config = read_settings({"port": 7, "queue": None}, file, environment)
    assert (config.port, config.queue, config.batch) == (7, 5, 3)


def test_nothing_set_serves_this_machine_without_keys_from_a_file_in_the_run():
    config = read_settings({}, None, {})
    assert (config.host, config.needs_keys) == ("127.0.0.1", False)
    assert config.store_url(Path("/runs/demo")) == "sqlite:////runs/demo/state/store.sqlite"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "shop.example", "10.0.0.1"])
def test_beyond_the_loopback_keys_are_required_whatever_is_said(host: str):
    assert read_settings({"host": host}, None, {}).needs_keys
    with pytest.raises(UsageError, match="keys are required"):
        read_settings({"host": host, "keys": False}, None, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_the_loopback_is_known_by_all_its_names(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize(
    ("flags", "text", "environment", "said"),
    [
        ({"port": 70_000}, "", {}, "--port"),
        ({"deadline_ms": 0}, "", {}, "--deadline-ms"),
        ({}, "", {"INSTRUCTREC_BATCH": "many"}, "INSTRUCTREC_BATCH"),
        ({}, "colour = 1", {}, "colour"),
        ({}, "port == 1", {}, "is no TOML"),
        ({}, "", {"INSTRUCTREC_ADMIN_KEY": "short"}, "INSTRUCTREC_ADMIN_KEY is too short"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(tmp_path, flags, text, environment, said):
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_settings(flags, file, environment)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        read_settings({}, tmp_path / "no.toml", {})


def test_the_key_of_the_environment_is_never_shown():
    config = read_settings({}, None, {"INSTRUCTREC_ADMIN_KEY": SECRET})
    assert SECRET not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
    with pytest.raises(UsageError) as raised:
        read_settings({"port": -1}, None, {"INSTRUCTREC_ADMIN_KEY": SECRET})
    assert SECRET not in str(raised.value)
