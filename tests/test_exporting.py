"""A tuned model is exported to a folder that stands for it in a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="needs the extra instructrec[onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra instructrec[onnx]")
pytest.importorskip("onnxscript", reason="needs the extra instructrec[onnx]")

from instructrec.backbones import load
from instructrec.cli.app import run as command
from instructrec.data.dataset import Dataset
from instructrec.errors import UsageError
from instructrec.exporting import check_export, export_model
from instructrec.folders import read_manifest, verify
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig
from instructrec.recommender import Recommender


@pytest.fixture(scope="module")
def exported(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "model"
    sizes = export_model(tiny_run / "model", out)
    assert 0 < sizes.after < sizes.before
    return out


def test_it_is_a_model_folder_that_says_its_format(tiny_run: Path, exported: Path) -> None:
    verify(exported)
    made, source = read_manifest(exported, "model"), read_manifest(tiny_run / "model", "model")
    assert made["format"] == "onnx-int8"
    assert made["protocol"] == source["protocol"]
    assert made["inputs"] == source["inputs"]
    scoring = (exported / "scoring.json").read_bytes()
    assert scoring == (tiny_run / "model" / "scoring.json").read_bytes()


def test_a_run_with_it_recommends_and_is_evaluated(
    tiny_run: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    shutil.copytree(exported, run / "model")
    user = Recommender.load(run)
    answer = user.recommend(wish="a gift for my son", k=3)
    assert len(answer.items) == 3
    line = ["evaluate", str(run), "--scenario", "P1,I0,T3", "--users", "12", "--spread-users", "0"]
    assert command([*line, "--out", str(tmp_path / "report"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {"instructrec", "lm"} & {row["model"] for row in rows}


def test_only_scores_in_eight_bits_depend_on_the_company(
    tiny_run: Path, exported: Path, tmp_path: Path
) -> None:
    export_model(tiny_run / "model", tmp_path / "exact", to="onnx")
    catalogue = Dataset(tiny_run / "dataset").catalogue
    for folder, apart in (
        (tiny_run / "model", True),
        (tmp_path / "exact", True),
        (exported, False),
    ):
        ranker = Ranker(load(folder), catalogue, scoring=ScoringConfig())
        assert ranker.scores_apart is apart


def test_the_check_compares_it_with_the_model(tiny_run: Path, exported: Path) -> None:
    found = check_export(tiny_run / "model", exported, tiny_run / "dataset", requests=20)
    assert found.requests == 20
    assert found.spearman > 0.95
    assert found.lowest <= found.spearman


def test_wrong_requests_are_one_line(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no format 'gguf'"):
        export_model(tiny_run / "model", tmp_path / "out", to="gguf")
    with pytest.raises(UsageError, match="no exported model"):
        check_export(tiny_run / "model", tiny_run / "model", tiny_run / "dataset")
    with pytest.raises(UsageError, match=r"is a run, not a model. Name .*model"):
        export_model(tiny_run, tmp_path / "out")
    assert command(["export", str(tiny_run / "model"), "--out", str(tmp_path), "--check"]) == 2


def test_an_export_is_not_exported_again(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exported model already"):
        export_model(exported, tmp_path / "again")
    assert not (tmp_path / "again").exists()
