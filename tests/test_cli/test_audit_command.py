"""`corpus audit` passes or fails loudly; `corpus judge` opens a page and goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import polars as pl
import pytest

from instructrec.cli.app import run
from instructrec.data.dataset import Dataset
from instructrec.data.market import make_market
from instructrec.instructions.builder import build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.teachers.rules import RulesTeacher


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus beside its dataset, as in a run."""
    folder = tmp_path_factory.mktemp("run")
    make_market(folder / "dataset", users=60, items=80, seed=2)
    return build_corpus(Dataset(folder / "dataset"), RulesTeacher(), folder / "corpus")


def test_a_clean_corpus_passes(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["corpus", "audit", str(corpus.folder), "--samples", "10", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is True
    assert {leak["check"] for leak in told["leaks"]} == {
        "title", "future", "later text", "candidates", "place", "order", "duplicate", "empty"
    }  # fmt: skip
    questions = told["quality"]["kinds"]["preference"]["questions"]
    assert [row["paper"] for row in questions] == [0.93, 0.87, 0.88, 0.48]
    assert all(row["interval"][0] <= row["share"] <= row["interval"][1] for row in questions)


def test_a_leak_ends_with_exit_code_1_and_names_the_row(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "corpus"
    shutil.copytree(corpus.folder, out)
    path = Corpus(out).shards("train")[0]
    rows = pl.read_parquet(path)
    row = rows["row"][3]
    change = pl.when(pl.col("row") == row).then(pl.lit("")).otherwise("response")
    rows.with_columns(response=change).write_parquet(path)
    dataset = str(corpus.folder.parent / "dataset")
    command = ["corpus", "audit", str(out), "--dataset", dataset, "--samples", "0"]
    assert run(command) == 1
    told = capsys.readouterr()
    assert f"empty: train row {row}: the response is empty" in told.out
    assert "does not pass: 1 findings (empty)" in told.err
    assert run([*command, "--json"]) == 1
    (leak,) = (leak for leak in json.loads(capsys.readouterr().out)["leaks"] if leak["found"])
    assert leak["rows"] == [{"split": "train", "row": row, "reason": "the response is empty"}]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--dataset", "nowhere"], "nowhere"),
        (["--judge", "somebody"], "'somebody' is no language model"),
        (["--judged", "absent.jsonl"], "there is no file absent.jsonl"),
    ],
)
def test_what_is_wrong_is_one_line(
    flags: list[str], told: str, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["corpus", "audit", str(corpus.folder), *flags]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_a_person_judges_at_a_page_and_is_compared(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "judged.jsonl"
    for done in (0, 3):
        command = [sys.executable, "-m", "instructrec", "corpus", "judge", str(corpus.folder)]
        command += ["--out", str(out), "--samples", "4", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            text = ""
            while not text.endswith("}\n"):
                text += process.stdout.readline()
            opened = json.loads(text)
            assert (opened["answered"], opened["of"]) == (done, 16)
            for at in range(done, done + 3):
                body = json.dumps({"at": at, "value": 1}).encode()
                asked = Request(
                    opened["url"] + "answer", body, {"Content-Type": "application/json"}
                )
                assert urlopen(asked, timeout=10).status == 200
            os.kill(process.pid, signal.SIGKILL if done == 0 else signal.SIGINT)
        assert process.returncode == (-signal.SIGKILL if done == 0 else 130)
    command = ["corpus", "audit", str(corpus.folder), "--judged", str(out), "--json"]
    assert run(command) == 0
    person = json.loads(capsys.readouterr().out)["quality"]["person"]
    judged = [row for row in person if row["of"]]
    assert sum(row["of"] for row in judged) == 6
    assert all(row["share"] == 1 and row["compared"] == row["of"] for row in judged)
