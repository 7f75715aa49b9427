"""A run is measured beside its rivals, a model alone; whatever saw test rows is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructrec.backbones import create, train_tokenizer
from instructrec.cli.app import run as run_cli
from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.evaluation import CandidateList, Report, evaluate_model, evaluate_run
from instructrec.evaluation.baselines import Material
from instructrec.evaluation.check import check_report
from instructrec.evaluation.evaluate import World, gather
from instructrec.evaluation.findings import findings_of
from instructrec.evaluation.measure import Contestant
from instructrec.evaluation.plan import Plan
from instructrec.evaluation.probes import probe
from instructrec.folders import new_folder, read_manifest, sha256, write_json
from instructrec.instructions.annotations import ANNOTATION_SCHEMA
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.schema import Scenario
from instructrec.instructions.templating import TemplateBank
from instructrec.ranking.fusion import Piece, fusion_content
from instructrec.ranking.scoring import TRIED, ScoringConfig
from instructrec.retrieval.neighbours import ItemNeighbours
from instructrec.retrieval.popularity import Popularity
from instructrec.retrieval.sequential import Sequential
from instructrec.retrieval.settings import SequentialConfig

DAY = 86_400_000
HISTORY = Scenario.parse("P1,I0,T3")
SEARCH = Scenario.parse("P0,I2,T3")
KINDS = ("Racing", "Garden", "Puzzle")


@pytest.fixture(autouse=True)
def _without_minilm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows on every machine, whether the encoder has been pulled or not."""
    monkeypatch.setattr("instructrec.evaluation.baselines.minilm.find_encoder", lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 users and 30 items whose tiny model was never tuned."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(5)
    ids = [f"i{item:02}" for item in range(30)]
    events = [
        (f"u{user:02}", ids[item], DAY * (10 * place + user))
        for user in range(40)
        for place, item in enumerate(rng.choice(30, size=5, replace=False))
    ]
    items = pl.DataFrame(
        {
            "item_id": ids,
            "title": [f"{KINDS[item % 3]} thing number {item}" for item in range(30)],
            "categories": [[KINDS[item % 3]] for item in range(30)],
        }
    )
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    with new_folder(folder / "dataset", "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), frame.lazy()))
    dataset = Dataset(folder / "dataset")
    texts = [
        (None, item, "intention", "specific", None, KINDS[n % 3]) for n, item in enumerate(ids)
    ]
    with new_folder(folder / "corpus", "corpus", command="test") as draft:
        draft.facts["protocol"] = "leave-one-out"
        annotations = pl.DataFrame(texts, schema=ANNOTATION_SCHEMA, orient="row")
        (draft.path / "annotations").mkdir()
        annotations.write_parquet(draft.path / "annotations" / "00000.parquet")
    write_model(folder / "model", dataset, "leave-one-out")
    train = dataset.split(Protocol.LEAVE_ONE_OUT).train()
    with new_folder(folder / "retrievers", "retrievers", command="test") as draft:
        for retriever in (Popularity, ItemNeighbours):
            fitted = retriever.fit(train, dataset.catalogue)
            fitted.save(draft.path / fitted.name)
        small = SequentialConfig(dimensions=8, epochs=1)
        sequential = Sequential.fit(train, dataset.catalogue, config=small)
        sequential.save(draft.path / "sequential")
        draft.facts["protocol"] = "leave-one-out"
    even = {name: Piece(1.0, 1.0) for name in ("lm", "popularity", "neighbours")}
    rest = {name: piece for name, piece in even.items() if name != "lm"}
    known = ("P,I0", "P0,I", "P,I")
    content = fusion_content(dict.fromkeys(known, even), dict.fromkeys(known, rest), {})
    write_json(folder / "fusion.json", content)
    return folder


def write_model(
    folder: Path, dataset: Dataset, protocol: str, templates: dict[str, str] | None = None
) -> None:
    wordings = [template.prompt for template in TemplateBank.load()]
    titles = [f" {title}" for title in dataset.catalogue.titles]
    tokenizer = train_tokenizer([*wordings, *titles], 2_000)
    with new_folder(folder, "model", command="test") as draft:
        create("tiny-causal", tokenizer, seed=1).save(draft.path)
        ScoringConfig(templates=templates or {}).save(draft.path)
        draft.facts |= {"protocol": protocol, "origin": {"made": "tiny-causal", "seed": 1}}


def test_a_model_alone_has_one_row_a_scenario_and_its_template_spread(
    run: Path, tmp_path: Path
) -> None:
    report = evaluate_model(
        run / "model", run / "dataset", [HISTORY], tmp_path / "report", spread_users=4
    )
    assert [(row.model, row.users) for row in report.rows] == [("instructrec-lm", 40)]
    (spread,) = report.templates
    covering = TemplateBank.load().covering(HISTORY, strategy="direct", asks="item")
    assert set(spread.values) == {template.id for template in covering}
    assert spread.chosen == "here" and spread.users == 4
    assert spread.values[spread.used] == max(spread.values.values())
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"`{spread.used}` was used (the best of these)" in text
    assert text.startswith("What the language model adds was not measured")


def test_the_template_a_model_names_is_the_one_it_is_asked_by(run: Path, tmp_path: Path) -> None:
    covering = TemplateBank.load().covering(HISTORY, strategy="direct", asks="item")
    last = max(template.id for template in covering)
    named = {str(HISTORY): last}
    write_model(tmp_path / "model", Dataset(run / "dataset"), "leave-one-out", named)
    report = evaluate_model(
        tmp_path / "model", run / "dataset", [HISTORY], tmp_path / "r", spread_users=3
    )
    assert (report.templates[0].used, report.templates[0].chosen) == (last, "before")


def test_what_tuning_measured_of_the_templates_is_not_measured_again(
    run: Path, tmp_path: Path
) -> None:
    write_model(tmp_path / "model", Dataset(run / "dataset"), "leave-one-out", {str(HISTORY): "A7"})
    figures = {name: {"HR@1": hits, "requests": 9} for name, hits in (("A7", 0.5), ("A8", 0.25))}
    write_json(tmp_path / "model" / TRIED, {str(HISTORY): figures})
    report = evaluate_model(tmp_path / "model", run / "dataset", [HISTORY], tmp_path / "r")
    (spread,) = report.templates
    assert (spread.used, spread.chosen, spread.users) == ("A7", "before", 9)
    assert spread.values == {"A7": 0.5, "A8": 0.25}


def test_texts_a_model_needs_are_written_by_rules_or_taken_from_a_corpus(
    run: Path, tmp_path: Path
) -> None:
    texts = Corpus(run / "corpus").annotations
    for name, given in (("rules", None), ("given", texts)):
        report = evaluate_model(
            run / "model",
            run / "dataset",
            [SEARCH],
            tmp_path / name,
            annotations=given,
            spread_users=0,
        )
        assert report.rows[0].users == 40 and report.templates == ()


def test_a_run_is_measured_beside_every_rival_on_the_same_requests(
    run: Path, tmp_path: Path
) -> None:
    report = evaluate_run(run, [HISTORY, SEARCH], tmp_path / "report", spread_users=4)
    models = {scenario: {row.model for row in rows} for (scenario, *_), rows in report.tables()}
    ours = {"untuned", "fused-without-lm", "instructrec-lm", "instructrec"}
    with_history = {"words", "item-kNN", "sequential"}
    assert models["P1,I0,T3"] >= {"random", "popularity", "bm25"} | with_history | ours
    assert models["P0,I2,T3"] >= {"random", "popularity", "bm25"} | ours
    assert not models["P0,I2,T3"] & with_history
    assert {row.users for row in report.rows} == {40}
    assert {gap.other for gap in report.differences if gap.best_rival} - {"fused-without-lm"}
    assert read_manifest(tmp_path / "report", "report")["protocol"] == "leave-one-out"
    assert Report.load(tmp_path / "report") == report
    assert any("minilm" in note for note in report.notes)


def test_every_task_form_and_way_to_get_candidates_is_measured_and_can_be_checked(
    run: Path, tmp_path: Path
) -> None:
    ways = ("uniform", "popularity-matched", "hard:neighbours", "retrieved:hybrid", "catalogue")
    report = evaluate_run(
        run,
        [Scenario.parse("P1,I0,T0/T1/T2/T3"), SEARCH],
        tmp_path / "report",
        candidates=[CandidateList.parse(way, 5) for way in ways],
        limit=24,
        full_requests=6,
        spread_users=0,
        order_requests=0,
        probe_requests=5,
    )
    rankings = {(row.scenario, row.candidates): row.ranking for row in report.rows}
    assert sorted(set(rankings.values())) == ["full", "sampled", "two-stage"]
    assert rankings["P1,I0,T2", "the whole catalogue without the user's history"] == "full"
    full = [row for row in report.rows if row.ranking == "full"]
    assert {row.users for row in full} == {6} and {row.width for row in full} == {30}
    assert all("HR@10" in row.metrics for row in full)
    traps = [row for row in report.rows if row.kind == "trap"]
    assert {row.candidates for row in traps} == {
        "1 + the first 5 of neighbours, target put in by hand"
    }
    assert any("never take its figure" in note for note in report.notes)
    second = [row for row in report.rows if row.ranking == "two-stage"]
    (recall,) = {
        f.metrics["share"]
        for f in report.findings
        if f.part == "stage 1" and f.scenario == "P1,I0,T3"
    }
    assert max(row.metrics["HR@5"] for row in second if row.scenario == "P1,I0,T3") <= recall
    parts = {(one.part, one.model, one.group) for one in report.findings}
    for model in ("untuned", "instructrec-lm"):
        assert ("judgements", model, "") in parts
        assert ("comparisons", model, "the first of hybrid") in parts
    assert ("comparisons", "item-kNN", "random partner") in parts
    assert ("history", "instructrec", "shuffled") in parts
    assert ("wish", "instructrec-lm", "contradictory") in parts
    assert ("misled", "instructrec-lm", "a wish for it") in parts
    assert {one for one in parts if one[0] == "wording keeps the first"}
    checked = check_report(tmp_path / "report")
    assert checked.differing == () and checked.figures > 1_000


def test_judgements_and_comparisons_need_no_ranking(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["evaluate", str(run / "model"), str(run / "dataset"), "--users", "6"]
    out = tmp_path / "report"
    assert run_cli([*base, "--scenario", "P1,I0,T0/T1", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "AUC" in shown and "random partner" in shown
    report = Report.load(out)
    assert not report.rows and "was not measured" in report.summary
    assert {one.part for one in report.findings} == {"judgements", "comparisons"}
    assert check_report(out).differing == ()


def test_a_model_that_reads_only_wishes_follows_them_and_no_history(run: Path) -> None:
    world = World(Dataset(run / "dataset"), Protocol.LEAVE_ONE_OUT, Corpus(run / "corpus").texts)
    (trial,), _ = gather(world, Plan((Scenario.parse("P1,I2,T3"),)))
    kinds = [title.split()[0] for title in world.dataset.catalogue.titles]

    class Follows:
        name = "follows"

        def score(self, instructions, candidates):  # type: ignore[no-untyped-def]
            told = [
                [float(row >= 0 and kinds[row] in one.intention.text) for row in line]
                for one, line in zip(instructions, candidates.tolist(), strict=True)
            ]
            return np.where(candidates < 0, -np.inf, told).astype(np.float32)

    model = Contestant("instructrec", "ours", frozenset({"history", "words"}), Follows())
    frame = pl.concat(probe(world, trial, [model], 30))
    found = {(one.part, one.group): one.metrics for one in findings_of(frame, 0)}
    own, others = found["history", "as asked"], found["history", "someone else's"]
    assert own == others == found["history", "shuffled"] == found["wish", "as asked"]
    assert found["wish", "someone else's"]["MRR"] < own["MRR"] - 0.05
    assert found["wish", "none"]["HR@1"] == 0
    assert list(probe(world, trial, [model], 0)) == []


def test_evidence_that_is_weighed_but_not_here_is_told(run: Path, tmp_path: Path) -> None:
    whole = evaluate_run(run, [HISTORY], tmp_path / "whole", limit=2, spread_users=0)
    shutil.copytree(run, tmp_path / "run")
    content = json.loads((run / "fusion.json").read_text())
    content["P,I0"] |= {"dense": {"weight": 1.0, "scale": 1.0}}
    content["P,I0"] |= {"similar": {"weight": 0.0, "scale": 1.0}}
    write_json(tmp_path / "run" / "fusion.json", content)
    less = evaluate_run(tmp_path / "run", [HISTORY], tmp_path / "less", limit=2, spread_users=0)
    assert any("go without dense, which" in note for note in less.notes)
    assert not any("go without" in note for note in whole.notes)


def test_a_run_without_a_sequential_model_and_one_fitted_again_are_told(
    run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "run"
    shutil.copytree(run, other)
    shutil.rmtree(other / "retrievers" / "sequential")
    manifest = read_manifest(other / "retrievers")
    write_json(other / "retrievers" / "manifest.json", {**manifest, "refit": True})
    report = evaluate_run(other, [HISTORY], tmp_path / "report", limit=4, spread_users=0)
    assert "sequential" not in {row.model for row in report.rows}
    assert any("row sequential" in note for note in report.notes)
    assert any("fitted again on training and validation rows" in note for note in report.notes)


def test_rivals_of_a_run_that_was_fitted_again_read_what_it_has_read(run: Path) -> None:
    dataset = Dataset(run / "dataset")
    split = dataset.split(Protocol.LEAVE_ONE_OUT)
    material = Material(dataset, Protocol.LEAVE_ONE_OUT, run / "retrievers")
    assert len(material.train.rows) == len(split.train().rows)
    assert len(split.before_test().rows) == len(split.train().rows) + 40


def test_users_and_lists_of_a_file_choose_who_is_asked(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "hard.csv"
    lines = [f"u{user:02},{' '.join(f'i{item:02}' for item in range(12))}" for user in range(12)]
    path.write_text("\n".join(["user_id,candidates", *lines]))
    source = CandidateList(path, first=5, drop_history=True)
    report = evaluate_run(
        run,
        [HISTORY],
        tmp_path / "report",
        candidates=[CandidateList(), source],
        users={"u03", "u04", "u30"},
        spread_users=3,
    )
    sizes = {candidates: rows[0].users for (_, _, candidates), rows in report.tables()}
    assert sizes == {
        "1 + 9 uniform, seed 0": 3,
        "1 + the first 5 in hard.csv, history dropped": 2,
    }
    assert any(
        "nothing of ours was fitted or chosen on such lists" in note for note in report.notes
    )
    looked = "chosen on validation requests of all users"
    assert any(looked in note for note in report.notes)
    first = evaluate_run(run, [HISTORY], tmp_path / "few", limit=7, spread_users=0)
    assert {row.users for row in first.rows} == {7}
    assert not any(looked in note for note in first.notes)


@pytest.mark.parametrize(("model", "retrievers"), [(2, 2), (2, 0), (0, 2)])
def test_choices_of_model_and_of_retrievers_that_looked_at_tested_users_are_told(
    run: Path, tmp_path: Path, model: int, retrievers: int
) -> None:
    for name in ("dataset", "corpus", "model", "retrievers", "fusion.json"):
        copy = shutil.copytree if (run / name).is_dir() else shutil.copyfile
        copy(run / name, tmp_path / name)
    for name, users in (("model", model), ("retrievers", retrievers)):
        manifest = read_manifest(tmp_path / name)
        manifest["settings"]["held_out"] = {"users": users}
        write_json(tmp_path / name / "manifest.json", manifest)
    report = evaluate_run(
        tmp_path, [HISTORY], tmp_path / "report", users={"u03", "u04"}, spread_users=0
    )
    told = any("chosen on validation requests of all users" in note for note in report.notes)
    assert told == (not (model and retrievers))


def test_a_model_of_another_protocol_is_refused(run: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "model", Dataset(run / "dataset"), "items")
    for wanted in ("leave-one-out", "time"):
        with pytest.raises(UsageError, match="was made under items") as refusal:
            evaluate_model(
                tmp_path / "model",
                run / "dataset",
                [HISTORY],
                tmp_path / "report",
                protocol=wanted,
            )
        assert refusal.value.exit_code == 2
    with pytest.raises(UsageError, match="was made under leave-one-out"):
        evaluate_run(run, [HISTORY], tmp_path / "report", protocol="items")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("protocol", ["items", "time"])
def test_the_other_protocols_are_measured_on_targets_of_their_own(
    run: Path, tmp_path: Path, protocol: str
) -> None:
    dataset = Dataset(run / "dataset")
    write_model(tmp_path / "model", dataset, protocol)
    report = evaluate_model(
        tmp_path / "model", run / "dataset", [SEARCH], tmp_path / "report", spread_users=0
    )
    found = pl.read_parquet(tmp_path / "report" / "per_user.parquet")
    split = dataset.split(protocol)
    train = {dataset.catalogue.item_ids[row] for row in split.train().rows}
    assert report.rows[0].protocol == protocol and found.height == report.rows[0].users
    if protocol == "items":
        assert not set(found["item_id"]) & train
        assert found["user_id"].null_count() == found.height == 3
        assert any("no test item occurs" in note for note in report.notes)
    else:
        targets = split.targets("test")
        assert found["user_id"].to_list() == targets.user_ids


def test_what_saw_test_rows_is_never_evaluated(run: Path, tmp_path: Path) -> None:
    serving = tmp_path / "retrievers-serving"
    shutil.copytree(run / "retrievers", serving)
    with pytest.raises(UsageError, match="fitted on all rows"):
        evaluate_run(serving, [HISTORY], tmp_path / "report")
    with pytest.raises(UsageError, match="fitted on all rows"):
        evaluate_model(serving, run / "dataset", [HISTORY], tmp_path / "report")
    disguised = tmp_path / "run"
    shutil.copytree(run, disguised)
    manifest = read_manifest(disguised / "retrievers")
    write_json(disguised / "retrievers" / "manifest.json", {**manifest, "serving": True})
    with pytest.raises(UsageError, match="fitted on all rows"):
        evaluate_run(disguised, [HISTORY], tmp_path / "report")


@pytest.mark.parametrize("name", ["corpus", "model", "retrievers"])
def test_what_was_made_from_another_dataset_is_refused(
    run: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / name / "manifest.json"
    for made_from, refused in ((sha256(run / "dataset" / "manifest.json"), False), ("0", True)):
        manifest = json.loads(path.read_text())
        write_json(path, {**manifest, "inputs": {"dataset": made_from}})
        if refused:
            with pytest.raises(UsageError, match=f"{name} was not made from"):
                evaluate_run(tmp_path / "run", [HISTORY], tmp_path / "refused")
        else:
            evaluate_run(tmp_path / "run", [HISTORY], tmp_path / "r", limit=2, spread_users=0)


def test_a_run_is_asked_with_histories_as_long_as_its_corpus_has_them(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    score = Popularity.score

    def watching(self, instructions, candidates):
        lengths.extend(len(one.preference.history) for one in instructions)
        return score(self, instructions, candidates)

    monkeypatch.setattr(Popularity, "score", watching)
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "corpus" / "manifest.json"
    write_json(path, {**json.loads(path.read_text()), "settings": {"max_history": 3}})
    evaluate_run(tmp_path / "run", [HISTORY], tmp_path / "r", limit=5, spread_users=0)
    assert set(lengths) == {2}
    lengths.clear()
    evaluate_run(
        tmp_path / "run", [HISTORY], tmp_path / "more", limit=5, spread_users=0, max_history=50
    )
    assert max(lengths) > 2


def test_a_folder_that_is_no_run_is_told_apart(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a model, not a run"):
        evaluate_run(run / "model", [HISTORY], tmp_path / "report")
    with pytest.raises(UsageError, match="is no run: it has no dataset/"):
        evaluate_run(tmp_path, [HISTORY], tmp_path / "report")


def test_the_command_prints_a_table_or_json(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [
        *("evaluate", str(run / "model"), str(run / "dataset"), "--scenario", "⟨P1, I0, T3⟩"),
        *("--users", "8", "--spread-users", "0"),
    ]
    assert run_cli([*common, "--out", str(tmp_path / "a"), "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["rows"][0]["users"] == 8 and payload["out"] == str(tmp_path / "a")
    assert run_cli([*common, "--out", str(tmp_path / "b")]) == 0
    shown = capsys.readouterr().out
    assert "instructrec-lm" in shown and "NDCG@5" in shown and "report.md" in shown


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--protocol", "time"], "was made under leave-one-out"),
        (["--protocol", "random"], "is not a protocol"),
        (["--scenario", "P9"], "is not a scenario"),
        (["--strategy", "pop"], "--strategy is about a candidates file"),
        (["--users", "nobody"], "neither a number of users nor a file"),
        (["--candidates", "hard"], "no way to get candidates"),
        (["--candidates", "retrieved:hybrid"], "there is no retriever 'hybrid'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], line: str
) -> None:
    base = ["evaluate", str(run / "model"), str(run / "dataset"), "--out", str(tmp_path / "r")]
    scenario = [] if "--scenario" in more else ["--scenario", "P1,I0,T3"]
    assert run_cli([*base, *scenario, *more]) == 2
    told = capsys.readouterr().err
    assert line in told and len(told.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()
