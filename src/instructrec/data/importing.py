"""Raw logs to a Dataset folder: read, check, refine, split, write."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instructrec.data import refine
from instructrec.data.cleaning import LINE, Times, clean_items, clean_queries, clean_users
from instructrec.data.dataset import (
    INTERACTION_COLUMNS,
    ITEM_COLUMNS,
    Dataset,
    Tables,
    write_tables,
)
from instructrec.data.readers import TABLES, Batch, Reader, ReadOptions, Table, open_reader
from instructrec.data.readers.base import Clock, TimeUnit
from instructrec.data.readers.columns import check_columns, parse_columns
from instructrec.data.rejected import Tally
from instructrec.data.spool import Spool
from instructrec.data.values import infer
from instructrec.errors import UsageError
from instructrec.folders import Draft, identity, new_folder
from instructrec.protocols import SILENT, Progress

REJECTED = "rejected.jsonl"
MIXED = ("table", "recbole")
"""Formats whose interactions may tell of the items too."""
DAY_MS = 86_400_000


class ImportConfig(BaseModel):
    """What to import and how.

    A file of interactions that tells the items' titles too needs no file of items.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path
    """The folder to make."""
    interactions: Path | None = None
    """Who did what when; may be left out where queries say what is searched for."""
    items: Path | None = None
    """The catalogue; the interactions' file when left out."""
    queries: Path | None = None
    """Search queries and the items they are for."""
    users: Path | None = None
    """Facts about users."""
    format: str = "auto"
    """The files' format, one of `instructrec.data.readers.FORMATS`."""
    columns: dict[str, str] = Field(default_factory=dict)
    """House column → the file's column or columns, ``a+b``; also read from ``a=b,c=d``."""
    delimiter: str | None = None
    """What separates fields of delimited text; found out when left out."""
    header: bool = True
    """Whether the first line names the columns; else they are called 1, 2, 3, …."""
    clock: Clock | None = None
    """``ms`` (a calendar) or ``order`` (positions); what the format has when left out."""
    time_unit: TimeUnit = "auto"
    """The unit of numeric timestamps; found out by their size when ``auto``."""
    k_core: int = Field(default=0, ge=0)
    """Users and items with fewer interactions go, until none is left."""
    repeats: Literal["drop", "keep"] = "drop"
    """Whether a user's later interactions with the same item go (the paper's way) or stay."""
    min_rating: float | None = None
    """Interactions with a lower rating go."""
    max_per_user: int | None = Field(default=None, ge=1)
    """Only a user's last so many interactions stay."""
    max_rejected: float = Field(default=0.01, ge=0, le=1)
    """The share of a table's rows that may be bad."""
    seed: int = 0
    """Seeds the item split."""
    replace: bool = False
    """Whether a dataset that is there already gives way."""

    @field_validator("columns", mode="before")
    @classmethod
    def _read_columns(cls, value: Any) -> Any:
        return parse_columns(value) if isinstance(value, str) else value

    def files(self) -> dict[str, Path]:
        """The files by table; items may be in the interactions' file."""
        items = self.items or self.interactions
        named = {
            "interactions": self.interactions,
            "items": items,
            "queries": self.queries,
            "users": self.users,
        }
        return {table: path for table, path in named.items() if path is not None}

    @property
    def items_apart(self) -> bool:
        """Whether the items have a file of their own."""
        if self.items is None or self.interactions is None:
            return self.items is not None
        return self.items.resolve() != self.interactions.resolve()

    def settings(self) -> dict[str, Any]:
        """What decides the result beside the files' content, as a manifest has it."""
        return self.model_dump(
            mode="json",
            exclude={"out", "replace", "seed", "interactions", "items", "queries", "users"},
        )

    def identity(self) -> dict[str, Any]:
        """See `instructrec.folders.identity`."""
        return identity("dataset", self.settings(), self.seed, self.files())


