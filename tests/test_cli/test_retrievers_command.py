"""`instructrec retrievers fit` makes a folder of retrievers, and says what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructrec.cli.app import run
from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.folders import MANIFEST, new_folder, read_json, read_manifest, sha256
from instructrec.retrieval import load_retrievers
from instructrec.retrieval._sequence_training import Updater

QUICK = ("--set", "dimensions=8", "--epochs", "1")


def a_dataset(folder: Path, events: int = 5) -> Path:
    rng = np.random.default_rng(0)
    ids = [f"i{n:02}" for n in range(20)]
    rows = [
        (f"u{user:02}", ids[item], place)
        for user in range(30)
        for place, item in enumerate(rng.choice(20, size=events, replace=False))
    ]
    items = pl.DataFrame({"item_id": ids, "title": [f"thing {item}" for item in ids]})
    frame = pl.DataFrame(
        rows,
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64},
        orient="row",
    )
    with new_folder(folder, "dataset", command="test") as draft:
        draft.facts["clock"] = "order"
        write_tables(draft, Tables(items.lazy(), frame.lazy()))
    return folder


@pytest.fixture(autouse=True)
def _without_minilm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instructrec.retrieval.encoder.find_encoder", lambda *_: None)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_dataset(tmp_path_factory.mktemp("shop") / "dataset")


def test_the_kinds_that_were_named_are_fitted_on_training_rows(dataset, tmp_path, capsys):
    out = tmp_path / "found"
    line = ["retrievers", "fit", str(dataset), "--kinds", "sequential, popularity", *QUICK]
    assert run([*line, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kinds"] == ["popularity", "sequential"]
    assert told["sequential"]["validations"]
    assert read_manifest(out)["protocol"] == "leave-one-out"
    catalogue = Dataset(dataset).catalogue
    assert list(load_retrievers(out, catalogue)) == ["popularity", "sequential"]
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json",
        "popularity",
        "sequential",
    ]
    assert run([*line, "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_for_serving_all_rows_are_learnt_and_nothing_is_chosen(dataset, tmp_path, capsys):
    out = tmp_path / "found"
    assert run(["retrievers", "fit", str(dataset), "--serving", *QUICK, "--out", str(out)]) == 0
    assert "no dense retriever: minilm is not on this machine" in capsys.readouterr().err
    assert read_manifest(out)["serving"] is True
    assert read_json(out / "sequential" / "sequential.json")["validations"] == []


def test_a_fit_that_was_stopped_goes_on_to_the_same_bytes(dataset, tmp_path, capsys, monkeypatch):
    line = ["retrievers", "fit", str(dataset), "--kinds", "sequential", "--set", "dimensions=8"]
    line += ["--set", "batch=8", "--set", "patience=9", "--epochs", "3", "--out"]
    assert run([*line, str(tmp_path / "whole")]) == 0
    update, done = Updater.update, []

    def stopped(self, pieces, step, rate):
        if len(done) == 9:
            raise KeyboardInterrupt
        done.append(step)
        return update(self, pieces, step, rate)

    monkeypatch.setattr(Updater, "update", stopped)
    out = tmp_path / "found"
    assert run([*line, str(out)]) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    assert not out.exists()
    done.append(-1)
    assert run([*line, str(out)]) == 0
    assert len(done) < 12 + 9
    for name in ("sequential.safetensors", "sequential.json", "items.parquet"):
        one, two = (folder / "sequential" / name for folder in (tmp_path / "whole", out))
        assert one.read_bytes() == two.read_bytes()


def test_a_refit_learns_validation_rows_too_and_stops_where_the_first_was_best(
    dataset, tmp_path, capsys
):
    first, again = tmp_path / "first", tmp_path / "again"
    line = ["retrievers", "fit", str(dataset), "--kinds", "sequential,popularity", *QUICK]
    assert run([*line, "--out", str(first)]) == 0
    assert run([*line, "--refit", str(first), "--out", str(again)]) == 0
    assert read_manifest(again)["refit"] is True
    shop = Dataset(dataset)
    counts = load_retrievers(again, shop.catalogue)["popularity"].counts
    split = shop.split("leave-one-out")
    assert counts.tolist() == split.before_test().counts(20).tolist()
    assert len(split.before_test().rows) == len(split.train().rows) + 30
    assert read_json(again / "sequential" / "sequential.json")["validations"] == []
    capsys.readouterr()
    assert run([*line, "--refit", str(dataset), "--out", str(tmp_path / "x")]) == 2
    assert "holds a dataset, not a retrievers" in capsys.readouterr().err


@pytest.fixture(scope="module")
def first(dataset, tmp_path_factory) -> Path:
    """Retrievers that were fitted on training rows."""
    out = tmp_path_factory.mktemp("first") / "found"
    users = out.with_name("users.txt")
    users.write_text("u03\nu04\n")
    line = ["retrievers", "fit", str(dataset), "--kinds", "sequential,popularity", *QUICK]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("instructrec.retrieval.encoder.find_encoder", lambda *_: None)
        line += ["--seed", "3", "--set", "validations=2", "--held-out-users", str(users)]
        assert run([*line, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("serving", [False, True])
def test_a_refit_takes_everything_over_from_the_fit_it_comes_after(
    dataset, first, tmp_path, serving
):
    out = tmp_path / "again"
    line = ["retrievers", "fit", str(dataset), "--refit", str(first), "--seed", "3"]
    assert run([*line, *(["--serving"] if serving else []), "--out", str(out)]) == 0
    before, after = read_manifest(first), read_manifest(out)
    for name in ("sequential", "encoder", "held_out"):
        assert after["settings"][name] == before["settings"][name]
    assert after["settings"]["held_out"]["users"] == 2
    assert after["retrievers"] == before["retrievers"] == ["popularity", "sequential"]
    assert after["inputs"]["retrievers"] == sha256(first / MANIFEST)
    assert (after.get("refit"), after.get("serving")) == ((None, True) if serving else (True, None))
    about, known = (read_json(f / "sequential" / "sequential.json") for f in (out, first))
    assert about["plan"]["stop"] / about["plan"]["steps"] == pytest.approx(
        known["best_step"] / known["plan"]["steps"], abs=1 / about["plan"]["steps"]
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--kinds", "popularity"], "was not made with the kinds"),
        (["--epochs", "2"], "was not made with the epochs"),
        (["--set", "dimensions=16"], "was not made with the dimensions"),
        (["--encoder", "somewhere"], "was not made with the encoder"),
        (["--tower", "steps=3"], "was not made with the tower settings"),
        (["--corpus", "somewhere"], "was not made with the corpus"),
        (["--protocol", "items"], "was made under leave-one-out"),
    ],
)
def test_a_flag_that_contradicts_a_refit_is_refused(dataset, first, tmp_path, capsys, more, told):
    line = ["retrievers", "fit", str(dataset), "--refit", str(first), *more]
    assert run([*line, "--out", str(tmp_path / "again")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("more", [["--serving"], ["--refit"]])
def test_what_learnt_from_more_than_training_rows_is_no_source(
    dataset, first, tmp_path, capsys, more
):
    more = [*more, str(first)] if more == ["--refit"] else more
    line = ["retrievers", "fit", str(dataset), "--kinds", "sequential,popularity"]
    kind = ["retrievers", "fit", str(dataset), *more, "--out", str(tmp_path / "seen")]
    assert run([*kind, *(QUICK if "--serving" in more else [])]) == 0
    assert run([*line, "--refit", str(tmp_path / "seen"), "--out", str(tmp_path / "x")]) == 2
    assert "and has chosen nothing" in capsys.readouterr().err


def test_another_dataset_is_neither_refitted_on_nor_learnt_from_in_words(
    dataset, first, tmp_path, capsys
):
    other = a_dataset(tmp_path / "other", events=6)
    line = ["retrievers", "fit", "--kinds", "popularity", "--out", str(tmp_path / "x")]
    assert run([*line[:2], str(other), "--refit", str(first), *line[4:]]) == 2
    assert "was not made from" in capsys.readouterr().err
    corpus = tmp_path / "corpus"
    with new_folder(corpus, "corpus", command="test", inputs={"dataset": dataset}) as draft:
        draft.facts["protocol"] = "items"
    assert run([*line, str(other), "--corpus", str(corpus)]) == 2
    assert "was not made from" in capsys.readouterr().err
    assert run([*line, str(dataset), "--corpus", str(corpus)]) == 2
    assert "was made under items" in capsys.readouterr().err
    assert run([*line, str(dataset), "--corpus", str(corpus), "--protocol", "items"]) == 0


def test_a_stopped_refit_does_not_go_on_after_another_fit(dataset, first, tmp_path, monkeypatch):
    another = tmp_path / "another"
    line = ["retrievers", "fit", str(dataset), "--kinds", "sequential", *QUICK]
    assert run([*line, "--out", str(another)]) == 0
    out, update = tmp_path / "again", Updater.update

    def stopped(self, pieces, step, rate):
        raise KeyboardInterrupt

    monkeypatch.setattr(Updater, "update", stopped)
    line = ["retrievers", "fit", str(dataset), "--out", str(out), "--refit"]
    assert run([*line, str(first)]) == 130
    (part,) = tmp_path.glob(".again.part")
    (part / "left").write_text("by the stopped fit")
    monkeypatch.setattr(Updater, "update", update)
    assert run([*line, str(another)]) == 0
    assert not (out / "left").exists()


def test_held_out_users_are_not_validated_on(dataset, tmp_path, capsys):
    everybody = tmp_path / "users.txt"
    everybody.write_text("\n".join(f"u{user:02}" for user in range(30)))
    line = ["retrievers", "fit", str(dataset), "--kinds", "sequential", *QUICK, "--json"]
    out = ["--held-out-users", str(everybody), "--out", str(tmp_path / "found")]
    assert run([*line, *out]) == 0
    assert json.loads(capsys.readouterr().out)["sequential"]["validations"] == []


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--kinds", "densest"], 2, "'densest' is no kind of retriever. Use popularity"),
        (["--kinds", ","], 2, "--kinds names none"),
        (["--kinds", "tower"], 2, "the tower learns from instructions, and there are none"),
        (["--kinds", "dense"], 1, "Pull it by instructrec models pull minilm"),
        (["--serving", "--protocol", "items"], 2, "--serving learns from all rows"),
        (["--refit", "nowhere"], 2, "there is no folder nowhere"),
        (["--refit", "x", "--held-out-users", "y"], 2, "--refit obeys what was chosen before"),
        (["--protocol", "nope"], 2, "'nope' is not a protocol"),
        (["--epochs", "0"], 2, "--epochs '0'"),
        (["--set", "dimensions"], 2, "has no value"),
        (["--set", "dimension=8"], 2, "--set dimension: there is no such setting"),
        (["--tower", "step=8"], 2, "--tower step: there is no such setting"),
        (["--tower", "steps"], 2, "--tower "),
        (["--budget", "soon"], 2, "'soon' is not a duration"),
        (["--held-out-users", "nowhere.txt"], 2, "there is no file nowhere.txt"),
        (["--corpus", "nowhere"], 2, "there is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(dataset, tmp_path, capsys, more, code, told):
    out = tmp_path / "found"
    assert run(["retrievers", "fit", str(dataset), *more, "--out", str(out)]) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert told.split("'")[0] in error
    assert not out.exists()


def test_a_folder_that_is_no_dataset_and_one_without_rows_are_refused(tmp_path, capsys):
    line = ["--out", str(tmp_path / "found")]
    assert run(["retrievers", "fit", str(tmp_path / "nowhere"), *line]) == 2
    assert "nowhere" in capsys.readouterr().err
    short = a_dataset(tmp_path / "short", events=1)
    assert run(["retrievers", "fit", str(short), "--kinds", "sequential", *line]) == 1
    assert "no order to learn from" in capsys.readouterr().err
