"""A corpus is the same however it is cut, wherever it is made and however often it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shop_world import ITEMS, USERS, Echo

from instructrec import folders
from instructrec.data.dataset import Dataset, Span
from instructrec.errors import DataError, FolderError
from instructrec.folders import MANIFEST, sha256
from instructrec.instructions import annotate, partitions
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.diversify import DiversityRates
from instructrec.instructions.executors import Executor, InProcess, OnRay, Processes
from instructrec.instructions.partitions import Counts, Partition, Task, cut, make_partition
from instructrec.instructions.teachers.base import Ask, Written
from instructrec.instructions.teachers.rules import RulesTeacher

CONFIG = CorpusConfig(part=15, scenarios=("P1/P2,I0/I1/I2,T3", "P0,I2,T3"))


@pytest.fixture(scope="module")
def undisturbed(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    out = tmp_path_factory.mktemp("one") / "corpus"
    return build_corpus(dataset, RulesTeacher(), out, CONFIG)


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_every_user_query_and_item_is_in_one_partition(dataset: Dataset, size: int) -> None:
    parts = cut(dataset, size)
    assert [part.number for part in parts] == list(range(len(parts)))
    ids = {
        "users": [f"u{number:02}" for number in range(USERS)],
        "queries": [f"q{number:02}" for number in range(ITEMS)],
        "items": dataset.catalogue.item_ids,
    }
    wants: list[int] = []
    for table, known in ids.items():
        own = [part for part in parts if part.table == table]
        frame = pl.DataFrame({"id": known})
        held = [frame.filter(part.span.holds("id"))["id"].to_list() for part in own]
        assert [one for each in held for one in each] == known
        assert [len(each) for each in held] == [part.count for part in own]
        assert own[0].span.first == "" and own[-1].span.stop is None
        assert all(one.span.stop == other.span.first for one, other in pairwise(own))
        if table != "items":
            wants += [part.start + at for part in own for at in range(part.count)]
    assert wants == list(range(USERS + ITEMS))


def test_a_part_of_a_dataset_holds_what_the_whole_says_of_its_users(dataset: Dataset) -> None:
    span = Span("u05", "u11")
    for protocol in ("leave-one-out", "items", "time"):
        whole, part = dataset.split(protocol), dataset.part(users=span).split(protocol)
        for name in ("train", "validation", "test"):
            every, some = whole.targets(name), part.targets(name)
            kept = [at for at, user in enumerate(every.user_ids) if "u05" <= user < "u11"]
            assert some.user_ids == [every.user_ids[at] for at in kept]
            assert some.rows.tolist() == every.rows[kept].tolist()
            assert [h.tolist() for h in some.histories] == [
                every.histories[at].tolist() for at in kept
            ]
    assert dataset.part(users=span).queries is not None
    assert dataset.part(users=span).queries.is_empty()  # type: ignore[union-attr]
    assert dataset.part(queries=Span("q10", "q12")).sequences.user_ids == []


def test_rows_and_their_numbers_do_not_depend_on_the_cut(
    dataset: Dataset, undisturbed: Corpus, tmp_path: Path
) -> None:
    whole = build_corpus(
        dataset, RulesTeacher(), tmp_path / "c", CONFIG.model_copy(update={"part": 999})
    )
    for split in ("train", "validation", "test"):
        cut_up, rows = undisturbed.rows(split), whole.rows(split)
        assert cut_up.equals(rows)
        assert cut_up["row"].is_sorted() and cut_up["row"].n_unique() == cut_up.height
        assert cut_up.height == undisturbed.size(split)
        assert pl.concat(undisturbed.stream(split, 50)).equals(rows)
    assert len(undisturbed.shards("train")) > 3
    texts = ["kind", "view", "user_id", "item_id", "split"]
    assert undisturbed.annotations.sort(texts).equals(whole.annotations.sort(texts))


@pytest.mark.parametrize("executor", [InProcess(), Processes(1), Processes(2)])
def test_every_executor_writes_the_same_bytes(
    dataset: Dataset, undisturbed: Corpus, executor: Executor, tmp_path: Path
) -> None:
    made = build_corpus(dataset, RulesTeacher(), tmp_path / "c", CONFIG, executor=executor)
    assert made.manifest == undisturbed.manifest


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'instructrec[ray]'")
def test_ray_writes_the_same_bytes(dataset: Dataset, undisturbed: Corpus, tmp_path: Path) -> None:
    made = build_corpus(dataset, RulesTeacher(), tmp_path / "c", CONFIG, executor=OnRay(2))
    assert made.manifest == undisturbed.manifest


def _killed_once(log: Path, task: Task) -> Counts:
    """Make a partition, but be killed at the first try of one of each phase."""
    name = task.record.stem
    with log.open("a") as file:
        file.write(f"{name}\n")
    if name in ("texts-00001", "rows-00002") and log.read_text().split().count(name) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return make_partition(task)


class _Killing(Processes):
    def __init__(self, log: Path) -> None:
        super().__init__(2)
        self.log = log

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        assert function is make_partition
        return super().run(partial(_killed_once, self.log), tasks)


def test_a_killed_worker_costs_its_own_partition_only(
    dataset: Dataset, undisturbed: Corpus, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    made = build_corpus(dataset, RulesTeacher(), tmp_path / "c", CONFIG, executor=_Killing(log))
    begun = Counter(log.read_text().split())
    assert {name for name, times in begun.items() if times > 1} == {"texts-00001", "rows-00002"}
    assert set(begun.values()) == {1, 2}
    assert made.manifest == undisturbed.manifest


class _Stop:
    """Progress that is interrupted, as by Ctrl-C, after some partitions."""

    def __init__(self, after: int) -> None:
        self.left = after

    def note(self, text: str) -> None: ...

    def track(self, items: Iterable[Any], title: str, total: int | None = None) -> Iterator[Any]:
        for item in items:
            yield item
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


class _Counting(Echo):
    """Keeps what it was asked, each call on its own."""

    writes_queries = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[Ask]] = []

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        self.calls.append(list(asks))
        return super().write(asks)

    @property
    def asked(self) -> Counter[Any]:
        return Counter(
            (ask.kind, ask.view, ask.user_id, ask.item_id, ask.split)
            for call in self.calls
            for ask in call
        )


class _Free(_Counting):
    """Has its texts already, so that asking for more costs nothing."""

    has_texts = True


@pytest.mark.parametrize("after", [1, 4, 8, 11])
def test_a_stopped_build_goes_on_and_asks_nothing_twice(
    dataset: Dataset, tmp_path: Path, after: int
) -> None:
    undisturbed, teacher = _Counting(), _Counting()
    whole = build_corpus(dataset, undisturbed, tmp_path / "whole", CONFIG)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(dataset, teacher, tmp_path / "c", CONFIG, progress=_Stop(after))
    assert not (tmp_path / "c").exists()
    parts = len([part for part in cut(dataset, CONFIG.part) if part.table != "queries"])
    assert len(teacher.calls) == min(after, parts)
    made = build_corpus(dataset, teacher, tmp_path / "c", CONFIG)
    assert made.manifest == whole.manifest
    assert teacher.asked == undisturbed.asked and set(teacher.asked.values()) == {1}


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from test_partitions import CONFIG, _Counting
from instructrec.data.dataset import Dataset
from instructrec.instructions import partitions
from instructrec.instructions.builder import build_corpus
from pathlib import Path

real = Path.replace
left = int(sys.argv[4])

def replace(path, target):
    global left
    if path.name.endswith(".part"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(path, target)

Path.replace = replace
build_corpus(Dataset(sys.argv[1]), _Counting(), Path(sys.argv[2]), CONFIG)
"""