def import_dataset(
    config: ImportConfig, progress: Progress = SILENT, *, now: int | None = None
) -> Dataset:
    """Make a dataset of raw files.

    Memory is bounded by a batch while files are read; what passes is kept in a Parquet file
    beside the draft, and sorted from there.

    Args:
        config: What to import and how.
        progress: Told of each file.
        now: The latest time that is not in the future, in milliseconds; a day from now when left
            out.

    Returns:
        The dataset. Its manifest has ``import``: formats, column maps, rows read, bad and dropped.

    Raises:
        UsageError: A file, column or format is not there.
        DataError: A file cannot be read, or too many of its rows are bad.
        FolderError: The folder exists already.
    """
    readers = open_readers(config)
    latest = now if now is not None else int(time.time() * 1000) + DAY_MS
    with new_folder(
        config.out,
        "dataset",
        command="instructrec data import",
        settings=config.settings(),
        seed=config.seed,
        inputs=config.files(),
        replace=config.replace,
    ) as draft:
        try:
            _fill(draft, config, readers, latest, progress)
        except BaseException:
            # Nothing of it can be gone on with.
            shutil.rmtree(draft.path, ignore_errors=True)
            raise
    return Dataset(config.out)


def open_readers(config: ImportConfig) -> dict[Table, Reader]:
    """A reader for each file, columns found, nothing read yet.

    Raises:
        UsageError: A file, column or format is not there.
        DataError: A file cannot be read.
    """
    if config.interactions is None and (config.queries is None or config.items is None):
        raise UsageError(
            "there is nothing to import", "Give --interactions FILE, or --queries and --items"
        )
    readers = {table: _open(config, table) for table in TABLES if table in config.files()}
    told = readers.get("interactions")
    if told is not None and told.format not in MIXED and not config.items_apart:
        # Such a file has no titles of items; what it calls title is that of a review.
        raise UsageError(
            f"{told.path} holds {told.format} interactions only", "Give the items with --items FILE"
        )
    if told is not None and config.min_rating is not None and "rating" not in told.mapping:
        raise UsageError(
            f"--min-rating needs ratings, which {told.path} does not have",
            "Leave it out, or map a column to rating with --columns",
        )
    check_columns(
        config.columns, {table: reader.parser.columns() for table, reader in readers.items()}
    )
    return readers


def _open(config: ImportConfig, table: Table) -> Reader:
    path = config.files()[table]
    options = ReadOptions(config.columns, config.delimiter, config.header)
    by_order = config.clock == "order"
    try:
        return open_reader(path, table, options, format=config.format, optional_time=by_order)
    except UsageError as error:
        if table != "items" or config.items is not None:
            raise
        raise UsageError(
            f"{path} tells no titles of the items ({error.what})",
            "Give the items with --items FILE, or map a column to title with --columns",
        ) from None


