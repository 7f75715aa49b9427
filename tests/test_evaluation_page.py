"""report.html is one safe file with its figures inside, and its numbers can be computed again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructrec import metrics
from instructrec.cli.app import run as run_cli
from instructrec.data.catalogue import Catalogue
from instructrec.data.splits import Protocol
from instructrec.errors import FolderError
from instructrec.evaluation.check import check_report
from instructrec.evaluation.costs import cost_of
from instructrec.evaluation.evaluate import stage_one
from instructrec.evaluation.findings import ANSWERS, EDGES, PARTS, answers, by_group, findings_of
from instructrec.evaluation.measure import (
    Contestant,
    answer,
    compare,
    corrected,
    per_user,
    row_of,
)
from instructrec.evaluation.memory import Clock, Remembering
from instructrec.evaluation.page import Page, to_html
from instructrec.evaluation.report import (
    OURS,
    RETRIEVAL,
    TRAP,
    Cost,
    Finding,
    OrderCheck,
    Report,
    Row,
    Spread,
)
from instructrec.evaluation.trap import trapped
from instructrec.evaluation.trials import CandidateList, Trial
from instructrec.evaluation.writing import Results, write_report
from instructrec.folders import new_folder
from instructrec.instructions.requests import Requests
from instructrec.instructions.schema import Instruction, Preference, Scenario
from instructrec.protocols import Rows, Scores

ALL = frozenset({"history", "words"})
ITEMS, USERS = 60, 40
UNIFORM = CandidateList()
EVIL = "<script>alert('x')</script> & \"so on\""
TABLE = {"scenario": "P1,I0,T3", "protocol": "leave-one-out"}


class ByNumber:
    """Scores items by a number of their own."""

    def __init__(self, seed: int) -> None:
        self.name = f"by-number-{seed}"
        self._worth = np.random.default_rng(seed).random(ITEMS)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        return np.where(candidates < 0, -np.inf, self._worth[candidates]).astype(np.float32)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    items = pl.DataFrame(
        {
            "item_id": [f"i{row:02}" for row in range(ITEMS)],
            "title": [f"{EVIL} {row}" for row in range(ITEMS)],
        }
    )
    return Catalogue(items)


def requests() -> Requests:
    names = [f"u{number:02}" for number in range(USERS)]
    targets = np.random.default_rng(3).integers(0, ITEMS, USERS)
    told = [
        Instruction(Preference(("a",) * (1 + n % 12), ("i00",) * (1 + n % 12)))
        for n in range(USERS)
    ]
    return Requests(
        Scenario.parse("P1,I0,T3"),
        "test",
        told,
        targets,
        [np.zeros(n % 30, np.int64) for n in range(USERS)],
        list(names),
        [f"i{row:02}" for row in targets],
        names,
    )


def sampled(source: CandidateList = UNIFORM) -> Trial:
    asked = requests()
    others = np.argsort(np.random.default_rng(5).random((USERS, ITEMS)), axis=1)
    rows = np.stack([np.r_[t, o[o != t][:9]] for t, o in zip(asked.targets, others, strict=True)])
    return Trial(asked.scenario, Protocol.LEAVE_ONE_OUT, asked, rows, source)


def two_stage() -> Trial:
    """Every second target was found, at place 3 of 5."""
    asked, trial = requests(), sampled()
    rows = trial.candidates[:, :6].copy()
    given = np.tile(np.array([-2.0, 0, -1, -3, -4, -5], np.float32), (USERS, 1))
    rows[::2, 0], given[::2, 0] = -1, -np.inf
    rows[1::2, 5], given[1::2, 5] = -1, -np.inf
    source = CandidateList(first=5, draw="retrieved", retriever="hybrid")
    return Trial(asked.scenario, Protocol.LEAVE_ONE_OUT, asked, rows, source, given=given)


FIELD = [
    Contestant("popularity", "rival", frozenset(), ByNumber(1)),
    Contestant("fused-without-lm", "rival", ALL, ByNumber(2)),
    Contestant(OURS, "ours", ALL, ByNumber(4)),
]


@pytest.fixture(scope="module")
def folder(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report"
    with new_folder(out, "report", command="test") as draft:
        outcomes, differences, told = [], [], []
        for trial in (sampled(), two_stage()):
            found = list(answer(trial, FIELD, catalogue, draft.path / "rows"))
            differences += compare(found, 0)
            outcomes += found
            told += stage_one(trial)
        rng = np.random.default_rng(1)
        for label in (True, False):
            labels = ("judgements", "P1,I0,T0", "leave-one-out", "one of two")
            said = np.clip(rng.normal(0.4 + 0.2 * label, 0.2, USERS), 0, 1)
            keys = [f"u{n}" for n in range(USERS)]
            lines = {"probability": said, "label": np.full(USERS, label)}
            told.append(answers(labels, "instructrec-lm", "", keys, **lines))
        rows = [row_of(outcome, 0) for outcome in outcomes]
        users = pl.concat([per_user(one, np.arange(ITEMS)) for one in outcomes], how="diagonal")
        frame = pl.concat(told)
        report = Report(
            summary="said",
            rows=tuple(rows),
            differences=tuple(corrected(differences)),
            findings=(*findings_of(frame, 0), *by_group(users, rows, 0)),
        )
        write_report(draft, report, Results(users, frame, [cost_of(one) for one in outcomes]))
    return out


class _Reader(HTMLParser):
    """Collects tags, and checks that they are closed in order."""

    VOID = ("meta", "!doctype", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name in ("src", "href") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    return reader


def test_the_page_is_one_file_with_figures_for_light_dark_and_paper(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    reader = read(page)
    assert (
        reader.tags.count("svg") >= 4 and "script" not in reader.tags and "link" not in reader.tags
    )
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert not re.search(r"https?://|url\(|@import", page)
    for phrase in ("sampled ranking", "two stages", "Stage 1", "Calibration", "core-seconds"):
        assert phrase in reader.text, phrase


def test_no_text_of_data_becomes_markup() -> None:
    interval = {"HR@1": (0.1, 0.3)}
    row = Row(
        **TABLE, candidates=EVIL, model=EVIL, kind="ours", reads=(EVIL,), users=3,
        metrics={"HR@1": 0.2}, interval=interval, slug="a",
    )  # fmt: skip
    finding = Finding(
        part="history length", **TABLE, asked=EVIL, model=EVIL, group=EVIL, requests=3,
        metrics={"HR@1": 0.2}, interval=interval,
    )  # fmt: skip
    order = OrderCheck(
        **TABLE, candidates=EVIL, model=EVIL, requests=3, same_first=1, same_order=1,
        kendall=1, places=(1, 2), hits=(0.5, 0.5),
    )  # fmt: skip
    spread = Spread(scenario="P1,I0,T3", used=EVIL, chosen="here", users=3, values={EVIL: 0.1})
    report = Report(
        summary=EVIL,
        rows=(row,),
        findings=(finding, finding.model_copy(update={"group": "other"})),
        orders=(order,),
        templates=(spread,),
        notes=(EVIL,),
    )
    curve = {"validation": [{"step": 1, "HR@1": 0.1}, {"step": 2, "HR@1": 0.2}], "training": []}
    page = to_html(Page(report, [Cost(slug="a", seconds=1, core_seconds=2)], curve))
    reader = read(page)
    assert "script" not in reader.tags and "Learning curve" in reader.text
    assert page.count("&lt;script&gt;") >= 10 and "<script" not in page


def test_a_report_that_was_not_touched_agrees_with_its_run_files(folder: Path) -> None:
    found = check_report(folder)
    assert found.differing == () and found.figures > 300


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("rows", 0, "metrics", "HR@3"), 0.99, "popularity, HR@3"),
        (("rows", 1, "interval", "MRR", 0), 0.0, "MRR end 1"),
        (("differences", 0, "p_holm"), 1e-4, "p_holm"),
        (("differences", 1, "difference"), 0.5, "difference"),
        (("findings", 0, "metrics", "share"), 0.9, "stage 1"),
        (("findings", 1, "metrics", "AUC"), 0.9, "judgements"),
        (("findings", 2, "requests"), 1, "requests"),
    ],
)
def test_a_number_that_was_changed_is_found(
    folder: Path, path: tuple[str | int, ...], value: float, line: str
) -> None:
    kept = (folder / "report.json").read_text()
    changed = json.loads(kept)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (folder / "report.json").write_text(json.dumps(changed))
    try:
        found = check_report(folder)
    finally:
        (folder / "report.json").write_text(kept)
    assert len(found.differing) == 1 and line in found.differing[0]


def test_a_run_file_that_was_changed_is_found_and_ends_the_command_with_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["evaluate", "--check", str(folder)]) == 0
    assert "0 differ" in capsys.readouterr().out
    run = folder / "rows" / Report.load(folder).rows[0].slug / "run.trec"
    kept = run.read_text()
    lines = kept.splitlines()
    first, last = lines[0].split(), lines[9].split()
    first[2], last[2] = last[2], first[2]
    targets = {line.split()[2] for line in (run.parent / "qrels.trec").read_text().splitlines()[:1]}
    assert len(targets) == 1
    lines[0], lines[9] = " ".join(first), " ".join(last)
    swapped = [line.split() for line in lines[:10]]
    (target,) = targets
    middle = next(at for at, line in enumerate(swapped) if line[2] == target)
    other = (middle + 1) % 10
    swapped[middle][2], swapped[other][2] = swapped[other][2], swapped[middle][2]
    run.write_text("\n".join([*(" ".join(line) for line in swapped), *lines[10:]]) + "\n")
    try:
        assert run_cli(["evaluate", "--check", str(folder), "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
    finally:
        run.write_text(kept)
    assert len(told["differing"]) == 1 and "run.trec" in told["differing"][0]


def test_a_report_without_answers_is_of_an_earlier_version(tmp_path: Path) -> None:
    with new_folder(tmp_path / "old", "report", command="test") as draft:
        (draft.path / "report.json").write_text('{"summary": "", "rows": []}')
    with pytest.raises(FolderError, match="earlier version"):
        check_report(tmp_path / "old")


def test_two_stages_count_nothing_where_the_target_was_not_found(catalogue: Catalogue) -> None:
    trial = two_stage()
    first, *rest = answer(trial, FIELD, catalogue)
    assert first.contestant.name == RETRIEVAL
    assert first.ranks[::2].tolist() == [metrics.NOWHERE] * 20
    assert first.ranks[1::2].tolist() == [3] * 20
    assert row_of(first, 0).metrics["HR@5"] == 0.5 and row_of(first, 0).ranking == "two-stage"
    assert all((one.ranks[::2] == metrics.NOWHERE).all() for one in rest)
    (told,) = stage_one(trial)
    (found,) = findings_of(told, 0)
    assert found.metrics == {"share": 0.5} and found.requests == USERS
    gaps = {(gap.model, gap.other): gap for gap in compare([first, *rest], 0)}
    assert gaps[OURS, RETRIEVAL].metric == "NDCG@10"


def test_a_mix_fitted_on_lists_put_together_is_a_trap_and_never_a_rival(
    catalogue: Catalogue,
) -> None:
    trial = sampled(CandidateList(draw="hard", retriever="lexical"))
    pieces = {"a": ByNumber(1), "b": ByNumber(2)}
    assert trapped(sampled(), pieces) == []
    (trap,) = trapped(trial, pieces)
    outcomes = list(answer(trial, [*FIELD, trap], catalogue))
    assert row_of(outcomes[-1], 0).kind == "trap" and outcomes[-1].contestant.name == TRAP
    assert not any(gap.best_rival for gap in compare(outcomes, 0) if gap.other == TRAP)


def test_groups_share_out_all_requests_and_their_means(catalogue: Catalogue) -> None:
    (outcome,) = answer(sampled(), FIELD[2:], catalogue)
    row = row_of(outcome, 0)
    popularity = np.arange(ITEMS) % 7
    found = list(by_group(per_user(outcome, popularity), [row], 0))
    for part in EDGES:
        own = [one for one in found if one.part == part]
        total = sum(one.requests * one.metrics["MRR"] for one in own)
        if part != "activity":
            assert sum(one.requests for one in own) == USERS
            assert total == pytest.approx(USERS * row.metrics["MRR"])
    cold = [one for one in found if one.group == "0 (cold)"]
    assert sum(one.requests for one in cold) == int(
        (popularity[outcome.trial.requests.targets] == 0).sum()
    )


def test_judgements_are_drawn_again_by_request_not_by_line() -> None:
    keys = [f"u{number}" for number in range(30)]
    labels = ("judgements", "P1,I0,T0", "leave-one-out", "")
    parts = [
        answers(labels, "m", "", keys, probability=np.full(30, said), label=np.full(30, right))
        for said, right in ((0.8, True), (0.3, False))
    ]
    (found,) = findings_of(pl.concat(parts), 0)
    assert found.requests == 30 and found.metrics["AUC"] == 1
    assert found.metrics["Brier"] == pytest.approx((0.04 + 0.09) / 2)
    assert found.interval["Yes"] == pytest.approx((0.55, 0.55))
    assert set(ANSWERS) == set(parts[0].columns) and found.part in PARTS


def test_what_is_remembered_costs_what_it_cost_to_compute(catalogue: Catalogue) -> None:
    class Slow(ByNumber):
        def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
            total = 0.0
            for _ in range(300_000):
                total += 1.0
            return super().score(instructions, candidates)

    clock = Clock()
    slow = Remembering(Slow(1), clock)
    field = [Contestant(name, "ours", ALL, slow) for name in ("instructrec-lm", OURS)]
    first, second = (cost_of(one) for one in answer(sampled(), field, catalogue, clock=clock))
    assert 0.5 < second.core_seconds / first.core_seconds < 1.5
