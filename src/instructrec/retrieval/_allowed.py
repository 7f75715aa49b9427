"""Which catalogue rows each request may be given: filters as rows, conditions looked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from instructrec.data.catalogue import Catalogue
from instructrec.protocols import Condition, Filters, Rows


@dataclass(frozen=True, eq=False)
class Group:
    """Requests whose filters have the same conditions.

    Attributes:
        requests: Their numbers, ascending.
        rows: Catalogue rows that meet the conditions, ascending; none for all.
        excluded: What each request may not be given beside that: one array of rows a request.
    """

    requests: NDArray[np.int64]
    rows: Rows | None
    excluded: Sequence[Rows]

    def room(self, items: int) -> NDArray[np.int64]:
        """(requests,) how many of so many items each may be given."""
        allowed = items if self.rows is None else len(self.rows)
        taken = []
        for rows in self.excluded:
            there = rows if self.rows is None else rows[is_in(rows, self.rows)]
            taken.append(len(there))
        return allowed - np.array(taken, dtype=np.int64)


Known = dict[tuple[Condition, ...], Rows]
"""Rows that meet conditions, kept between searches."""
_KEPT = 32
"""So many conditions' rows are kept."""


def groups(
    catalogue: Catalogue, count: int, filters: Sequence[Filters] | None, known: Known
) -> Iterator[Group]:
    """Requests by the conditions of their filters, in order of first appearance.

    Excluded items, which differ from request to request, are looked up by id, so that a condition
    is looked at once however many requests share it.

    Args:
        catalogue: The items that filters look at.
        count: How many requests.
        filters: One a request, or none.
        known: What was looked up before; it grows.
    """
    if filters is None:
        none = np.zeros(0, dtype=np.int64)
        yield Group(np.arange(count), None, [none] * count)
        return
    by_conditions: dict[tuple[Condition, ...], list[int]] = {}
    for number, chosen in enumerate(filters):
        by_conditions.setdefault(chosen.conditions, []).append(number)
    for conditions, numbers in by_conditions.items():
        rows = known.get(conditions)
        if conditions and rows is None:
            alone = replace(filters[numbers[0]], exclude=frozenset())
            rows = np.flatnonzero(alone.mask(catalogue.items)).astype(np.int64)
            if len(known) >= _KEPT:
                known.clear()
            known[conditions] = rows
        excluded = []
        for number in numbers:
            taken = catalogue.rows(sorted(filters[number].exclude))
            excluded.append(np.sort(taken[taken >= 0]))
        yield Group(np.array(numbers, dtype=np.int64), rows, excluded)


def is_in(rows: Rows, ordered: Rows) -> NDArray[np.bool_]:
    """Whether each row is among ascending ones."""
    if not len(ordered):
        return np.zeros(len(rows), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ordered, rows), len(ordered) - 1)
    return np.asarray(ordered[places] == rows)
