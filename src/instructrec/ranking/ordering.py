"""In which orders a prompt lists its candidates, where a model is shown them."""

from __future__ import annotations

import numpy as np

from instructrec.protocols import Rows


def arrangements(rows: Rows, orders: int) -> list[Rows]:
    """Orders of one list of candidates.

    A single order is the one given: what a model makes of it then depends on who comes first.
    Several are evenly spaced turns of one shuffled arrangement that depends on nothing but which
    candidates there are, so that their average does not depend on the order given, and with as
    many orders as candidates each stands at each place once.

    Args:
        rows: (candidates,) catalogue rows, without -1.
        orders: How many; never more than there are candidates.

    Source: permutation self-consistency, Tang et al. 2023; docs/paper.md §8.
    """
    if orders == 1 or len(rows) < 2:
        return [rows]
    known = np.sort(rows)
    shuffled = np.random.default_rng(known.tolist()).permutation(known)
    count = min(orders, len(rows))
    return [np.roll(shuffled, -(turn * len(rows) // count)) for turn in range(count)]
