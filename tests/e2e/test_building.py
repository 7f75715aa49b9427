"""`instructrec build` on one's own logs: made at once, resumed, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from instructrec.cli.app import run as command
from instructrec.folders import read_json, read_manifest

FREE = 8
"""Users that choices may look at."""
STAGES = [
    "dataset",
    "corpus",
    "model",
    "retrievers",
    "fusion.json",
    "report",
    "retrievers-serving",
]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop's logs as two CSV files with column names of its own, and tiny settings."""
    from instructrec.data.market import market_tables

    folder = tmp_path_factory.mktemp("logs")
    tables = market_tables(users=90, items=80, seed=3)
    tables.items.select(
        pl.col("item_id").alias("sku"),
        "title",
        pl.col("categories").list.join("|"),
        "price",
    ).collect().write_csv(folder / "items.csv")
    tables.interactions.select(
        pl.col("user_id").alias("uid"),
        pl.col("item_id").alias("sku"),
        pl.col("timestamp").alias("at"),
        "rating",
        "review",
    ).collect().write_csv(folder / "log.csv")
    users = tables.interactions.select("user_id").unique().sort("user_id").collect()
    users.head(-FREE).write_csv(folder / "held.csv")
    settings = {
        "held_out_users": str(folder / "held.csv"),
        "steps": 6,
        "test_users": 20,
        "fusion_users": 10,
        "spread_users": 0,
        "scenarios": ["P1,I0,T3", "P0,I1,T3"],
        "tuning": {
            "vocab_size": 600,
            "batch_tokens": 1024,
            "pieces": 1,
            "validations": 1,
            "validation_users": 10,
            "choice_users": 3,
        },
    }
    (folder / "tiny.json").write_text(json.dumps(settings))
    return folder


def build(logs: Path, out: Path, *more: str) -> int:
    columns = "user_id=uid,item_id=sku,timestamp=at"
    files = ["--interactions", str(logs / "log.csv"), "--items", str(logs / "items.csv")]
    settings = ["--config", str(logs / "tiny.json"), "--columns", columns]
    return command(["build", *files, *settings, "--out", str(out), *more])