@dataclass
class _Import:
    """One import under way: its files, what was left out, and where checked rows lie."""

    config: ImportConfig
    readers: Mapping[Table, Reader]
    clock: Clock
    tally: Tally
    spool: Spool

    def tables(self, latest: int) -> Tables:
        """Read and refine all tables."""
        items, untitled = self._items()
        every = items["item_id"]
        events: pl.LazyFrame = pl.LazyFrame(
            schema={name: INTERACTION_COLUMNS[name] for name in _NEEDED}
        )
        if "interactions" in self.readers:
            events, left = self._interactions(items["item_id"], untitled, latest)
            if self.config.k_core > 1:
                items = items.filter(pl.col("item_id").is_in(left.implode()))
        return Tables(
            _finished(items).lazy(),
            events,
            self._queries(every, items["item_id"], untitled),
            self._users(),
            self.clock,
        )

    def _items(self) -> tuple[pl.DataFrame, pl.Series]:
        reader = self.readers["items"]
        if self.config.items_apart:
            raw = self.spool.read(reader, lambda batch: clean_items(batch, reader.currency))
            return refine.refine_items(raw.collect(), self.tally)
        # The lines are interactions, so their faults are counted there and repeats are none.
        aside = self.spool.with_tally(Tally())

        def clean(batch: Batch) -> Batch:
            return refine.distinct_items(clean_items(batch, reader.currency))

        items, untitled = refine.refine_items(aside.read(reader, clean).collect(), Tally())
        return _own_columns(items, reader), untitled

    def _interactions(
        self, items: pl.Series, untitled: pl.Series, latest: int
    ) -> tuple[pl.LazyFrame, pl.Series]:
        """What is kept of the interactions, and the ids of their items."""
        config = self.config
        reader = self.readers["interactions"]
        unit = reader.time_unit if config.time_unit == "auto" else config.time_unit
        times = Times(self.clock, unit, latest, str(reader.path))
        raw = self.spool.read(reader, times.clean)
        rated = ["rating"] if config.min_rating is not None else []
        events = raw.select(*_NEEDED, *rated, LINE).with_row_index(_ROW).collect()
        events = refine.known_items(events, items, untitled, "interactions", self.tally)
        self.tally.check(config.max_rejected, self.readers)
        keep = refine.Keep(config.repeats, config.min_rating, config.k_core, config.max_per_user)
        events = refine.refine_interactions(events, keep, self.tally)
        left = events["item_id"].unique().cast(pl.String)
        # Only now are the wide columns (reviews) looked at, each of their rows once.
        wide = _finished(raw.drop(LINE).collect()[events[_ROW]])
        return wide.lazy(), left

    def _queries(
        self, every: pl.Series, left: pl.Series, untitled: pl.Series
    ) -> pl.LazyFrame | None:
        if "queries" not in self.readers:
            return None
        frame = self.spool.read(self.readers["queries"], clean_queries).collect()
        keys = ["query_id", "item_id"]
        frame = refine.refine_rows(frame, "queries", keys, refine.REPEATED_JUDGEMENT, self.tally)
        frame = refine.known_items(frame, every, untitled, "queries", self.tally)
        frame = refine.in_core(frame, left, "queries", self.tally)
        return frame.drop(LINE).lazy()

    def _users(self) -> pl.LazyFrame | None:
        if "users" not in self.readers:
            return None
        frame = self.spool.read(self.readers["users"], clean_users).collect()
        frame = refine.refine_rows(frame, "users", ["user_id"], refine.REPEATED_USER, self.tally)
        return _finished(frame.drop(LINE)).lazy()


_NEEDED = ("user_id", "item_id", "timestamp")
_ROW = "_row"


def _fill(
    draft: Draft,
    config: ImportConfig,
    readers: Mapping[Table, Reader],
    latest: int,
    progress: Progress,
) -> None:
    raw = draft.path / ".raw"
    raw.mkdir()
    tally = Tally()
    clock = config.clock or (
        readers["interactions"].clock if "interactions" in readers else "order"
    )
    work = _Import(config, readers, clock, tally, Spool(raw, tally, progress))
    tables = work.tables(latest)
    tally.check(config.max_rejected, readers)
    write_tables(draft, tables, seed=config.seed)
    draft.rows["rejected"] = tally.write(draft.path / REJECTED, readers)
    draft.facts["import"] = _facts(readers, tally)
    shutil.rmtree(raw)


def _own_columns(items: pl.DataFrame, reader: Reader) -> pl.DataFrame:
    """Of an interactions' file only what tells of items."""
    said = {target for target, source in reader.mapping.items() if target != source}
    return items.select(name for name in items.columns if name in ITEM_COLUMNS or name in said)


def _finished(frame: pl.DataFrame) -> pl.DataFrame:
    """Without columns that say nothing, further text columns as the numbers they hold."""
    known = {**ITEM_COLUMNS, **INTERACTION_COLUMNS}
    empty = [name for name in frame.columns if frame[name].null_count() == frame.height]
    frame = frame.drop([name for name in empty if name not in (*_NEEDED, "title")])
    return frame.with_columns(infer(frame[name]) for name in frame.columns if name not in known)


def _facts(readers: Mapping[Table, Reader], tally: Tally) -> dict[str, Any]:
    return {
        "files": {
            table: {
                "file": reader.path.name,
                "format": reader.format,
                "columns": dict(reader.mapping),
            }
            for table, reader in readers.items()
        },
        "read": dict(tally.read),
        "bad": tally.counts(bad=True),
        "dropped": tally.counts(bad=False),
    }
