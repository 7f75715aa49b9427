"""The whole way: from nothing to a tuned, measured, talkable recommender."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from instructrec.cli.app import run as command
from instructrec.evaluation.report import Report
from instructrec.folders import read_json, read_manifest, verify
from instructrec.recommender import Recommender

STAGES = ("dataset", "corpus", "model", "retrievers", "report", "retrievers-serving")


def test_a_run_holds_every_stage_complete_and_as_it_was_written(tiny_run: Path):
    for name in STAGES:
        verify(tiny_run / name)
    assert read_manifest(tiny_run / "corpus")["protocol"] == "leave-one-out"
    assert read_manifest(tiny_run / "model")["protocol"] == "leave-one-out"


def test_every_kind_of_request_has_weights_that_are_never_negative(tiny_run: Path):
    fusion = read_json(tiny_run / "fusion.json")
    for known in ("P,I0", "P0,I", "P,I"):
        assert "lm" in fusion[known]
        assert "lm" not in fusion["without_lm"][known]
        assert all(piece["weight"] >= 0 for piece in fusion[known].values())


def test_the_report_has_ours_and_the_rivals_in_every_scenario(tiny_run: Path):
    report = Report.load(tiny_run / "report")
    scenarios = {row.scenario for row in report.rows}
    assert {"P1,I0,T3", "P0,I1,T3", "P0,I2,T3", "P1,I1,T3", "P2,I2,T3"} <= scenarios
    for scenario in scenarios:
        models = {row.model for row in report.rows if row.scenario == scenario}
        assert {"instructrec", "instructrec-lm", "fused-without-lm", "popularity"} <= models


def test_the_same_command_again_makes_nothing(tiny_run: Path, tiny_flags, capfd):
    before = read_json(tiny_run / "run.json")
    assert command(["demo", "--out", str(tiny_run), *tiny_flags, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["made"] == []
    assert read_json(tiny_run / "run.json") == before
    assert len(told["examples"]) == 3
    assert told["rows"]


def test_the_demo_ends_with_its_figures_three_answers_and_what_to_try_next(
    tiny_run: Path, tiny_flags, capfd
):
    assert command(["demo", "--out", str(tiny_run), *tiny_flags]) == 0
    out = capfd.readouterr().out
    for group in ("⟨P1,I0,T3⟩", "⟨P0,I1/I2,T3⟩", "⟨P1/P2,I1/I2,T3⟩"):
        assert group in out
    for word in ("fused-without-lm", "instructrec-lm", "report.md", "Next:", "price <= 30"):
        assert word in out
    assert out.count("$ instructrec recommend") == 3


def test_recommend_prints_items_the_instruction_and_the_limit(tiny_run: Path, capfd):
    wish = "a gift for my son who likes racing, under 30"
    args = ["recommend", str(tiny_run), "--user", _user(tiny_run), "--want", wish, "--k", "3"]
    assert command(args) == 0
    out = capfd.readouterr().out
    assert "kept as a limit: price <= 30" in out
    assert f"[I {wish}]" in out
    assert "[P " in out


def test_without_minilm_everything_answers_and_says_so(
    tiny_run: Path, tmp_path: Path, monkeypatch, capfd
):
    monkeypatch.setenv("INSTRUCTREC_CACHE", str(tmp_path))
    args = ["recommend", str(tiny_run), "--want", "a puzzle for a rainy day", "--k", "3", "--json"]
    assert command(args) == 0
    told = json.loads(capfd.readouterr().out)
    assert len(told["items"]) == 3
    assert "dense" not in told["items"][0]["evidence"]
    assert any("minilm is not at work here" in note for note in told["notes"])


def test_recommend_as_json_keeps_the_limit(tiny_run: Path, capfd):
    args = ["recommend", str(tiny_run), "--want", "a present under 20", "--k", "4", "--json"]
    assert command(args) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["filters"] == ["price <= 20.0"]
    assert all(item["facts"]["price"] <= 20 for item in told["items"])
    assert "".join(part["text"] for part in told["parts"]) == told["instruction"]


@pytest.mark.parametrize("task", ["T0", "T1", "T2", "T3"])
@pytest.mark.parametrize("evidence", ["all", "lm"])
def test_every_task_form_is_answered(tiny_run: Path, capfd, task: str, evidence: str):
    titles = _titles(tiny_run)
    given = {"T0": titles[:1], "T1": titles[:2], "T2": [], "T3": titles[:4]}[task]
    args = ["recommend", str(tiny_run), "--want", "a quiet evening", "--task", task]
    for title in given:
        args += ["--candidate", title]
    assert command([*args, "--evidence", evidence, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    answers = [item["title"] for item in told["items"]]
    if task == "T0":
        assert told["answer"] in {"yes", "no"}
        assert 0 <= told["items"][0]["probability"] <= 1
    elif task == "T1":
        assert told["answer"] in given
    elif task == "T2":
        assert told["answer"] in titles
    else:
        assert sorted(answers) == sorted(given)


def test_many_users_are_answered_into_a_file(tiny_run: Path, tmp_path: Path, capfd):
    users = Recommender.load(tiny_run).dataset.sequences.user_ids[:7]
    (tmp_path / "users.txt").write_text("\n".join([*users, "nobody-yet"]))
    out = tmp_path / "answers.parquet"
    args = ["recommend", str(tiny_run), "--users", str(tmp_path / "users.txt"), "--k", "5"]
    assert command([*args, "--out", str(out), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"] == 40
    frame = pl.read_parquet(out)
    assert frame.columns == ["user_id", "rank", "item_id", "title", "score"]
    assert frame["user_id"].unique().len() == 8


def test_the_readme_example_runs(tiny_run: Path, capsys):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    exec(compile(code.replace("runs/demo", str(tiny_run)), "README.md", "exec"), {})
    assert "user_id" in capsys.readouterr().out


def test_a_file_of_instructions_is_described(tiny_run: Path, capfd):
    assert command(["corpus", "describe", str(tiny_run / "corpus"), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["rows"]["train"] > 0
    assert command(["corpus", "describe", str(tiny_run / "corpus")]) == 0
    out = capfd.readouterr().out
    assert "Rows by scenario, strategy, asks" in out
    assert "Samples" in out


def test_rank_shows_every_token_so_that_a_sum_can_be_recomputed(tiny_run: Path, capfd):
    import torch
    from transformers import AutoModelForCausalLM

    titles = _titles(tiny_run)[:3]
    args = ["rank", str(tiny_run / "model"), "--instruction", "A gift, please.", "--score", "sum"]
    for title in titles:
        args += ["--candidate", title]
    assert command([*args, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert set(told) == {"prompt_ids", "results"}
    scores = [found["score"] for found in told["results"]]
    assert scores == sorted(scores, reverse=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_run / "model").eval()
    for found in told["results"]:
        ids = torch.tensor([told["prompt_ids"] + found["token_ids"]])
        with torch.inference_mode():
            steps = model(ids).logits[0].log_softmax(-1)
        start = len(told["prompt_ids"])
        places = range(start, ids.shape[1])
        total = sum(float(steps[place - 1, ids[0, place]]) for place in places)
        assert found["score"] == pytest.approx(total, abs=1e-3)


def test_doctor_tells_what_is_there(capfd):
    assert command(["doctor", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["packages"]["torch"]
    assert set(told["extras"]) >= {"serve", "onnx", "ray", "dev"}
    assert "minilm" in told["models"]
    assert command(["doctor"]) == 0
    assert "Pretrained models" in capfd.readouterr().out


@pytest.fixture
def tiny_flags(tiny_demo, tmp_path: Path) -> list[str]:
    """The settings that the tiny run was made by."""
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_demo))
    return ["--config", str(tmp_path / "tiny.json")]


def _user(run: Path) -> str:
    return Recommender.load(run).dataset.sequences.user_ids[0]


def _titles(run: Path) -> list[str]:
    return list(dict.fromkeys(Recommender.load(run).catalogue.titles))
