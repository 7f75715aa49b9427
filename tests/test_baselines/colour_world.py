"""A small world for rivals that learn: colours taken in turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.folders import new_folder

COLOURS = ("red", "green", "blue", "grey")
EACH, USERS = 6, 90


def make_dataset(folder: Path) -> Dataset:
    """Everybody takes red, green, blue, grey, red, … from a random start, each any such thing."""
    rng = np.random.default_rng(0)
    ids = [f"{colour}{number}" for colour in COLOURS for number in range(EACH)]
    items = pl.DataFrame(
        {"item_id": ids, "title": [f"{item[:-1]} thing {item[-1]}" for item in ids]}
    )
    events = []
    for user in range(USERS):
        start, stop = int(rng.integers(4)), int(rng.integers(5, 11))
        for place in range(stop):
            item = f"{COLOURS[(start + place) % 4]}{rng.integers(EACH)}"
            events.append((f"u{user:03}", item, place))
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    with new_folder(folder, "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), frame.lazy(), clock="order"))
    return Dataset(folder)
