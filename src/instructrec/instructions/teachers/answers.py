"""The teacher ``answers:FILE``: texts that somebody already has, rules where there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from instructrec.errors import DataError, UsageError
from instructrec.folders import sha256
from instructrec.instructions._diversity import are_english
from instructrec.instructions.annotations import (
    PREFERENCE_VIEWS,
    QUERY_VIEW,
    SPECIFIC_VIEWS,
    VAGUE_VIEWS,
)
from instructrec.instructions.teachers.base import Ask, Teacher, Written
from instructrec.instructions.teachers.rules import RulesTeacher

ANSWER_COLUMNS = ("user_id", "item_id", "kind", "view", "split", "text", "teacher")
"""What a file of answers may tell; text and one of user_id and item_id it must."""
SPLITS = ("train", "validation", "test")

_VIEWS = {"preference": PREFERENCE_VIEWS, "intention": (*VAGUE_VIEWS, *SPECIFIC_VIEWS)}
_BETWEEN = "\x1f"


class AnswersTeacher:
    """Answers with the texts of a file.

    An intention is looked up by user, item and view, or else by item and view as one that holds
    for anybody; a preference by user, view and split, or else that of an earlier split, which
    knows less. What the file does not tell is written by ``fallback`` and marked as its words.

    Args:
        path: Parquet (``.parquet``), CSV (``.csv``, ``.tsv``) or JSON lines (``.jsonl``).
        columns: Name of ours → name in the file; ``=value`` stands for one value in every row.
            A name of ours that is left out is looked for under that name.
        fallback: Who writes what the file does not tell.

    Where the file has no kind, a text with an item is an intention; where it has no view, a
    preference is ``overall``, an intention of somebody ``what_i_want`` and one of anybody
    ``specific``; a preference without a split is as good as one of the training split. Of two
    texts for the same ask the first counts. With a column ``teacher`` (a corpus's annotations) the
    texts are marked as the words of whoever wrote them.

    Raises:
        UsageError: There is no such file, or ``columns`` names nothing of ours.
        DataError: The file cannot be read, lacks a column, is empty, or names an unknown kind,
            view or split.

    Example:
        >>> AnswersTeacher(Path("texts.csv"), {"user_id": "customer"})  # doctest: +SKIP
    """

    in_workers = False
    has_texts = True
    """It may have texts where a dataset has nothing to make them from."""

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, str] | None = None,
        *,
        fallback: Teacher | None = None,
    ) -> None:
        self.name = f"answers:{path.name}"
        self.parameters = answers_parameters(path, columns or {})
        self.fallback = fallback or RulesTeacher()
        frame = _complete(_chosen(_read(path), path, columns or {}), path)
        self.language = "en" if are_english(frame["text"]) else ""
        frame = frame.with_columns(key=_key()).unique("key", keep="first", maintain_order=True)
        frame = frame.with_columns(hash=pl.col("key").hash(0)).sort("hash")
        self.writes_queries = bool((frame["view"] == QUERY_VIEW).any())
        self._hashes = frame["hash"].to_numpy()
        self._frame = frame.select("key", "text", "teacher")

    @classmethod
    def load(cls, path: Path, columns: str = "") -> AnswersTeacher:
        """The teacher of a file, columns as ``--answers-columns`` has them (`parse_columns`)."""
        return cls(path, parse_columns(columns))

    def __len__(self) -> int:
        return self._frame.height

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """One answer an ask, in order (see `Teacher`)."""
        found = self._found(asks)
        rest = [at for at, one in enumerate(found) if one is None and self._can_be_made(asks[at])]
        made = self.fallback.write([asks[at] for at in rest]) if rest else []
        fallen_back = dict(zip(rest, made, strict=True))
        nothing = Written("", self.name)
        return [one or fallen_back.get(at, nothing) for at, one in enumerate(found)]

    def _can_be_made(self, ask: Ask) -> bool:
        """Whether the fallback would be asked for it by itself."""
        if ask.view == QUERY_VIEW:
            return bool(getattr(self.fallback, "writes_queries", False))
        return bool(ask.review) if ask.view in VAGUE_VIEWS else True

    def _found(self, asks: Sequence[Ask]) -> list[Written | None]:
        """What the file tells; the best place that it has for each ask."""
        found: list[Written | None] = [None] * len(asks)
        for step in range(len(SPLITS)):
            keys: dict[int, str] = {}
            for at, ask in enumerate(asks):
                options = _keys(ask)
                if found[at] is None and step < len(options):
                    keys[at] = options[step]
            for at, written in zip(keys, self._looked_up(list(keys.values())), strict=True):
                found[at] = written
        return found

    def _looked_up(self, keys: list[str]) -> list[Written | None]:
        if not keys:
            return []
        wanted = pl.Series(keys, dtype=pl.String).hash(0).to_numpy()
        places = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        rows = self._frame[places.tolist()]
        return [
            Written(text, teacher or self.name) if there == key else None
            for key, there, text, teacher in zip(
                keys, rows["key"], rows["text"], rows["teacher"], strict=True
            )
        ]


def answers_parameters(path: Path, columns: Mapping[str, str]) -> dict[str, Any]:
    """What decides the texts of a file beside its name: its bytes, and what its columns mean.

    Raises:
        UsageError: There is no such file.
    """
    if not path.is_file():
        raise UsageError(f"there is no file of answers {path}", "Check the path")
    return {"sha256": sha256(path), "columns": dict(columns)}


def parse_columns(text: str) -> dict[str, str]:
    """Read ``user_id=customer,text=wish``; ``split==validation`` is one value for every row.

    Raises:
        UsageError: A part has no ``=`` or names nothing of ours.
    """
    columns: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, found, column = part.partition("=")
        if not (found and column.strip()):
            raise UsageError(
                f"{part!r} names no column of the file of answers", "Write user_id=COLUMN"
            )
        columns[name.strip()] = column.strip()
    _check_names(columns)
    return columns


def _check_names(columns: Mapping[str, str]) -> None:
    for name in columns:
        if name not in ANSWER_COLUMNS:
            raise UsageError(
                f"a file of answers tells nothing called {name!r}",
                f"Use one of {', '.join(ANSWER_COLUMNS)}",
            )


def _read(path: Path) -> pl.DataFrame:
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".parquet": pl.read_parquet,
        ".csv": lambda file: pl.read_csv(file, infer_schema=False),
        ".tsv": lambda file: pl.read_csv(file, infer_schema=False, separator="\t"),
        ".jsonl": lambda file: pl.read_ndjson(file, infer_schema_length=None),
    }
    readers[".ndjson"] = readers[".jsonl"]
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path} is of no kind known here", f"Use one of {', '.join(readers)} as its ending"
        )
    if not path.stat().st_size:
        raise DataError(f"{path} is empty", "Name a file that holds texts")
    try:
        return readers[path.suffix.lower()](path)
    except (OSError, pl.exceptions.PolarsError) as error:
        told = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read ({told})", "Mend or convert the file") from None


def _chosen(frame: pl.DataFrame, path: Path, columns: Mapping[str, str]) -> pl.DataFrame:
    """The file's columns under our names, as strings; absent ones are null."""
    _check_names(columns)
    chosen: list[pl.Expr] = []
    for name in ANSWER_COLUMNS:
        column = columns.get(name, name)
        if column.startswith("="):
            value = pl.lit(column[1:])
        elif column in frame.columns:
            value = pl.col(column).cast(pl.String)
        elif name in columns or name == "text":
            raise _no_column(path, column, name, frame)
        else:
            value = pl.lit(None, dtype=pl.String)
        chosen.append(value.alias(name))
    try:
        table = frame.select(chosen)
    except pl.exceptions.PolarsError as error:
        told = " ".join(str(error).split())[:200]
        raise DataError(f"{path} has a column that is no text ({told})", "Mend it") from None
    if table["user_id"].is_null().all() and table["item_id"].is_null().all() and table.height:
        raise _no_column(path, "user_id", "user_id", frame)
    return table


def _no_column(path: Path, column: str, name: str, frame: pl.DataFrame) -> DataError:
    return DataError(
        f"{path} has no column {column!r}; it has {', '.join(frame.columns)}",
        f"Say which it is by --answers-columns {name}=COLUMN",
    )


def _complete(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Rows with a text, their kinds, views and splits filled in and checked."""
    blank = pl.col(pl.String).str.strip_chars()
    table = table.with_columns(pl.when(blank != "").then(blank))
    table = table.filter(pl.col("text").is_not_null())
    if table.is_empty():
        raise DataError(f"{path} holds no text", "Name a file that holds texts")
    kind = pl.when(pl.col("item_id").is_null()).then(pl.lit("preference"))
    table = table.with_columns(pl.col("kind").fill_null(kind.otherwise(pl.lit("intention"))))
    usual = (
        pl.when(pl.col("kind") == "preference")
        .then(pl.lit("overall"))
        .when(pl.col("user_id").is_null())
        .then(pl.lit("specific"))
        .otherwise(pl.lit("what_i_want"))
    )
    table = table.with_columns(pl.col("view").fill_null(usual), pl.col("split").fill_null("train"))
    _check_values(table, "kind", tuple(_VIEWS), path)
    _check_values(table, "split", SPLITS, path)
    for kind_of_text, views in _VIEWS.items():
        rows = table.filter(pl.col("kind") == kind_of_text)
        _check_values(rows, "view", views, path, f" of a {kind_of_text}")
    return table


def _check_values(
    table: pl.DataFrame, column: str, allowed: Sequence[str], path: Path, of: str = ""
) -> None:
    wrong = table.filter(~pl.col(column).is_in(allowed))
    if not wrong.is_empty():
        raise DataError(
            f"{path} has the {column} {wrong[column][0]!r}{of} ({wrong.height:,} rows)",
            f"Use one of {', '.join(allowed)}, or name another column by --answers-columns "
            f"{column}=COLUMN",
        )


def _key() -> pl.Expr:
    """Preferences by user and split, intentions by user and item whatever the split."""
    is_preference = pl.col("kind") == "preference"
    about = pl.when(is_preference).then(pl.col("split")).otherwise(pl.col("item_id"))
    parts = [pl.col("kind"), pl.col("view"), pl.col("user_id").fill_null(""), about.fill_null("")]
    return pl.concat_str(parts, separator=_BETWEEN)


def _keys(ask: Ask) -> list[str]:
    """Where the answer to an ask may stand, the best place first."""
    user = ask.user_id or ""
    if ask.kind == "intention":
        return [
            _BETWEEN.join((ask.kind, ask.view, whose, ask.item_id or ""))
            for whose in dict.fromkeys((user, ""))
        ]
    last = SPLITS.index(ask.split or "train")
    earlier = reversed(SPLITS[: last + 1])
    return [_BETWEEN.join((ask.kind, ask.view, user, split)) for split in earlier]
