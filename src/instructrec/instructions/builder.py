"""Builds a Corpus from a Dataset, partition by partition, and goes on where it was stopped."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace as changed
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from instructrec.data.dataset import Dataset
from instructrec.errors import DataError, FolderError
from instructrec.folders import LOG, MANIFEST, Draft, new_folder, read_json, sha256, write_json
from instructrec.instructions._diversity import are_english
from instructrec.instructions.corpus import ANNOTATIONS, SPLITS, Corpus
from instructrec.instructions.diversify import NO_DIVERSITY
from instructrec.instructions.executors import Executor, InProcess
from instructrec.instructions.partitions import (
    Counts,
    Partition,
    Task,
    ask_for_texts,
    cut,
    forget_opened,
    keep_texts,
    make_partition,
    parts_folder,
    texts_of,
)
from instructrec.instructions.rows import CorpusConfig
from instructrec.instructions.teachers.base import Teacher
from instructrec.protocols import SILENT, Progress

__all__ = ["CorpusConfig", "build_corpus"]

_SLICE = 2**16


def build_corpus(
    dataset: Dataset,
    teacher: Teacher | None,
    out: Path,
    config: CorpusConfig | None = None,
    *,
    annotations: pl.DataFrame | None = None,
    command: str = "instructrec corpus build",
    replace: bool = False,
    executor: Executor | None = None,
    progress: Progress = SILENT,
) -> Corpus:
    """Write instruction data for a dataset.

    Leak rules: a training row knows only what lies before its training target; no preference and
    no intention contains the target's title; negatives and the order of candidates are seeded by
    user id. They are checked on every row as it is written.

    Users, queries and items are cut into partitions. First the texts of each are written, then
    its rows, both by one function that an executor runs; a teacher that is not made anew in
    workers (see `Teacher`) is asked here, one partition after the other. A build that was stopped
    takes over every complete partition when it is called again with the same arguments. The
    bytes are the same whatever the executor, and however often it was stopped.

    Args:
        dataset: A complete dataset.
        teacher: Who writes preferences and intentions; none when ``annotations`` are given.
        out: The folder to make, of kind ``corpus``.
        config: See `CorpusConfig`.
        annotations: Texts somebody already has, instead of a teacher's.
        command: What to write into the manifest.
        replace: Whether a complete folder at ``out`` gives way.
        executor: Where partitions are made; in this process when left out.
        progress: Told how far it is.

    Raises:
        FolderError: ``out`` is taken.
        UsageError: The dataset has no calendar and the protocol needs one.
        DataError: No training row can be made.

    Source: paper §3.1–3.3; docs/paper.md §1–3.
    """
    config = config or CorpusConfig()
    if teacher is None and annotations is None:
        raise ValueError("either a teacher or annotations")
    config = _varied_where_english(config, teacher, annotations)
    with new_folder(
        out,
        "corpus",
        command=command,
        settings={**config.model_dump(mode="json"), **_writer(teacher, annotations)},
        seed=config.seed,
        inputs={"dataset": dataset.folder},
        replace=replace,
        resume=True,
    ) as draft:
        work = _Work(dataset, draft.path, config, executor or InProcess(), progress)
        try:
            work.make_texts(teacher, annotations)
            work.make_rows()
        finally:
            forget_opened()
        work.finish(draft, told=annotations is None)
    return Corpus(out)


def _varied_where_english(
    config: CorpusConfig, teacher: Teacher | None, annotations: pl.DataFrame | None
) -> CorpusConfig:
    """Without variants of wishes where the texts are in another language than their rules."""
    if annotations is not None:
        english = are_english(annotations["text"])
    else:
        language = str(getattr(teacher, "language", "en")).casefold()
        english = language in {"en", "english"} or language.startswith(("en-", "en_"))
    return config if english else config.model_copy(update={"diversity": NO_DIVERSITY})


def _writer(teacher: Teacher | None, annotations: pl.DataFrame | None) -> dict[str, Any]:
    """What decides the texts, for the identity of the corpus."""
    if annotations is not None:
        digest = hashlib.sha256()
        for part in annotations.iter_slices(_SLICE):
            stream = BytesIO()
            part.write_ipc(stream)
            digest.update(stream.getvalue())
        return {"teacher": "given", "annotations": digest.hexdigest()}
    assert teacher is not None
    parameters = getattr(teacher, "parameters", {})
    return {"teacher": teacher.name} | ({"teacher_parameters": parameters} if parameters else {})


class _Work:
    """The tasks of one corpus, those that are done and those that are to be done."""

    def __init__(
        self,
        dataset: Dataset,
        out: Path,
        config: CorpusConfig,
        executor: Executor,
        progress: Progress,
    ) -> None:
        dataset.check_protocol(config.protocol)
        self.dataset, self.out = dataset, out.resolve()
        self.executor, self.progress = executor, progress
        self.merged = self.out / LOG / "parts.json"
        self.known: dict[str, Counts] = read_json(self.merged) if self.merged.is_file() else {}
        parts = cut(dataset, config.part)
        self.parts = {
            table: [part for part in parts if part.table == table]
            for table in ("users", "queries", "items")
        }
        items = [part.number for part in self.parts["items"]]
        self.model = Task(
            "rows",
            parts[0],
            str(dataset.folder.resolve()),
            sha256(dataset.folder / MANIFEST),
            str(self.out),
            config,
            item_texts=(items[0], items[-1] + 1) if items else (0, 0),
        )
        self.tasks: list[Task] = []

    def make_texts(self, teacher: Teacher | None, given: pl.DataFrame | None) -> None:
        """Write the texts of all partitions."""
        parts = [*self.parts["items"], *self.parts["users"]]
        if given is None and teacher is not None and getattr(teacher, "in_workers", False):
            self._run(self._open(changed(self.model, phase="texts", teacher=teacher.name), parts))
            return
        tasks = self._open(changed(self.model, phase="texts"), parts)
        for task in self.progress.track(tasks, "texts, in partitions"):
            if given is not None:
                keep_texts(task, texts_of(task.partition, given))
            elif teacher is not None:
                ask_for_texts(task, teacher)

    def make_rows(self) -> None:
        """Write the rows of all partitions."""
        self._run(self._open(self.model, [*self.parts["users"], *self.parts["queries"]]))

    def _open(self, model: Task, parts: Sequence[Partition]) -> list[Task]:
        """The tasks of some partitions that are not done."""
        tasks = [changed(model, partition=part) for part in parts]
        self.tasks += tasks
        return [t for t in tasks if t.record.stem not in self.known and not t.record.is_file()]

    def _run(self, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        # Another process is worth its start only where there is something to share out.
        executor = self.executor if len(tasks) > 1 else InProcess()
        made = executor.run(make_partition, tasks)
        for _ in self.progress.track(made, f"{tasks[0].phase}, in partitions", len(tasks)):
            pass

    def finish(self, draft: Draft, told: bool) -> None:
        """Count what was made and clear away what only the making needed."""
        for task in self.tasks:
            if task.record.stem not in self.known:
                self.known[task.record.stem] = _record(task)
        # Written before single records go, so that a kill at any moment loses none.
        write_json(self.merged, self.known)
        shutil.rmtree(parts_folder(self.out), ignore_errors=True)
        for left in self.out.rglob(".*.part"):
            left.unlink()
        sums: Counter[str] = Counter()
        for counts in self.known.values():
            sums.update(counts)
        if not sums["train"]:
            raise DataError(
                f"no training row can be made from {self.dataset.folder}",
                "Import more interactions a user (three at least), or name other scenarios",
            )
        draft.rows |= {name: sums[name] for name in (ANNOTATIONS, *SPLITS)}
        draft.facts |= {"protocol": self.model.config.protocol.value, "clock": self.dataset.clock}
        if told:
            names = ("asked", "empty", "dropped_for_naming_the_title", "by_rules")
            draft.facts["teacher"] = {name: sums[name] for name in names}


def _record(task: Task) -> Counts:
    if not task.record.is_file():
        raise FolderError(
            f"partition {task.partition.number} was made, but {task.record} is not here",
            "Let all workers write to the same disk under the same path",
        )
    counts: Counts = read_json(task.record)
    return counts
