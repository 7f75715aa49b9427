"""Raw logs to a Dataset folder: read, check, refine, split, write."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
from pyarrow import parquet
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instructrec.data import cleaning, refine
from instructrec.data.cleaning import LINE
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
from instructrec.data.values import infer
from instructrec.errors import DataError, UsageError
from instructrec.folders import Draft, identity, new_folder
from instructrec.protocols import SILENT, Progress

REJECTED = "rejected.jsonl"
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
    options = ReadOptions(config.columns, config.delimiter, config.header)
    files = config.files()
    by_order = config.clock == "order"
    readers = {
        table: open_reader(
            files[table], table, options, format=config.format, optional_time=by_order
        )
        for table in TABLES
        if table in files
    }
    check_columns(
        config.columns, {table: reader.parser.columns() for table, reader in readers.items()}
    )
    return readers


def _fill(
    draft: Draft,
    config: ImportConfig,
    readers: Mapping[Table, Reader],
    latest: int,
    progress: Progress,
) -> None:
    tally = Tally()
    raw = draft.path / ".raw"
    raw.mkdir()
    spool = _Spool(raw, tally, progress)
    clock = config.clock or (
        readers["interactions"].clock if "interactions" in readers else "order"
    )
    currency = readers["items"].currency
    spooled = {"items": spool.read(readers["items"], lambda b: cleaning.clean_items(b, currency))}
    alone = config.items is not None and config.items != config.interactions
    items, untitled = refine.refine_items(spooled["items"], tally, count=alone)
    if not alone:
        items = _own_columns(items, readers["items"])
    events = pl.DataFrame(schema={name: INTERACTION_COLUMNS[name] for name in _NEEDED})
    if "interactions" in readers:
        events = _events(config, readers["interactions"], clock, latest, spool)
        events = refine.known_items(events, items["item_id"], untitled, "interactions", tally)
        tally.check(config.max_rejected, readers)
        keep = refine.Keep(config.repeats, config.min_rating, config.k_core, config.max_per_user)
        events = refine.refine_interactions(events, keep, tally)
        if config.k_core > 1:
            items = items.join(events.select("item_id"), on="item_id", how="semi")
    tables = Tables(
        _finished(items).lazy(), _finished(events.drop(LINE, strict=False)).lazy(), clock=clock
    )
    if "queries" in readers:
        found = spool.read(readers["queries"], cleaning.clean_queries)
        keys = ["query_id", "item_id"]
        queries = refine.refine_rows(found, "queries", keys, refine.DUPLICATE_JUDGEMENT, tally)
        queries = refine.known_items(queries, items["item_id"], untitled, "queries", tally)
        tables.queries = queries.drop(LINE).lazy()
    if "users" in readers:
        found = spool.read(readers["users"], cleaning.clean_users)
        users = refine.refine_rows(found, "users", ["user_id"], refine.DUPLICATE_USER, tally)
        tables.users = _finished(users.drop(LINE)).lazy()
    tally.check(config.max_rejected, readers)
    write_tables(draft, tables, seed=config.seed)
    draft.rows["rejected"] = tally.write(draft.path / REJECTED, readers)
    draft.facts["import"] = _facts(readers, tally)
    shutil.rmtree(raw)


_NEEDED = ("user_id", "item_id", "timestamp")


def _events(
    config: ImportConfig, reader: Reader, clock: Clock, latest: int, spool: _Spool
) -> pl.DataFrame:
    unit: list[TimeUnit] = []

    def clean(batch: Batch) -> Batch:
        frame = batch.frame
        if "timestamp" not in frame.columns:
            batch = Batch(
                frame.with_columns(pl.Series("timestamp", batch.lines)), batch.lines, batch.faults
            )
        if not unit and batch.frame.height:
            said = config.time_unit if config.time_unit != "auto" else reader.time_unit
            unit.append(
                cleaning.find_unit(str(reader.path), batch.frame["timestamp"], said)
                if clock == "ms"
                else "ms"
            )
        return cleaning.clean_interactions(
            batch, cleaning.Clock(clock, unit[0] if unit else "ms", latest)
        )

    return spool.read(reader, clean).collect()


class _Spool:
    """Reads files batch by batch into Parquet files of their checked rows."""

    def __init__(self, folder: Path, tally: Tally, progress: Progress) -> None:
        self._folder = folder
        self._tally = tally
        self._progress = progress

    def read(self, reader: Reader, clean: Callable[[Batch], Batch]) -> pl.LazyFrame:
        """Read a file whole.

        Raises:
            DataError: It cannot be read or has no row.
        """
        path = self._folder / f"{reader.table}.parquet"
        writer: parquet.ParquetWriter | None = None
        schema: pl.Schema | None = None
        try:
            for batch in self._progress.track(reader.batches(), f"reading {reader.path.name}"):
                checked = clean(batch)
                self._tally.saw(reader.table, batch.frame.height + len(batch.faults))
                self._tally.add(reader.table, checked.faults)
                frame = checked.frame.with_columns(pl.Series(LINE, checked.lines, dtype=pl.Int64))
                frame = frame if schema is None else _conform(frame, schema)
                schema = frame.schema
                arrow: pa.Table = frame.to_arrow()
                writer = writer or parquet.ParquetWriter(path, arrow.schema, compression="lz4")
                writer.write_table(arrow)
        finally:
            if writer is not None:
                writer.close()
        if writer is None or not self._tally.read.get(reader.table):
            raise DataError(f"{reader.path} has no rows", "Give a file with rows below its header")
        return pl.scan_parquet(path)


def _conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """A batch in the kinds of the first one; JSON need not keep to one kind."""
    columns = []
    for name, kind in schema.items():
        column, own = pl.col(name), frame.schema[name]
        if isinstance(own, pl.List) and kind == pl.String:
            column = column.list.join("|")
        elif own == pl.String and isinstance(kind, pl.List):
            column = pl.concat_list(column)
        columns.append(column.cast(kind, strict=False))
    return frame.select(columns)


def _own_columns(items: pl.DataFrame, reader: Reader) -> pl.DataFrame:
    """Of an interactions' file only what tells of items."""
    said = {target for target, source in reader.mapping.items() if target != source}
    return items.select(
        name for name in items.columns if name in ITEM_COLUMNS or name in said - set(_NEEDED)
    )


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
