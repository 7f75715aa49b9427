"""What the tests of importing share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from instructrec.data.dataset import Dataset

Write = Callable[..., Path]
Load = Callable[..., Dataset]

DAY = 86_400_000
T = 1_600_000_000_000
"""A moment in 2020, in milliseconds."""
ITEMS = "item_id,title\na,Alpha\nb,Beta\nc,Gamma\n"


def events_of(dataset: Dataset) -> list[tuple[str, str, int]]:
    """user_id, item_id, timestamp of all interactions."""
    return dataset.interactions.select("user_id", "item_id", "timestamp").collect().rows()
