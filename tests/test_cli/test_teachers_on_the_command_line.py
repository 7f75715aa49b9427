"""Paid teachers from the command line: dry runs, budgets, faults, keys and the cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "test_instructions" / "test_teachers"))

from faulty_server import FaultyServer

from instructrec.cli.app import run
from instructrec.data.market import make_market
from instructrec.folders import read_manifest

KEY = "sk-very-secret-0123456789"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market") / "dataset"
    make_market(folder, users=12, items=60, seed=0)
    return folder


def build(dataset: Path, out: Path, server: FaultyServer, *more: str) -> int:
    cache = ["--cache", str(out.parent / "cache")]
    teacher = ["--teacher", "openai:fake", "--base-url", server.base_url]
    return run(["corpus", "build", str(dataset), "--out", str(out), *teacher, *cache, *more])


def files(corpus: Path) -> Any:
    return read_manifest(corpus)["files"]


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_dry_run_sends_nothing_and_knows_what_is_sent_then(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with FaultyServer() as server:
        assert build(dataset, tmp_path / "corpus", server, "--dry-run", "--json") == 0
        plan = said(capsys)
        assert server.asked == []
        assert not (tmp_path / "corpus").exists()
        assert build(dataset, tmp_path / "corpus", server) == 0
        assert plan["to_send"] == plan["requests"] == len(server.asked)
        capsys.readouterr()
        assert build(dataset, tmp_path / "corpus", server, "--dry-run", "--json") == 0
    again = said(capsys)
    assert again["cached"] == plan["requests"]
    assert (again["to_send"], again["prompt_tokens"], again["completion_tokens"]) == (0, 0, 0)
    assert {kind["kind"] for kind in plan["kinds"]} == {"preference", "intention", "query"}
    assert plan["usd"] == 0


def test_a_priced_model_is_told_in_money_without_a_key(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    for variable in ("OPENAI_API_KEY", "INSTRUCTREC_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    flags = [
        "--teacher",
        "openai:gpt-5-mini",
        "--cache",
        str(tmp_path),
        "--out",
        str(tmp_path / "c"),
    ]
    assert run(["corpus", "build", str(dataset), *flags, "--dry-run", "--json"]) == 0
    plan = said(capsys)
    cost = (plan["prompt_tokens"] * 0.25 + plan["completion_tokens"] * 2) / 1e6
    assert plan["usd"] == pytest.approx(cost)
    assert run(["corpus", "build", str(dataset), *flags]) == 2
    assert "no key for api.openai.com is set" in capsys.readouterr().err


def test_faults_and_budgets_change_no_byte_and_pay_nothing_twice(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with FaultyServer(wrong=0.1) as server:
        assert build(dataset, tmp_path / "calm" / "corpus", server) == 0
    with FaultyServer(0.1, ("500", "half", "empty", "nonsense"), wrong=0.1) as server:
        stops = 0
        while (
            code := build(dataset, tmp_path / "hard" / "corpus", server, "--budget", "25k")
        ) == 1:
            stops += 1
            assert "run the same command again to go on" in capsys.readouterr().err.lower()
        assert code == 0
        assert stops > 0
        assert set(server.answered.values()) == {1}
    assert files(tmp_path / "hard" / "corpus") == files(tmp_path / "calm" / "corpus")
    settings = [read_manifest(tmp_path / n / "corpus")["settings"] for n in ("calm", "hard")]
    assert settings[0] == settings[1]
    assert settings[0]["teacher"] == "openai:fake"


def test_the_key_is_in_no_file_and_no_message(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("INSTRUCTREC_API_KEY", KEY)
    wrong = (401, '{"error": {"message": "Incorrect API key provided: {key}"}}')
    with FaultyServer(refuse=wrong) as server:
        assert build(dataset, tmp_path / "corpus", server) == 1
        server.refuse = None
        assert build(dataset, tmp_path / "corpus", server) == 0
        assert server.keys == {f"Bearer {KEY}"}
    told = capsys.readouterr()
    assert "401" in told.err
    assert KEY not in told.err + told.out
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_the_cache_is_shown_shared_and_pruned(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with FaultyServer(wrong=0.3) as server:
        build(dataset, tmp_path / "corpus", server)
        paid = sum(server.answered.values())
        mine, theirs = (["--cache", str(tmp_path / name)] for name in ("cache", "theirs"))
        file = str(tmp_path / "answers.parquet")
        capsys.readouterr()
        assert run(["teacher", "cache", "show", *mine, "--json"]) == 0
        (model,) = said(capsys)["models"]
        assert (model["model"], model["answers"]) == ("openai:fake", paid)
        assert run(["teacher", "cache", "export", file, *mine, "--json"]) == 0
        assert said(capsys)["answers"] == paid
        assert run(["teacher", "cache", "import", file, *theirs, "--json"]) == 0
        assert said(capsys)["new"] == paid
        assert build(dataset, tmp_path / "again", server, *theirs) == 0
        assert sum(server.answered.values()) == paid
    assert files(tmp_path / "again") == files(tmp_path / "corpus")
    capsys.readouterr()
    assert run(["teacher", "cache", "prune", *mine]) == 2
    assert run(["teacher", "cache", "prune", "--older-than", "1d", *mine, "--json"]) == 0
    assert said(capsys)["dropped"] == 0
    assert run(["teacher", "cache", "prune", "--model", "openai:fake", *mine, "--json"]) == 0
    assert said(capsys)["dropped"] == paid
    assert run(["teacher", "cache", "show", "--cache", str(tmp_path / "nowhere")]) == 1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--teacher", "gpt-5"], "'gpt-5' is not a teacher"),
        (["--teacher", "openai:m", "--base-url", "here"], "is no address"),
        (["--teacher", "local:/no/such/model"], "there is no folder /no/such/model"),
        (["--teacher", "openai:m", "--budget", "much"], "is no amount"),
        (["--teacher", "openai:m", "--language", "xx"], "no prompts 'xx'"),
        (["--teacher", "openai:m", "--parameter", "x"], "is no pair"),
        (["--teacher", "openai:m", "--timeout", "0"], "--timeout"),
    ],
)
def test_a_wrong_flag_is_one_line(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
):
    more = ["--out", str(tmp_path / "c"), "--cache", str(tmp_path / "cache")]
    assert run(["corpus", "build", str(dataset), *more, *flags]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "code", "told"),
    [
        ("absent.jsonl", None, 2, "there is no file"),
        ("a.csv", b"a", 2, "is of no kind known here"),
        ("a.jsonl", b"\xff\xfe\x00", 1, "line 1 is not JSON"),
        ("a.parquet", b"", 1, "is no Parquet file"),
    ],
)
def test_a_wrong_file_to_import_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    code: int,
    told: str,
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    cache = tmp_path / "cache"
    mine = ["--cache", str(cache)]
    assert run(["teacher", "cache", "import", str(tmp_path / name), *mine]) == code
    err = capsys.readouterr().err
    assert told in err and len(err.splitlines()) == 1
    assert cache.exists() == (code == 1)
