"""Evaluation asks everybody the same, counts it right, says what it means and refuses leaks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import ir_measures
import numpy as np
import polars as pl
import pytest

from instructrec import metrics
from instructrec.data.catalogue import Catalogue
from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.evaluation.baselines import BASELINES, Material, applies, fit_baselines
from instructrec.evaluation.baselines.minilm import MiniLM
from instructrec.evaluation.baselines.popularity import Popularity
from instructrec.evaluation.baselines.random import Random
from instructrec.evaluation.baselines.sequential import TextSASRec
from instructrec.evaluation.evaluate import (
    World,
    cautions,
    gather,
    measure,
    validation_trial,
)
from instructrec.evaluation.measure import Contestant, answer, compare, row_of
from instructrec.evaluation.memory import Remembering
from instructrec.evaluation.plan import Plan, read_users
from instructrec.evaluation.report import Report
from instructrec.evaluation.trec import settled
from instructrec.evaluation.trials import CandidateList, Trial, make_trial
from instructrec.folders import new_folder, verify
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.schema import Instruction, Scenario
from instructrec.protocols import Rows, Scores
from instructrec.retrieval.popularity import Popularity as Counts

READS_ALL = frozenset({"history", "words"})
NO_TEXTS = Annotations.of(pl.DataFrame(schema=ANNOTATION_SCHEMA))
DAY = 86_400_000
USERS, ITEMS = 60, 80


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """60 users who took 6 of 80 items each, mostly of one of two kinds, the first ones oftener."""
    rng = np.random.default_rng(3)
    events = []
    for user in range(USERS):
        weights = 1.0 / (1 + np.arange(ITEMS)) ** 0.7
        weights[np.arange(ITEMS) % 2 != user % 2] *= 0.1
        taken = rng.choice(ITEMS, size=6, replace=False, p=weights / weights.sum())
        events += [(f"u{user:02}", f"i{item:02}", DAY * (n + user)) for n, item in enumerate(taken)]
    names = [f"{('Racing', 'Garden')[item % 2]} thing {item}" for item in range(ITEMS)]
    items = pl.DataFrame(
        {
            "item_id": [f"i{item:02}" for item in range(ITEMS)],
            "title": names,
            "categories": [[("Racing", "Garden")[item % 2]] for item in range(ITEMS)],
        }
    )
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    folder = tmp_path_factory.mktemp("world") / "dataset"
    with new_folder(folder, "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), frame.lazy()))
    return Dataset(folder)


@pytest.fixture(scope="module")
def texts(dataset: Dataset) -> Annotations:
    """What everybody wants, said by the kind of the target."""
    rows = [
        (None, item_id, "intention", "specific", None, kind)
        for item_id, (kind,) in dataset.catalogue.items.select("item_id", "categories").rows()
    ]
    return Annotations.of(pl.DataFrame(rows, schema=ANNOTATION_SCHEMA, orient="row"))


class Oracle:
    """Puts the target first for a share of the requests, and last for the others."""

    def __init__(self, share: float, name: str = "lm") -> None:
        self.name = name
        self.share = share
        self.asked = 0

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        self.asked += len(instructions)
        places = np.arange(len(candidates)) < self.share * len(candidates)
        scores = np.tile(np.arange(candidates.shape[1], 0.0, -1), (len(candidates), 1))
        scores[~places, 0] = -1
        return np.where(candidates < 0, -np.inf, scores).astype(np.float32)


def rivals(dataset: Dataset) -> list[Contestant]:
    """All that need neither a pretrained model nor what a run has trained."""
    material = Material(dataset, Protocol.LEAVE_ONE_OUT)
    here = [kind for kind in BASELINES if kind not in (MiniLM, TextSASRec)]
    found = [kind.fit(material) for kind in here]
    return [Contestant(rival.name, "rival", rival.reads, rival) for rival in found]


def make(dataset: Dataset, scenario: str, texts: Annotations = NO_TEXTS, **more: object) -> Trial:
    return make_trial(
        dataset,
        Protocol.LEAVE_ONE_OUT,
        Scenario.parse(scenario),
        texts,
        CandidateList(),
        **more,  # type: ignore[arg-type]
    )


def test_a_trial_has_the_target_first_and_nothing_the_user_had(dataset: Dataset) -> None:
    trial = make(dataset, "P1,I0,T3")
    assert trial.candidates.shape == (USERS, 10)
    assert np.array_equal(trial.candidates[:, 0], trial.requests.targets)
    for line, seen in zip(trial.candidates, trial.requests.seen, strict=True):
        assert len(set(line.tolist())) == 10
        assert not set(line.tolist()) & set(seen.tolist())


def test_a_user_meets_the_same_candidates_in_every_scenario_and_subset(
    dataset: Dataset, texts: Annotations
) -> None:
    everybody = make(dataset, "P1,I0,T3")
    search = make(dataset, "P0,I2,T3", texts)
    few = make(dataset, "P1,I0,T3", users={"u07", "u31"})
    assert np.array_equal(everybody.candidates, search.candidates)
    assert np.array_equal(everybody.candidates[[7, 31]], few.candidates)
    assert not np.array_equal(everybody.candidates, make(dataset, "P1,I0,T3", seed=1).candidates)


def test_lists_of_a_file_limit_the_users_to_those_in_it(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("user_id,candidates\nu03,i01 i02 i03 i04\nu05,i05 i06 i07 i08\nno,i01\n")
    source = CandidateList(path, first=3)
    trial = make_trial(
        dataset, Protocol.LEAVE_ONE_OUT, Scenario.parse("P1,I0,T3"), NO_TEXTS, source
    )
    assert trial.requests.user_ids == ["u03", "u05"]
    assert trial.candidates.shape == (2, 4)


def test_lists_that_are_short_or_name_strange_items_are_told(
    dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("user_id,candidates\nu03,i01 i02 i03 i04\nu05,i05 strange\n")
    plan = Plan((Scenario.parse("P1,I0,T3"),), (CandidateList(path, first=3),))
    trials, _ = gather(World(dataset, Protocol.LEAVE_ONE_OUT, NO_TEXTS), plan)
    told = "\n".join(cautions(trials))
    assert "1 candidates are not in the catalogue" in told
    assert "1 of 2 requests have fewer than 3 candidates" in told
    assert "fewer than" not in "\n".join(cautions([make(dataset, "P1,I0,T3")]))


def test_rows_of_different_lists_never_share_a_folder() -> None:
    path = Path("lists.csv")
    sources = (
        CandidateList(),
        CandidateList(first=99),
        CandidateList(path),
        CandidateList(path, "hard"),
        CandidateList(path, first=5),
        CandidateList(path, drop_history=True),
    )
    assert len({source.name for source in sources}) == len(sources)
    assert CandidateList().name == "uniform" and CandidateList(path, "hard").name == "lists-hard"
    scenarios = (Scenario.parse("P1,I0,T3"),)
    Plan(scenarios, sources)
    with pytest.raises(UsageError, match="both be called lists in the report"):
        Plan(scenarios, (CandidateList(path), CandidateList(Path("other/lists.parquet"))))


def test_a_history_is_as_long_as_it_was_in_the_corpus(dataset: Dataset) -> None:
    plan = Plan((Scenario.parse("P1,I0,T3"),))
    for most in (3, 20):
        world = World(dataset, Protocol.LEAVE_ONE_OUT, NO_TEXTS, most)
        (trial,), _ = gather(world, plan)
        longest = max(len(one.preference.history) for one in trial.requests.instructions)
        assert longest == min(most - 1, 5)
        asked = validation_trial(world, plan, Scenario.parse("P1,I0,T3"))
        assert asked is not None
        longest = max(len(one.preference.history) for one in asked.requests.instructions)
        assert longest == min(most - 1, 4)


def test_only_reranking_is_measured(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="write T3"):
        make(dataset, "P1,I0,T2")


def test_a_rival_takes_part_where_it_has_something_to_read() -> None:
    reads = {kind.__name__: kind.reads for kind in BASELINES}
    knows = {
        scenario: {name for name, what in reads.items() if applies(what, Scenario.parse(scenario))}
        for scenario in ("P1,I0,T3", "P0,I2,T3", "P2,I0,T3", "P1,I1,T3")
    }
    assert "ItemKNN" in knows["P1,I0,T3"] and "ItemKNN" in knows["P1,I1,T3"]
    assert "ItemKNN" not in knows["P0,I2,T3"] and "SharedWords" not in knows["P2,I0,T3"]
    assert {"Random", "Popularity"} <= knows["P0,I2,T3"] & knows["P1,I0,T3"]


class _Kinds:
    """An encoder that knows two words."""

    name, identity, dimensions, latin_only = "kinds", "kinds-1", 2, True

    def encode(self, texts: Sequence[str], *_: object, **__: object) -> np.ndarray:
        found = [["racing" in text.casefold(), "garden" in text.casefold()] for text in texts]
        return np.array(found, dtype=np.float32).reshape(len(texts), 2)


def test_minilm_reads_the_wish_and_the_history_or_is_left_out_with_a_note(
    dataset: Dataset, texts: Annotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "instructrec.evaluation.baselines.minilm.find_encoder"
    monkeypatch.setattr(module, _Kinds)
    material = Material(dataset, Protocol.LEAVE_ONE_OUT)
    rival = MiniLM.fit(material)
    search = make(dataset, "P0,I2,T3", texts)
    scores = rival.score(search.requests.instructions, search.candidates)
    same_kind = search.candidates % 2 == search.candidates[:, :1] % 2
    assert np.array_equal(scores, same_kind.astype(np.float32))
    history = make(dataset, "P1,I0,T3")
    assert rival.score(history.requests.instructions, history.candidates).max() > 0
    monkeypatch.setattr(module, lambda: None)
    fitted, notes = fit_baselines(material)
    assert "minilm" not in {rival.name for rival in fitted}
    assert notes[0] == (
        "The row minilm is left out: minilm is not on this machine. "
        "Pull it by instructrec models pull minilm"
    )
    assert len(notes) == 2 and "The row sequential" in notes[1]


def test_what_cannot_be_asked_is_left_out_with_a_note_unless_it_is_all(dataset: Dataset) -> None:
    world = World(dataset, Protocol.LEAVE_ONE_OUT, NO_TEXTS)
    trials, notes = gather(world, Plan((Scenario.parse("P1,I0/I1,T3"),)))
    assert [str(trial.scenario) for trial in trials] == ["P1,I0,T3"]
    assert len(notes) == 1 and "I1 needs reviews" in notes[0]
    with pytest.raises(UsageError, match="I1 needs reviews"):
        gather(world, Plan((Scenario.parse("P1,I1,T3"),)))


def test_no_choice_looks_at_users_that_are_tested(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("user_id,candidates\n" + "".join(f"u{n:02},i01 i02\n" for n in range(40)))
    plan = Plan((Scenario.parse("P1,I0,T3"),), (CandidateList(path, first=1),))
    world = World(dataset, Protocol.LEAVE_ONE_OUT, NO_TEXTS)
    trial = validation_trial(world, plan, Scenario.parse("P1,I0,T3"))
    assert trial is not None and trial.requests.split == "validation"
    assert trial.requests.user_ids == [f"u{n:02}" for n in range(40, 60)]
    assert trial.candidates.shape[1] == 10


def test_random_comes_out_at_chance_and_a_perfect_model_at_one(dataset: Dataset) -> None:
    trial = make(dataset, "P1,I0,T3")
    field = [
        Contestant("random", "rival", frozenset(), Random(0)),
        Contestant("perfect", "ours", READS_ALL, Oracle(1.0)),
        Contestant("worst", "ours", READS_ALL, Oracle(0.0)),
    ]
    chance, perfect, worst = (
        row_of(outcome, 0) for outcome in answer(trial, field, dataset.catalogue)
    )
    assert set(perfect.metrics.values()) == {1.0} and perfect.interval["HR@1"] == (1.0, 1.0)
    assert worst.metrics["HR@5"] == 0 and worst.metrics["MRR"] == pytest.approx(0.1)
    assert abs(chance.metrics["HR@5"] - 0.5) < 4 * (0.25 / USERS) ** 0.5


def test_empty_places_never_count_and_a_target_without_score_is_last() -> None:
    nan, low = float("nan"), float("-inf")
    candidates = np.array([[3, 1, -1], [3, 1, -1], [3, 1, 2], [3, -1, -1]])
    scores = np.array([[1, 2, low], [nan, 0, low], [low, low, low], [low, low, low]], np.float32)
    assert metrics.ranks(settled(scores, candidates)).tolist() == [2, 2, 3, 1]


def test_a_shared_piece_is_computed_once(dataset: Dataset) -> None:
    trial = make(dataset, "P1,I0,T3")
    dear = Oracle(0.5)
    memory = Remembering(dear)
    instructions, candidates = trial.requests.instructions, trial.candidates
    whole = memory.score(instructions, candidates)
    assert np.array_equal(memory.score(instructions[5:9], candidates[5:9]), whole[5:9])
    assert dear.asked == USERS
    memory.score(instructions[:2], candidates[:2, :5])
    assert dear.asked == USERS + 2
    memory.forget()
    memory.score(instructions[:1], candidates[:1])
    assert dear.asked == USERS + 3


@pytest.fixture(scope="module")
def report_folder(dataset: Dataset, texts: Annotations, tmp_path_factory) -> Path:
    """A report on three scenarios in which the language model adds nothing in one."""
    world = World(dataset, Protocol.LEAVE_ONE_OUT, texts)
    plan = Plan((Scenario.parse("P1,I0,T3"), Scenario.parse("P0/P1,I2,T3")))
    trials, notes = gather(world, plan)
    field = [
        *rivals(dataset),
        Contestant("fused-without-lm", "rival", frozenset({"history"}), Oracle(0.6)),
        Contestant("instructrec-lm", "ours", READS_ALL, Oracle(0.5)),
        Contestant("instructrec", "ours", READS_ALL, Oracle(0.6)),
    ]
    out = tmp_path_factory.mktemp("report") / "report"
    with new_folder(out, "report", command="test", settings=plan.settings()) as draft:
        measure(draft, world, trials, field, notes=notes)
    return out


ORACLES = {
    "HR@1": "Success@1",
    "HR@3": "Success@3",
    "HR@5": "Success@5",
    "NDCG@3": "nDCG@3",
    "NDCG@5": "nDCG@5",
    "MRR": "RR",
}


def test_anybodys_tool_finds_our_figures_in_the_trec_files(report_folder: Path) -> None:
    report = Report.load(report_folder)
    assert len({row.slug for row in report.rows}) == len(report.rows) >= 15
    for row in report.rows:
        folder = report_folder / "rows" / row.slug
        qrels = list(ir_measures.read_trec_qrels(str(folder / "qrels.trec")))
        run = list(ir_measures.read_trec_run(str(folder / "run.trec")))
        assert len(qrels) == row.users and len(run) == 10 * row.users
        measures = [ir_measures.parse_measure(name) for name in ORACLES.values()]
        theirs = ir_measures.calc_aggregate(measures, qrels, run)
        for name, measure_ in zip(ORACLES, measures, strict=True):
            assert row.metrics[name] == pytest.approx(theirs[measure_], abs=1e-9), row.slug


def test_per_user_results_give_the_means_of_the_report(report_folder: Path) -> None:
    report = Report.load(report_folder)
    frame = pl.read_parquet(report_folder / "per_user.parquet")
    means = frame.group_by("scenario", "model").agg(pl.col(metrics.METRICS).mean(), pl.len())
    for row in report.rows:
        found = means.row(
            by_predicate=(pl.col("scenario") == row.scenario) & (pl.col("model") == row.model),
            named=True,
        )
        assert found["len"] == row.users
        for name in metrics.METRICS:
            assert found[name] == pytest.approx(row.metrics[name])
            low, high = row.interval[name]
            assert low <= row.metrics[name] <= high


def test_report_json_has_what_others_read_by(report_folder: Path) -> None:
    content = json.loads((report_folder / "report.json").read_text())
    row = content["rows"][0]
    assert {"scenario", "protocol", "model", "users", "metrics", "interval"} <= set(row)
    assert row["protocol"] == "leave-one-out" and row["candidates"] == "1 + 9 uniform, seed 0"
    assert len(row["interval"]["HR@1"]) == 2
    assert Report.load(report_folder).model_dump(mode="json") == content
    verify(report_folder)


def test_the_first_line_says_where_the_language_model_adds_nothing(report_folder: Path) -> None:
    text = (report_folder / "report.md").read_text()
    first = text.splitlines()[0]
    assert first.startswith("The language model adds nothing in ⟨P1,I0,T3⟩")
    assert "⟨P1,I2,T3⟩" in first and "adds to all other evidence" not in first


def test_the_first_line_praises_the_language_model_only_where_it_is_better(
    dataset: Dataset,
) -> None:
    from instructrec.evaluation.report import summarise

    trial = make(dataset, "P1,I0,T3")
    field = [
        Contestant("fused-without-lm", "rival", READS_ALL, Oracle(0.4)),
        Contestant("popularity", "rival", frozenset(), Oracle(0.5)),
        Contestant("instructrec", "ours", READS_ALL, Oracle(0.8)),
    ]
    gaps = compare(list(answer(trial, field, dataset.catalogue)), 0)
    assert {(gap.other, gap.best_rival) for gap in gaps} == {
        ("fused-without-lm", False),
        ("popularity", True),
    }
    assert summarise(gaps, []).startswith("The language model adds to all other evidence in ⟨P1")
    assert "was not measured" in summarise([], [])


def test_the_report_reads_as_a_page_with_its_cautions_and_figures(report_folder: Path) -> None:
    text = (report_folder / "report.md").read_text()
    for phrase in (
        "| **instructrec** | history |",
        "instructrec − fused-without-lm",
        "(best rival)",
        "I2 from its categories",
        "were seen in training",
        "sampled",
    ):
        assert phrase in text
    figures = sorted(path.name for path in (report_folder / "figures").iterdir())
    assert len(figures) == 3
    for name in figures:
        assert f"(figures/{name})" in text
        assert (report_folder / "figures" / name).read_bytes().startswith(b"\x89PNG")


def test_a_report_has_the_same_bytes_again_but_for_its_times(
    dataset: Dataset, report_folder: Path, texts: Annotations, tmp_path: Path
) -> None:
    world = World(dataset, Protocol.LEAVE_ONE_OUT, texts)
    trials, _ = gather(world, Plan((Scenario.parse("P1,I0,T3"),)))
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        with new_folder(folder, "report", command="test") as draft:
            measure(draft, world, trials, rivals(dataset))
    first, second = (json.loads((folder / "manifest.json").read_text()) for folder in folders)
    # Only the page shows times, which are never the same again.
    for one in (first, second):
        del one["files"]["report.html"]
    assert first["files"] == second["files"]
    assert first["protocol"] == "leave-one-out"


def test_users_are_a_number_or_a_file(tmp_path: Path) -> None:
    assert read_users(None) == (None, None)
    assert read_users("250") == (None, 250)
    (tmp_path / "plain").write_text("u1\n\n u2 \n")
    assert read_users(str(tmp_path / "plain")) == (frozenset({"u1", "u2"}), None)
    (tmp_path / "table.csv").write_text("user_id,x\n7,1\n8,2\n")
    assert read_users(str(tmp_path / "table.csv")) == (frozenset({"7", "8"}), None)
    for empty, content in (("none", "\n \n"), ("none.csv", "user_id,x\n")):
        (tmp_path / empty).write_text(content)
        with pytest.raises(UsageError, match=f"{empty} names no user"):
            read_users(str(tmp_path / empty))
    for wrong in ("0", "-3", "many", str(tmp_path / "absent.csv")):
        with pytest.raises(UsageError, match="neither a number"):
            read_users(wrong)


@pytest.mark.shared
def test_the_protocol_gives_the_known_figures_on_the_papers_games(
    shared_data: Path, tmp_path: Path
) -> None:
    games = shared_data / "amazon-games"
    events = pl.scan_parquet(games / "interactions.parquet").rename({"position": "timestamp"})
    events = events.with_columns(pl.col("timestamp").cast(pl.Int64))
    items = pl.scan_parquet(games / "items.parquet")
    with new_folder(tmp_path / "games", "dataset", command="test") as draft:
        write_tables(draft, Tables(items, events, clock="order"))
    dataset = Dataset(tmp_path / "games")
    source = CandidateList(games / "candidates.parquet", "random")
    scenario = Scenario.parse("P1,I0,T3")
    trial = make_trial(dataset, Protocol.LEAVE_ONE_OUT, scenario, NO_TEXTS, source)
    assert len(trial.requests) == 6_000
    field = [
        *rivals(dataset),
        Contestant("known", "rival", frozenset(), _popularity_before_test(dataset)),
    ]
    found = {
        outcome.contestant.name: metrics.means(metrics.per_request(outcome.ranks))
        for outcome in answer(trial, field, dataset.catalogue)
    }
    # docs/paper.md §7 counts all before the test item in the last 50 of each user.
    expected = {"HR@1": 0.4032, "HR@3": 0.6893, "HR@5": 0.8187, "NDCG@3": 0.5702, "NDCG@5": 0.6238}
    for name, value in expected.items():
        assert found["known"][name] == pytest.approx(value, abs=1e-4)
    assert found["random"]["HR@1"] == pytest.approx(0.1, abs=0.015)
    assert found["words"]["HR@1"] == pytest.approx(0.4373, abs=0.01)
    assert found["item-kNN"]["HR@1"] == pytest.approx(0.5580, abs=0.01)
    # Training rows alone, which is what the rivals of a run are fitted on.
    assert found["popularity"]["HR@1"] == pytest.approx(0.3837, abs=1e-4)


def _popularity_before_test(dataset: Dataset) -> Popularity:
    events = dataset.split(Protocol.LEAVE_ONE_OUT).events
    recent = pl.len().over("user_id") - pl.int_range(pl.len()).over("user_id") <= 50
    before = events.filter(recent & (pl.col("split") != "test"))
    catalogue: Catalogue = dataset.catalogue
    return Popularity(Counts.fit(Sequences.of(before, catalogue), catalogue))
