"""Column maps: which columns of a file make which column of ours, said by a person or guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from instructrec.data.readers.base import TABLES, Table
from instructrec.errors import UsageError

ALIASES: dict[str, tuple[str, ...]] = {
    "user_id": ("user", "userid", "uid", "customer_id", "visitorid", "reviewerid", "session_id"),
    "item_id": ("item", "itemid", "iid", "parent_asin", "asin", "product_id", "movieid", "sku"),
    "timestamp": ("time", "ts", "unixreviewtime", "datetime", "date", "created_at", "position"),
    "rating": ("overall", "stars", "score"),
    "review": ("review_text", "reviewtext", "review_body"),
    "review_title": ("summary", "review_headline"),
    "event": ("event_type", "action", "behavior"),
    "title": ("name", "product_name", "item_name", "product_title", "movie_title"),
    "categories": ("category", "genres", "genre", "category_path"),
    "query_id": ("qid",),
    "text": ("query",),
    "relevance": ("label", "judgement", "judgment"),
}
"""Other names that columns go by, regardless of case; earlier ones win."""

COLUMNS: dict[Table, tuple[str, ...]] = {
    "interactions": (
        *("user_id", "item_id", "timestamp", "rating", "review", "review_title", "event", "weight"),
    ),
    "items": (
        *("item_id", "title", "categories", "brand", "price", "currency", "description"),
        *("in_stock", "added_at", "url"),
    ),
    "queries": ("query_id", "text", "item_id", "relevance"),
    "users": ("user_id",),
}
REQUIRED: dict[Table, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id", "timestamp"),
    "items": ("item_id", "title"),
    "queries": ("text", "item_id"),
    "users": ("user_id",),
}
ORDER_NAMES = ("position", "order", "rank", "step", "seq", "sequence")
"""Names of columns that give an order, not a time."""

Mapped = dict[str, list[str]]
"""House column → the file's columns that make it."""


def parse_columns(text: str) -> dict[str, str]:
    """Read ``user_id=uid,categories=platform+kind``.

    Raises:
        UsageError: It is not of that form, or a column is given twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        target, sign, source = (piece.strip() for piece in part.partition("="))
        if not (target and sign and source):
            raise UsageError(
                f"--columns has {part!r}, which does not say OURS=THEIRS",
                "Write it as in --columns user_id=uid,categories=platform+kind",
            )
        if target in found:
            raise UsageError(f"--columns gives {target} twice", "Give it once")
        found[target] = source
    return found


def resolve(
    path: Path, table: Table, names: Sequence[str], wanted: Mapping[str, str], *, optional: bool
) -> Mapped:
    """Find out which of a file's columns make which of ours.

    What a person said comes first (but is passed over where this file lacks those columns, which
    may stand in another file), then a column of our name, then one of the `ALIASES`.

    Args:
        path: The file, for the error.
        table: What it holds.
        names: Its columns.
        wanted: See `instructrec.data.readers.base.ReadOptions.columns`.
        optional: Whether timestamp may be missing (the order of the lines stands for it).

    Raises:
        UsageError: A column that the table must have is not there.
    """
    exact = {name: name for name in names}
    lower = {name.lower(): name for name in reversed(names)}
    found: Mapped = {}
    for target, source in for_table(table, wanted).items():
        parts = [part.strip() for part in source.split("+")]
        if all(part in exact for part in parts):
            found[target] = parts
    taken = {part for parts in found.values() for part in parts if len(parts) == 1}
    for target in COLUMNS[table]:
        for name in (target, *ALIASES.get(target, ())):
            if target not in found and lower.get(name) not in (None, *taken):
                found[target] = [lower[name]]
    for target in REQUIRED[table]:
        if target not in found and not (optional and target == "timestamp"):
            raise _missing(path, table, target, names, wanted)
    return found


def for_table(table: Table, wanted: Mapping[str, str]) -> dict[str, str]:
    """The part of a map that may speak of this table; ``items.x`` wins over ``x``."""
    mine: dict[str, str] = {}
    for target, source in wanted.items():
        if "." not in target and _may_hold(table, target):
            mine[target] = source
    for target, source in wanted.items():
        head, _, tail = target.partition(".")
        if head == table and tail:
            mine[tail] = source
    return mine


def _may_hold(table: Table, target: str) -> bool:
    known = {name for names in COLUMNS.values() for name in names}
    return target in COLUMNS[table] or (table in ("items", "users") and target not in known)


def check_columns(wanted: Mapping[str, str], files: Mapping[Table, Sequence[str]]) -> None:
    """Make sure that every column a person named stands in a file it may speak of.

    Raises:
        UsageError: One does not.
    """
    for target, source in wanted.items():
        head, _, tail = target.partition(".")
        if tail and head not in TABLES:
            raise UsageError(
                f"--columns names the table {head!r}", f"Use one of {', '.join(TABLES)}"
            )
        for part in (part.strip() for part in source.split("+")):
            meant = [names for table, names in files.items() if target in _named(table, target)]
            if not any(part in names for names in meant):
                seen = ", ".join(dict.fromkeys(name for names in meant for name in names))
                raise UsageError(
                    f"--columns {target}={source} names the column {part!r}, which no file has",
                    f"The columns are {seen}",
                )


def _named(table: Table, target: str) -> tuple[str, ...]:
    head, _, tail = target.partition(".")
    if tail:
        return (target,) if head == table else ()
    return (target,) if _may_hold(table, target) else ()


def _missing(
    path: Path, table: Table, target: str, names: Sequence[str], wanted: Mapping[str, str]
) -> UsageError:
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    if len(names) == 1:
        return UsageError(
            f"{path} has only one column, {names[0][:60]!r}",
            "Say what separates the columns with --delimiter",
        )
    cure = f"Map one with --columns {target}=NAME"
    if target == "timestamp":
        cure += ", or give --clock order to take the order of the lines"
    said = wanted.get(target)
    also = f" (nor {said})" if said else ""
    return UsageError(
        f"{path} has no column {target}{also} for {table}; its columns are {shown}", cure
    )


def listed(sources: Sequence[str], schema: pl.Schema) -> pl.Expr:
    """A list column made of several columns, without nulls and blanks."""
    parts = [
        pl.col(name)
        if isinstance(schema[name], pl.List)
        else pl.concat_list(pl.col(name).cast(pl.String).str.strip_chars())
        for name in sources
    ]
    joined = pl.concat_list([part.fill_null([]) for part in parts])
    return joined.list.eval(pl.element().filter(pl.element().is_not_null() & (pl.element() != "")))
