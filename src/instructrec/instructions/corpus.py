"""A Corpus: instruction data as a folder of Parquet shards, read as examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from instructrec.data.splits import Protocol
from instructrec.errors import FolderError
from instructrec.folders import read_manifest
from instructrec.hashing import stable_hash
from instructrec.instructions.annotations import WRITTEN_SCHEMA, Annotations
from instructrec.instructions.schema import (
    Context,
    Instruction,
    Intention,
    IntentionKind,
    Preference,
    Scenario,
    TaskForm,
)
from instructrec.instructions.templating import (
    Rendered,
    Template,
    TemplateBank,
    render,
    render_response,
)

_TEXTS = pl.List(pl.String())
CORPUS_SCHEMA = pl.Schema(
    {
        "row": pl.Int64(),
        "scenario": pl.String(),
        "strategy": pl.String(),
        "asks": pl.String(),
        "template": pl.String(),
        "task": pl.String(),
        "history": _TEXTS,
        "history_ids": _TEXTS,
        "profile": pl.String(),
        "preference": pl.String(),
        "intention": pl.String(),
        "intention_kind": pl.String(),
        "style": pl.String(),
        "context_time": pl.String(),
        "context_place": pl.String(),
        "context_device": pl.String(),
        "context_occasion": pl.String(),
        "candidates": _TEXTS,
        "candidate_ids": _TEXTS,
        "item": pl.String(),
        "answer": pl.String(),
        "instruction": pl.String(),
        "response": pl.String(),
        "user_id": pl.String(),
        "query_id": pl.String(),
        "item_id": pl.String(),
        "split": pl.String(),
        "seed": pl.Int64(),
    }
)
"""Columns of the shards in train/, validation/ and test/.

``row`` is unique within a split, and the same however the corpus was cut into shards.
``instruction`` and ``response`` are the rendering of epoch 0; ``template`` is its template;
``item`` is the target's title and ``answer`` what a judging task calls for. ``style`` says what
was done to the wish (see `instructrec.instructions.diversify`); ``""`` where there is none.
"""


@dataclass(frozen=True)
class Example:
    """One row as a model learns it in one epoch.

    Attributes:
        instruction: The values.
        rendered: Their rendering, with the places of the history's titles.
        response: What is to be answered.
        template: The template drawn for this row and epoch.
    """

    instruction: Instruction
    rendered: Rendered
    response: str
    template: str


SPLITS = ("train", "validation", "test")
ANNOTATIONS = "annotations"


def shard(folder: Path, name: str, number: int) -> Path:
    """Where one shard of a corpus is: ``train/00000.parquet``.

    Args:
        folder: The corpus.
        name: A split, or ``annotations``.
        number: Of the part of users, queries or items that it holds.
    """
    return folder / name / f"{number:05}.parquet"


class Corpus:
    """A corpus folder.

    Args:
        folder: A complete folder of kind ``corpus``.

    Raises:
        FolderError: The folder is absent, incomplete, of another kind or of an earlier version.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(self.folder, "corpus")
        for name in (*SPLITS, ANNOTATIONS):
            if (self.folder / f"{name}.parquet").is_file():
                raise FolderError(
                    f"{self.folder} is of an earlier version: {name}.parquet is one file",
                    "Build the corpus again",
                )

    @property
    def protocol(self) -> Protocol:
        """How the targets were set apart."""
        return Protocol(self.manifest["protocol"])

    @cached_property
    def bank(self) -> TemplateBank:
        """The templates rows are rendered by."""
        return TemplateBank.load(None)

    @cached_property
    def annotations(self) -> pl.DataFrame:
        """The teacher's texts (columns of `WRITTEN_SCHEMA`)."""
        return self.scan(ANNOTATIONS).collect()

    @cached_property
    def texts(self) -> Annotations:
        """The teacher's texts, indexed."""
        return Annotations.of(self.annotations)

    def shards(self, name: str) -> list[Path]:
        """The files of a split, or of the ``annotations``, in order; none where it is empty."""
        return sorted((self.folder / name).glob("*.parquet"))

    def scan(self, name: str) -> pl.LazyFrame:
        """All rows of a split, or all ``annotations``, read when asked for."""
        if shards := self.shards(name):
            return pl.scan_parquet(shards)
        return pl.LazyFrame(schema=WRITTEN_SCHEMA if name == ANNOTATIONS else CORPUS_SCHEMA)

    def rows(self, split: str) -> pl.DataFrame:
        """All rows of ``train``, ``validation`` or ``test`` (columns of `CORPUS_SCHEMA`)."""
        return self.scan(split).collect()

    def stream(self, split: str, batch: int = 8192) -> Iterator[pl.DataFrame]:
        """The rows in order, at most ``batch`` at a time: memory stays bounded by the batch."""
        for path in self.shards(split):
            with pq.ParquetFile(path) as file:
                for part in file.iter_batches(batch_size=batch):
                    frame = pl.from_arrow(part)
                    assert isinstance(frame, pl.DataFrame)
                    yield frame

    def size(self, split: str) -> int:
        """How many rows a split has."""
        return int(self.manifest["rows"][split])

    def example(
        self, row: Mapping[str, Any], epoch: int, *, list_candidates: bool = True
    ) -> Example:
        """Render a row with the template of this epoch (see `make_example`)."""
        return make_example(self.bank, row, epoch, list_candidates=list_candidates)


def make_example(
    bank: TemplateBank, row: Mapping[str, Any], epoch: int, *, list_candidates: bool = True
) -> Example:
    """Render a row by what hash(seed, row, epoch) draws: a template that fits it, a wording of it.

    Args:
        bank: The templates.
        row: One row by column name.
        epoch: Counted from 0.
        list_candidates: Whether a reranking prompt names its candidates, as the paper's do. Left
            out, their order cannot matter and the prompt is a third as long.
    """
    pool = pool_of(bank, row["scenario"], row["strategy"], row["asks"])
    turn, place = divmod(stable_hash(row["seed"], row["row"], epoch), len(pool))
    versions = pool[place].versions
    template = versions[turn % len(versions)]
    instruction = instruction_of(row)
    if not list_candidates and instruction.task is TaskForm.RERANKING:
        instruction = replace(instruction, candidates=())
    rendered = render(template, instruction, item=row["item"])
    response = render_response(template, instruction, item=row["item"], answer=row["answer"])
    return Example(instruction, rendered, response, template.id)


def pool_of(bank: TemplateBank, scenario: str, strategy: str, asks: str) -> list[Template]:
    """The templates a row may be worded by, in order of id."""
    return list(_pool(bank, scenario, strategy, asks))


@lru_cache(maxsize=4096)
def _pool(bank: TemplateBank, scenario: str, strategy: str, asks: str) -> tuple[Template, ...]:
    found = bank.covering(Scenario.parse(scenario), strategy=strategy, asks=asks)
    return tuple(sorted(found, key=lambda template: template.id))


def instruction_of(row: Mapping[str, Any]) -> Instruction:
    """The values of a row as an `Instruction`."""
    preference = Preference(
        tuple(row["history"]), tuple(row["history_ids"]), row["profile"], row["preference"]
    )
    context = Context(
        row["context_time"], row["context_place"], row["context_device"], row["context_occasion"]
    )
    return Instruction(
        preference,
        Intention(row["intention"], IntentionKind(row["intention_kind"])),
        TaskForm(row["task"]),
        context,
        tuple(row["candidates"]),
        row["user_id"] if preference.form != "P0" else None,
    )
