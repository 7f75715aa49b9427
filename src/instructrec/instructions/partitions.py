"""A corpus in partitions: one pure function makes one of them, wherever it runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from instructrec.data.dataset import Dataset, Span
from instructrec.errors import FolderError
from instructrec.folders import LOG, MANIFEST, dump_json, read_json, sha256
from instructrec.instructions.annotate import (
    TEXT_KINDS,
    Annotated,
    answered,
    asks_of_items,
    asks_of_users,
)
from instructrec.instructions.annotations import WRITTEN_SCHEMA, Annotations
from instructrec.instructions.corpus import ANNOTATIONS, CORPUS_SCHEMA, SPLITS, shard
from instructrec.instructions.rows import CorpusConfig, RowMaker, text_kinds
from instructrec.instructions.teachers.base import Ask, Teacher
from instructrec.instructions.teachers.named import teacher_named
from instructrec.instructions.templating import TemplateBank

BATCH = 8192
"""Rows of a row group of a shard: what is held as Python values at a time."""

Table = Literal["users", "queries", "items"]
Phase = Literal["texts", "rows"]
Counts = dict[str, int]


@dataclass(frozen=True)
class Partition:
    """Some neighbouring users, queries or items of a dataset.

    Attributes:
        number: Its own among all partitions; its shards are named by it.
        table: What it holds.
        span: Their ids; the first span of a table begins and the last one ends without limit.
        start: How many come before it; queries are counted on from the users.
        count: How many it holds.
    """

    number: int
    table: Table
    span: Span
    start: int
    count: int


@dataclass(frozen=True)
class Task:
    """All that one partition is made from; plain values, so that it can be sent anywhere.

    Attributes:
        phase: ``texts`` (preferences and intentions) or ``rows``, which reads the texts.
        partition: Of what.
        dataset: The dataset's folder, as seen from wherever the task is done.
        digest: Of the dataset's manifest.
        out: The folder of the corpus that is being made.
        config: See `CorpusConfig`.
        teacher: The name of the teacher that writes texts where the task is done.
        item_texts: Numbers of the first shard of texts of items alone, and of the one after the
            last.
    """

    phase: Phase
    partition: Partition
    dataset: str
    digest: str
    out: str
    config: CorpusConfig
    teacher: str = ""
    item_texts: tuple[int, int] = (0, 0)

    @property
    def record(self) -> Path:
        """What says that the partition is complete; written last."""
        return parts_folder(Path(self.out)) / f"{self.phase}-{self.partition.number:05}.json"

    @property
    def texts(self) -> Path:
        """The shard of the partition's texts."""
        return shard(Path(self.out), ANNOTATIONS, self.partition.number)


def parts_folder(corpus: Path) -> Path:
    """Where records of complete partitions are kept while a corpus is being made."""
    return corpus / LOG / "parts"


def cut(dataset: Dataset, size: int) -> list[Partition]:
    """Cut a dataset into partitions: users, then queries, then items.

    Args:
        dataset: A complete dataset.
        size: Users, queries or items of a partition.
    """
    found: list[Partition] = []
    wants = 0
    tables: tuple[tuple[Table, str, str], ...] = (
        ("users", "interactions", "user_id"),
        ("queries", "queries", "query_id"),
        ("items", "items", "item_id"),
    )
    for table, name, column in tables:
        path = dataset.folder / f"{name}.parquet"
        firsts, total = _firsts(path, column, size) if path.is_file() else ([], 0)
        bounds = ["", *firsts[1:], None]
        for at in range(len(firsts)):
            span = Span(bounds[at] or "", bounds[at + 1])
            start = at * size + (wants if table == "queries" else 0)
            count = min(size, total - at * size)
            found.append(Partition(len(found), table, span, start, count))
        wants += total
    return found


def _firsts(path: Path, column: str, size: int) -> tuple[list[str], int]:
    """Every ``size``-th different id of a sorted column, and how many different ones it has."""
    firsts: list[str] = []
    total, last = 0, None
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=2**17, columns=[column]):
            ids = pl.Series(batch.column(0)).rle().struct.field("value")
            if len(ids) and ids[0] == last:
                ids = ids[1:]
            if len(ids):
                firsts += ids.gather_every(size, -total % size).to_list()
                total, last = total + len(ids), ids[-1]
    return firsts, total


def make_partition(task: Task) -> Counts:
    """Make one partition; the one function that every executor runs.

    What it writes depends on the task alone. Files are renamed into place when they are complete,
    the record last: a task that was stopped is done again, a complete one is not.

    Returns:
        ``train``, ``validation`` and ``test`` of the rows, or ``annotations``, ``asked``,
        ``empty`` and ``dropped_for_naming_the_title`` of the texts.

    Raises:
        FolderError: The dataset is not the one that the task was made for.
    """
    if task.record.is_file():
        made: Counts = read_json(task.record)
        return made
    if task.phase == "texts":
        return ask_for_texts(task, _teacher(task.teacher))
    return _complete(task, _write_rows(task))