@pytest.fixture(scope="module")
def built(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped while it fitted the fusion, and then gone on with."""
    from instructrec import stages

    out = tmp_path_factory.mktemp("built") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "_fit_fusion", _stop)
        assert build(logs, out) == 130
    assert sorted(read_json(out / "run.json")) == ["corpus", "dataset", "model", "retrievers"]
    model = (out / "model" / "model.safetensors").stat().st_mtime_ns
    assert build(logs, out) == 0
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == model
    return out


def _stop(*args: object, **named: object) -> None:
    raise KeyboardInterrupt


def test_one_command_makes_every_stage_and_goes_on_where_it_stopped(built: Path):
    assert sorted(read_json(built / "run.json")) == sorted(STAGES)
    assert read_manifest(built / "dataset")["rows"]["items"] == 80


def test_users_who_are_held_out_decide_nothing(logs: Path, built: Path):
    users = pl.read_csv(logs / "log.csv")["uid"].n_unique()
    assert read_manifest(built / "model")["settings"]["held_out"]["users"] == users - FREE
    requests = read_json(built / "fusion.json")["validation_requests"]
    # ⟨P1,I0,T3⟩ and ⟨P2,I0,T3⟩; of all users there would be ten requests each.
    assert 0 < requests["P,I0"] <= 2 * FREE < 2 * 10


def test_a_finished_run_is_only_looked_at(logs: Path, built: Path, capfd):
    assert build(logs, built, "--json") == 0
    done = capfd.readouterr()
    assert json.loads(done.out)["made"] == []
    assert done.err.count("done before") == len(STAGES)


def test_what_it_made_answers(built: Path, capfd):
    args = ["recommend", str(built), "--want", "a present under 30", "--k", "3", "--json"]
    assert command(args) == 0
    assert len(json.loads(capfd.readouterr().out)["items"]) == 3


def test_the_answer_of_a_stranger_is_what_most_take(built: Path, capfd):
    assert command(["recommend", str(built), "--user", "nobody", "--k", "2", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["notes"] == ["user nobody is not in the dataset: answered as a stranger"]
    assert set(told["items"][0]["evidence"]) == {"popularity"}


def test_a_filter_of_ones_own_holds(built: Path, capfd):
    args = ["recommend", str(built), "--want", "anything", "--filter", "price<=20", "--json"]
    assert command(args) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["items"]
    assert all(item["facts"]["price"] <= 20 for item in told["items"])


RUN = "{run}"


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["recommend", "nowhere"], 2, "there is no run nowhere. Check the path"),
        (["recommend", RUN, "--filter", "price"], 2, "'price' is not a filter. Write a column"),
        (["recommend", RUN, "--filter", "colour==red"], 2, "names the column 'colour'"),
        (["recommend", RUN, "--task", "T7"], 2, "'T7' is not a task form. Use T0, T1, T2 or T3"),
        (["recommend", RUN, "--task", "T1"], 2, "T1 compares two items and 0 are given"),
        (["recommend", RUN, "--candidate", "zzzz"], 2, "the catalogue has no item 'zzzz'"),
        (["recommend", RUN, "--evidence", "gut"], 2, "'gut' is not a kind of evidence"),
        (["recommend", RUN, "--evidence", "lm"], 2, "the language model has nothing to go by"),
        (["recommend", RUN, "--users", "who.txt"], 2, "Add --out FILE.parquet"),
        (["recommend", RUN, "--out", "a.parquet"], 2, "--out goes with --users"),
        (["recommend", RUN, "--users", "who.txt", "--out", "a.parquet"], 1, "no file who.txt"),
        (["recommend", RUN, "--k", "none"], 2, "Invalid value for '--k'"),
        (["corpus", "describe", RUN], 1, "has no manifest.json"),
        (["corpus", "build", "nowhere", "--out", "c"], 2, "there is no folder nowhere"),
        (["corpus", "build", f"{RUN}/dataset", "--teacher", "owl", "--out", "c"], 2, "Use one of"),
        (
            ["corpus", "build", f"{RUN}/dataset", "--scenario", "P9", "--out", "c"],
            2,
            "'P9' is not a scenario",
        ),
        (["rank", f"{RUN}/model", "--instruction", "x", "--candidate", "y", "--score", "z"], 2, ""),
        (["rank", "./nowhere", "--instruction", "x", "--candidate", "y"], 2, "no folder nowhere"),
        (["build", "--out", "r"], 2, "there is nothing to import. Give --interactions FILE"),
        (["build", "--interactions", "no.csv", "--out", "r"], 2, "there is no file no.csv"),
        (["build", "--budget", "soon", "--out", "r"], 2, "'soon' is not a duration"),
        (["build", "--protocol", "odd", "--out", "r"], 2, "'odd' is not a protocol"),
        (["build", "--config", "no.json", "--out", "r"], 2, "there is no file no.json"),
        (["demo", "--out", f"{RUN}/dataset"], 2, "is not empty and is no run"),
    ],
)
def test_a_wrong_request_ends_in_one_line(
    built: Path, tmp_path: Path, monkeypatch, capfd, args, code, line
):
    monkeypatch.chdir(tmp_path)
    assert command([arg.replace(RUN, str(built)) for arg in args]) == code
    err = capfd.readouterr().err
    assert err.startswith("instructrec: error: ")
    assert err.count("\n") == 1
    assert line in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", "log.csv"),
        ("uid,sku,at\n", "log.csv has no rows"),
        ("who,what,when\n1,2,3\n", "uid"),
    ],
)
def test_logs_that_cannot_be_used_are_named(logs: Path, tmp_path: Path, capfd, log: str, line: str):
    (tmp_path / "log.csv").write_text(log)
    files = ["--interactions", str(tmp_path / "log.csv"), "--items", str(logs / "items.csv")]
    columns = ["--columns", "user_id=uid,item_id=sku,timestamp=at"]
    assert command(["build", *files, *columns, "--out", str(tmp_path / "run")]) in {1, 2}
    err = capfd.readouterr().err
    lines = [text for text in err.splitlines() if text.startswith("instructrec: error: ")]
    assert len(lines) == 1
    assert line in lines[0]
