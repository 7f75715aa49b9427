"""What the rooms agree on: scorers, retrievers, text generators, filters and progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.errors import UsageError

if TYPE_CHECKING:
    from instructrec.instructions.schema import Instruction

T = TypeVar("T")

Rows = NDArray[np.int64]
"""Catalogue row numbers; -1 stands for "no candidate" and always scores ``-inf``."""
Scores = NDArray[np.float32]

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "has"]
OPERATORS: tuple[Operator, ...] = ("==", "!=", "<", "<=", ">", ">=", "in", "has")


class Progress(Protocol):
    """Where library code reports how far it is; the command line shows it."""

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterable[T]:
        """Hand ``items`` on, one by one, reporting under ``title``."""
        ...

    def note(self, text: str) -> None:
        """Say one line that a person may want to know."""
        ...


class Silent:
    """A `Progress` that says nothing."""

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterable[T]:
        """Hand ``items`` on."""
        return items

    def note(self, text: str) -> None:
        """Do nothing."""


SILENT: Progress = Silent()


@runtime_checkable
class Scorer(Protocol):
    """Gives every candidate of every instruction a score; higher is better.

    Attributes:
        name: A short name, used in reports, fusion weights and evidence.
    """

    name: str

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """Score candidates.

        Args:
            instructions: n requests.
            candidates: (n, candidates) rows of the catalogue, -1 where a list is shorter.

        Returns:
            (n, candidates) float32 scores, ``-inf`` where the candidate is -1. An instruction that
            the scorer has nothing to say about gets equal scores (zeros).
        """
        ...


@runtime_checkable
class Retriever(Scorer, Protocol):
    """A `Scorer` that also finds the best items of the whole catalogue."""

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """Find items.

        Args:
            instructions: n requests.
            k: How many items each gets.
            filters: One a request; all of the catalogue when left out.

        Returns:
            (n, k) rows of the catalogue, best first, ties by item_id; -1 where fewer exist.
        """
        ...


Chat = Sequence[tuple[str, str]]
"""Turns of a conversation as (role, words); roles are ``system``, ``user`` and ``assistant``."""


@dataclass(frozen=True)
class Generated:
    """What a language model wrote.

    Attributes:
        text: Its words, without marks of any chat template.
        prompt_tokens: How many tokens it read.
        tokens: How many it wrote, the end token included.
        error: Why there is no text, in one line; ``""`` where there is one.
    """

    text: str
    prompt_tokens: int
    tokens: int
    error: str = ""


class TextGenerator(Protocol):
    """A language model in memory that answers conversations."""

    def generate(
        self, chats: Sequence[Chat], max_new_tokens: Sequence[int]
    ) -> Iterator[tuple[int, Generated]]:
        """Each conversation's number with its answer, batch by batch, in any order.

        Args:
            chats: What was said so far, one conversation an answer.
            max_new_tokens: How many tokens each answer may have.
        """
        ...


@dataclass(frozen=True)
class Condition:
    """One limit on one column: ``price <= 30``, ``categories has "Racing"``.

    ``has`` means that a list column contains a value or a text column contains a word; both
    regardless of case. A missing value meets no condition but ``!=``.
    """

    column: str
    operator: Operator
    value: Any

    def expression(self, schema: pl.Schema) -> pl.Expr:
        """The condition over an items frame.

        Raises:
            UsageError: The column is not there or the value is of the wrong type for it.
        """
        if self.column not in schema:
            raise UsageError(
                f"a filter names the column {self.column!r}, which the items do not have",
                f"Use one of {', '.join(schema.names())}",
            )
        column, kind = pl.col(self.column), schema[self.column]
        if self.operator == "has":
            return _has(column, kind, str(self.value)).fill_null(False)
        values = list(self.value) if self.operator == "in" else [self.value]
        if kind.is_numeric() and not all(isinstance(value, int | float) for value in values):
            raise UsageError(f"{self.column} is a number, {self.value!r} is not", "Give a number")
        result = {
            "==": column == self.value,
            "!=": column.ne_missing(self.value),
            "in": column.is_in(values),
        }.get(self.operator)
        if result is None:
            result = _ordered(column, self.operator, self.value)
        return result.fill_null(False)

    def __str__(self) -> str:
        """The condition as a person reads it."""
        return f"{self.column} {self.operator} {self.value}"


def _has(column: pl.Expr, kind: pl.DataType, value: str) -> pl.Expr:
    wanted = value.casefold()
    if isinstance(kind, pl.List):
        return column.list.eval(pl.element().str.to_lowercase() == wanted).list.any()
    return column.cast(pl.String).str.to_lowercase().str.contains(wanted, literal=True)


def _ordered(column: pl.Expr, operator: Operator, value: Any) -> pl.Expr:
    ordered: dict[str, pl.Expr] = {
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }
    return ordered[operator]


@dataclass(frozen=True)
class Filters:
    """Hard limits on what may be answered; one value serves words, retrieval, CLI and HTTP.

    Attributes:
        conditions: All must hold.
        exclude: Item ids that may not be answered.
    """

    conditions: tuple[Condition, ...] = ()
    exclude: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Filters:
        """Read conditions such as ``price<=30``, ``brand==Acme``, ``categories has Racing``.

        Raises:
            UsageError: A text has no operator or an empty side.
        """
        return cls(tuple(_parse_condition(text) for text in texts))

    def mask(self, items: pl.DataFrame) -> NDArray[np.bool_]:
        """Which rows of ``items`` may be answered; (items,) booleans."""
        allowed = ~pl.col("item_id").is_in(sorted(self.exclude)) if self.exclude else pl.lit(True)
        for condition in self.conditions:
            allowed = allowed & condition.expression(items.schema)
        frame = items.select(pl.lit(True).repeat_by(1).list.first().alias("all") & allowed)
        return np.broadcast_to(frame.to_series().to_numpy(), (items.height,)).astype(np.bool_)

    def excluding(self, item_ids: Iterable[str]) -> Filters:
        """These filters with more items excluded."""
        return replace(self, exclude=self.exclude | frozenset(item_ids))

    def __bool__(self) -> bool:
        return bool(self.conditions or self.exclude)

    def __str__(self) -> str:
        """The conditions as a person reads them."""
        return " and ".join(str(condition) for condition in self.conditions)


def _parse_condition(text: str) -> Condition:
    for operator in ("<=", ">=", "!=", "==", "<", ">", " in ", " has "):
        column, found, value = text.partition(operator)
        if found and column.strip() and value.strip():
            return Condition(column.strip(), operator.strip(), _value(value.strip(), operator))  # type: ignore[arg-type]
    raise UsageError(
        f"{text!r} is not a filter", 'Write a column, an operator and a value: "price<=30"'
    )


def _value(text: str, operator: str) -> Any:
    if operator == " in ":
        return tuple(_value(part.strip(), "==") for part in text.split("|"))
    if operator == " has ":
        return text
    if text.casefold() in {"true", "false"}:
        return text.casefold() == "true"
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text
