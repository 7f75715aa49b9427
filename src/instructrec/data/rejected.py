"""Counts the rows that an import leaves out, keeps samples, and says when there are too many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructrec.data.readers.base import Fault, Reader, Table
from instructrec.errors import DataError

SAMPLES = 1000
"""Rows a table and reason that are written down; all are counted."""
SHOWN = 200
"""Characters of a line that are written down."""


@dataclass
class _Kind:
    """Rows of one table that went for one reason."""

    bad: bool
    count: int = 0
    lines: list[int] = field(default_factory=list)


class Tally:
    """What was read and what was left out, by table and reason.

    A row is *bad* when it cannot be used as it stands (these count against ``--max-rejected``), or
    *dropped* when it is left out by a rule: no title, a repeated id, a repeat, a k-core.
    """

    def __init__(self) -> None:
        self.read: dict[Table, int] = {}
        self._kinds: dict[tuple[Table, str], _Kind] = {}

    def saw(self, table: Table, rows: int) -> None:
        """Count rows read, good or bad."""
        self.read[table] = self.read.get(table, 0) + rows

    def add(self, table: Table, faults: Iterable[Fault]) -> None:
        """Count bad rows."""
        for fault in faults:
            self.leave_out(table, fault.reason, [fault.line], bad=True)

    def leave_out(
        self, table: Table, reason: str, lines: Sequence[int], *, bad: bool, count: int = -1
    ) -> None:
        """Count rows, of which ``lines`` are some; all of them unless ``count`` says more."""
        if not lines and count < 1:
            return
        kind = self._kinds.setdefault((table, reason), _Kind(bad))
        kind.count += len(lines) if count < 0 else count
        kind.lines.extend(lines[: SAMPLES - len(kind.lines)])

    def counts(self, *, bad: bool) -> dict[str, dict[str, int]]:
        """Table → reason → rows, of the bad or of the dropped."""
        found: dict[str, dict[str, int]] = {}
        for (table, reason), kind in sorted(self._kinds.items()):
            if kind.bad == bad:
                found.setdefault(table, {})[reason] = kind.count
        return found

    def check(self, limit: float, readers: Mapping[Table, Reader]) -> None:
        """Fail when more than a share of a table's rows is bad.

        Raises:
            DataError: It names the counts, the commonest reason and where it stands first.
        """
        for table, reader in readers.items():
            kinds = {
                reason: kind
                for (of, reason), kind in self._kinds.items()
                if of == table and kind.bad
            }
            total = sum(kind.count for kind in kinds.values())
            rows = self.read.get(table, 0)
            if total <= limit * rows:
                continue
            reason, worst = max(kinds.items(), key=lambda pair: pair[1].count)
            first = f" ({worst.count:,} rows, first line {min(worst.lines)})"
            raise DataError(
                f"{total:,} of {rows:,} rows of {reader.path} are bad, more than the "
                f"{limit:.3g} allowed; most often: {reason}{first}",
                f"{_cure(reason)}, or allow more with --max-rejected",
            )

    def write(self, path: Path, readers: Mapping[Table, Reader]) -> int:
        """Write the samples as JSON lines and return how many there are."""
        rows: list[dict[str, Any]] = []
        for table, reader in sorted(readers.items()):
            mine = sorted(item for item in self._kinds.items() if item[0][0] == table)
            wanted = sorted({line for _, kind in mine for line in kind.lines})
            texts = reader.texts(wanted) if wanted else {}
            for (_, reason), kind in mine:
                rows += [
                    {
                        "table": table,
                        "file": reader.path.name,
                        "line": line,
                        "reason": reason,
                        "bad": kind.bad,
                        "text": texts.get(line, "")[:SHOWN],
                    }
                    for line in sorted(kind.lines)
                ]
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return len(rows)


def _cure(reason: str) -> str:
    cures = {
        "timestamp": "Check --clock, --time-unit and the column mapped to timestamp",
        "item_id is not": "Give all items with --items, or map the same ids with --columns",
        "another number": "Check --delimiter and the quotation marks",
        "not valid UTF-8": "Save the file as UTF-8",
        "not a JSON": "Give one JSON object a line",
    }
    return next((cure for part, cure in cures.items() if part in reason), "Mend those rows")