@pytest.mark.parametrize("renamed", [4, 27])
def test_a_build_killed_before_any_file_is_in_place_goes_on_to_the_same_bytes(
    dataset: Dataset, tmp_path: Path, renamed: int
) -> None:
    whole = build_corpus(dataset, _Counting(), tmp_path / "whole", CONFIG)
    here = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, dataset.folder, tmp_path / "c", here, str(renamed)],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert any((tmp_path / ".c.part").rglob("*.parquet"))
    made = build_corpus(dataset, _Counting(), tmp_path / "c", CONFIG)
    assert made.manifest == whole.manifest
    assert sorted(path.name for path in made.folder.rglob("*.part")) == []


def test_a_build_stopped_at_the_very_end_makes_no_partition_again(
    dataset: Dataset, undisturbed: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(folder: Path) -> dict[str, str]:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(folders, "_hashes", full_disk)
        with pytest.raises(OSError, match="no space"):
            build_corpus(dataset, RulesTeacher(), tmp_path / "c", CONFIG)
    monkeypatch.setattr("instructrec.instructions.builder.make_partition", None)
    made = build_corpus(dataset, RulesTeacher(), tmp_path / "c", CONFIG)
    assert made.manifest == undisturbed.manifest


def test_other_texts_begin_anew(dataset: Dataset, tmp_path: Path) -> None:
    teacher = _Counting()
    with pytest.raises(KeyboardInterrupt):
        build_corpus(dataset, teacher, tmp_path / "c", CONFIG, progress=_Stop(4))
    teacher.parameters = {"prompts": "2"}  # type: ignore[attr-defined]
    build_corpus(dataset, teacher, tmp_path / "c", CONFIG)
    assert max(teacher.asked.values()) == 2


def test_what_belongs_together_is_asked_together(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotate, "BATCH", 4)
    teacher = _Counting()
    annotate.annotate(dataset, "leave-one-out", teacher)
    homes: dict[Any, set[int]] = {}
    for number, call in enumerate(teacher.calls):
        assert len(call) < 4 + 3
        for ask in call:
            homes.setdefault((ask.kind, ask.user_id, ask.item_id, ask.split), set()).add(number)
    assert all(len(calls) == 1 for calls in homes.values())


@pytest.mark.parametrize(
    ("scenario", "views"),
    [
        ("P1,I0,T3", set()),
        ("P2,I0,T3", {"overall", "long_term", "short_term"}),
        ("P0,I1,T3", {"what_i_want", "what_it_is_like"}),
        ("P1,I2,T3", {"specific", "query"}),
    ],
)
def test_a_teacher_that_costs_something_is_asked_for_what_the_rows_can_use(
    dataset: Dataset, tmp_path: Path, scenario: str, views: set[str]
) -> None:
    teacher = _Counting()
    config = CorpusConfig(scenarios=(scenario,), rates={"T3": 1.0})
    corpus = build_corpus(dataset, teacher, tmp_path / "c", config)
    assert {view for _, view, *_ in teacher.asked} == views
    given = build_corpus(dataset, _Free(), tmp_path / "g", config)
    columns = ["user_id", "instruction", "response"]
    assert corpus.rows("train").select(columns).equals(given.rows("train").select(columns))
    assert given.annotations["view"].n_unique() > len(views)


@pytest.mark.parametrize(("language", "varied"), [("en-GB", True), ("zh", False), ("de", False)])
def test_texts_of_another_language_are_not_varied_by_english_rules(
    dataset: Dataset, tmp_path: Path, language: str, varied: bool
) -> None:
    teacher = _Counting()
    teacher.language = language  # type: ignore[attr-defined]
    rates = DiversityRates()
    config = CorpusConfig(scenarios=("P1,I1,T3",), rates={"T3": 1.0}, diversity=rates)
    corpus = build_corpus(dataset, teacher, tmp_path / "c", config)
    assert (corpus.rows("train")["style"].n_unique() > 1) is varied
    assert any(corpus.manifest["settings"]["diversity"].values()) is varied


def test_typed_queries_are_learnt_from_and_labels_are_evaluated(
    dataset: Dataset, tmp_path: Path
) -> None:
    class Typist(_Counting):
        def _text(self, ask: Ask) -> str:
            return "typed" if ask.view == "query" else super()._text(ask)

    config = CorpusConfig(scenarios=("P1,I2,T3",), rates={"T3": 1.0})
    corpus = build_corpus(dataset, Typist(), tmp_path / "c", config)
    typed = pl.col("intention") == "typed"
    assert 0.2 < corpus.rows("train").select(typed.mean()).item() < 0.8
    assert corpus.rows("test").filter(typed).is_empty()
    view = corpus.annotations.filter(pl.col("view") == "query")
    assert view["item_id"].to_list() == dataset.catalogue.item_ids
    assert view["user_id"].null_count() == view.height


def test_teachers_are_told_brand_price_and_short_facts_but_no_codes(tmp_path: Path) -> None:
    from instructrec.data.catalogue import Catalogue

    number = np.arange(40)
    items = pl.DataFrame(
        {
            "item_id": [f"i{at:02}" for at in number],
            "title": [f"T{at}" for at in number],
            "brand": ["Acme"] * 40,
            "price": number / 2,
            "description": ["A long story"] * 40,
            "colour": [("red", "blue", None)[at % 3] for at in number],
            "platform": ["Wii"] * 40,
            "url": ["http://a"] * 40,
            "picture": [f"http://a/{at % 3}" for at in number],
            "parent_asin": ["B0"] * 40,
            "code": [f"X{at}" for at in number],
            "blurb": ["many words " * 9] * 40,
        }
    )
    data = Dataset.__new__(Dataset)
    data.__dict__["catalogue"] = Catalogue(items)
    facts = annotate.item_facts(data, np.array([2, 4]))
    assert list(facts) == [2, 4]
    assert (facts[4].brand, facts[4].price, facts[4].description) == ("Acme", 2.0, "A long story")
    assert facts[4].attributes == (("colour", "blue"), ("platform", "Wii"))
    assert facts[2].attributes == (("platform", "Wii"),)


def test_a_dataset_that_changes_meanwhile_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    part = Partition(0, "users", Span("", None), 0, USERS)
    task = Task("texts", part, str(dataset.folder), "0" * 64, str(tmp_path), CONFIG, "rules")
    with pytest.raises(FolderError, match="has changed"):
        make_partition(task)
    right = replace(task, digest=sha256(dataset.folder / MANIFEST))
    assert make_partition(right)["asked"] > 0


def test_a_corpus_of_an_earlier_version_is_told(undisturbed: Corpus, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes((undisturbed.folder / MANIFEST).read_bytes())
    undisturbed.rows("train").write_parquet(tmp_path / "train.parquet")
    with pytest.raises(FolderError, match=r"train\.parquet is one file.*Build the corpus again"):
        Corpus(tmp_path)


def test_an_empty_split_reads_as_no_rows(dataset: Dataset, tmp_path: Path) -> None:
    config = CorpusConfig(scenarios=("P1,I0,T2",), rates={"T2": 1.0})
    corpus = build_corpus(dataset, Echo(), tmp_path / "c", config)
    assert corpus.shards("test") == [] and corpus.size("test") == 0
    assert corpus.rows("test").schema == corpus.rows("train").schema
    assert list(corpus.stream("test")) == []


def test_a_split_without_rows_for_training_is_an_error(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training row"):
        build_corpus(dataset, Echo(), tmp_path / "c", CorpusConfig(rates={}))


def test_a_disk_that_is_full_keeps_no_halves(tmp_path: Path) -> None:
    def fills(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        partitions._put(tmp_path / "00000.parquet", fills)
    assert not list(tmp_path.iterdir())
