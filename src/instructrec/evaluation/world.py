"""What requests are made of, and where their candidates may come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.requests import MAX_HISTORY
from instructrec.protocols import Retriever


@dataclass(frozen=True, eq=False)
class World:
    """What requests are made of.

    Attributes:
        dataset: Items, interactions, splits.
        protocol: How targets are set apart.
        texts: Preferences and intentions.
        max_history: Items a sequence has at most, target included.
        retrievers: Fitted without test rows, by name, where candidates come from any.
    """

    dataset: Dataset
    protocol: Protocol
    texts: Annotations
    max_history: int = MAX_HISTORY
    retrievers: Mapping[str, Retriever] = field(default_factory=dict)

    @cached_property
    def popularity(self) -> NDArray[np.int64]:
        """(items,) interactions of each item in training."""
        return self.dataset.split(self.protocol).train().counts(len(self.dataset.catalogue))
