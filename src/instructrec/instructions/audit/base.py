"""What every check of a leak audit is, and what it finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

MOST_NAMED = 100_000
"""Rows that a check names; what exceeds them is counted."""


@dataclass(frozen=True)
class Finding:
    """One row that a check found fault with.

    Attributes:
        split: Where the row is.
        row: Its number (column ``row`` of the corpus).
        reason: What is wrong, in words.
    """

    split: str
    row: int
    reason: str


@dataclass
class Leak:
    """What one check found.

    Attributes:
        check: Its name.
        asks: What it asks of every row, in words.
        looked_at: How many rows it looked at.
        found: How many it found fault with.
        rows: The first `MOST_NAMED` of these.
        facts: Figures that the verdict rests on.
    """

    check: str
    asks: str
    looked_at: int = 0
    found: int = 0
    rows: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, findings: Iterable[Finding]) -> None:
        """Count findings and keep the first."""
        for one in findings:
            self.found += 1
            if len(self.rows) < MOST_NAMED:
                self.rows.append(one)

    def told(self) -> dict[str, Any]:
        """As the JSON answer has it."""
        rows = [{"split": one.split, "row": one.row, "reason": one.reason} for one in self.rows]
        return {
            "check": self.check,
            "asks": self.asks,
            "looked_at": self.looked_at,
            "found": self.found,
            "rows": rows,
            "left_out": self.found - len(rows),
            **({"facts": self.facts} if self.facts else {}),
        }


class Check(Protocol):
    """Looks for one kind of leak, batch by batch.

    Attributes:
        name: A short name.
        asks: What it asks of every row.
    """

    name: str
    asks: str

    def look(self, split: str, rows: pl.DataFrame) -> Iterator[Finding]:
        """What is wrong with these rows (columns of `CORPUS_SCHEMA`)."""
        ...

    def close(self) -> Iterator[Finding]:
        """What is wrong with all rows together, once all were seen."""
        ...

    def facts(self) -> dict[str, Any]:
        """Figures that the verdict rests on; plain JSON values."""
        ...


class RowCheck:
    """A `Check` that judges row by row."""

    def close(self) -> Iterator[Finding]:
        """See `Check.close`."""
        return iter(())

    def facts(self) -> dict[str, Any]:
        """See `Check.facts`."""
        return {}


def findings(split: str, rows: pl.DataFrame, reason: str = "reason") -> Iterator[Finding]:
    """A finding a row, with the reason of its column."""
    for row, told in rows.select("row", reason).iter_rows():
        yield Finding(split, row, told)