def ask_for_texts(task: Task, teacher: Teacher) -> Counts:
    """Let a teacher write the texts of a partition of users or items."""
    dataset = _opened(task.dataset, task.digest)
    asks = asks_of_partition(dataset, task.partition, task.config, teacher)
    return keep_texts(task, answered(asks, teacher))


def asks_of_partition(
    dataset: Dataset, part: Partition, config: CorpusConfig, teacher: Teacher
) -> Iterator[list[Ask]]:
    """What a teacher is asked of a partition of users or items; see `annotate.answered`.

    One that costs something is asked for what the rows can use. One that costs nothing (it works
    in workers, or has its texts) is asked for all, so that the corpus can be evaluated in every
    scenario.
    """
    free = getattr(teacher, "in_workers", False) or getattr(teacher, "has_texts", False)
    kinds = TEXT_KINDS if free else text_kinds(config)
    if part.table == "items":
        rows = range(part.start, part.start + part.count)
        return asks_of_items(dataset, rows, teacher, config.seed, kinds)
    users = dataset.part(users=part.span)
    return asks_of_users(users, config.protocol, config.max_history, teacher, config.seed, kinds)


def texts_of(part: Partition, given: pl.DataFrame) -> Annotated:
    """Those of given texts that belong to a partition of users, or of items alone."""
    if part.table == "items":
        own = given.filter(pl.col("user_id").is_null(), part.span.holds("item_id"))
    else:
        own = given.filter(part.span.holds("user_id"))
    if "teacher" not in own.columns:
        own = own.with_columns(teacher=pl.lit("given"))
    return Annotated(own.select(WRITTEN_SCHEMA.names()), 0, 0, 0)


def keep_texts(task: Task, made: Annotated) -> Counts:
    """Write the texts of a partition."""
    _put(task.texts, lambda path: made.frame.write_parquet(path, compression="zstd"))
    counts = {
        ANNOTATIONS: made.frame.height,
        "asked": made.asked,
        "empty": made.silent,
        "dropped_for_naming_the_title": made.leaked,
        "by_rules": int((made.frame["teacher"] == "rules").sum()),
    }
    return _complete(task, counts)


def forget_opened() -> None:
    """Let go of the dataset that this process keeps from task to task."""
    _opened.cache_clear()


@lru_cache(maxsize=1)
def _opened(folder: str, digest: str) -> Dataset:
    """A dataset, its catalogue read once a process."""
    dataset = Dataset(folder)
    if sha256(dataset.folder / MANIFEST) != digest:
        raise FolderError(f"{folder} has changed while a corpus was made of it", "Build it again")
    return dataset


@lru_cache(maxsize=1)
def _teacher(name: str) -> Teacher:
    return teacher_named(name)


def _complete(task: Task, counts: Counts) -> Counts:
    _put(task.record, lambda path: path.write_text(dump_json(counts), encoding="utf-8"))
    return counts


def _put(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a name of its own, then rename it: two writers cannot mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        write(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)  # A full disk has no room for halves.
        raise


def _write_rows(task: Task) -> Counts:
    opened, part = _opened(task.dataset, task.digest), task.partition
    if part.table == "queries":
        dataset = opened.part(queries=part.span)
        texts = WRITTEN_SCHEMA.to_frame()
    else:
        dataset = opened.part(users=part.span)
        texts = pl.concat([pl.read_parquet(task.texts), _texts_of_items(task, dataset)])
    bank = TemplateBank.load(None)
    maker = RowMaker(dataset, Annotations.of(texts), task.config, bank, part.start)
    counts = {}
    for split in SPLITS:
        rows = maker.rows(split)
        counts[split] = 0
        if batch := list(islice(rows, BATCH)):
            path = shard(Path(task.out), split, part.number)
            counts[split] = _write_shard(path, batch, rows)
    return counts


def _write_shard(path: Path, batch: list[dict[str, Any]], rows: Iterator[dict[str, Any]]) -> int:
    schema = CORPUS_SCHEMA.to_frame().to_arrow().schema
    count = 0

    def write(part: Path) -> None:
        nonlocal count, batch
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            while batch:
                columns = {name: [row[name] for row in batch] for name in schema.names}
                writer.write_table(pa.Table.from_pydict(columns, schema))
                count += len(batch)
                batch = list(islice(rows, BATCH))

    _put(path, write)
    return count


def _texts_of_items(task: Task, dataset: Dataset) -> pl.DataFrame:
    """Texts of the items that a partition's users had, whoever asks for them."""
    shards = [shard(Path(task.out), ANNOTATIONS, number) for number in range(*task.item_texts)]
    if not shards:
        return WRITTEN_SCHEMA.to_frame()
    theirs = dataset.interactions.select("item_id").unique()
    return pl.scan_parquet(shards).join(theirs, on="item_id", how="semi").collect()
