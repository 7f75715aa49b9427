"""The two-tower matcher: a user tower over the history, item vectors, and the lists they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines._next_item import CausalNet, HistoryRival
from instructrec.evaluation.baselines.settings import RivalConfig, TwoTowerConfig
from instructrec.instructions.requests import Requests
from instructrec.protocols import SILENT, Progress, Rows

LIST = 100
"""Items of a user's list."""
_BLOCK = 512


class TwoTowerNet(CausalNet):
    """A two-layer net over the decayed mean of the history's vectors.

    Args:
        config: See `TwoTowerConfig`.
        items: How many items there are.
    """

    def __init__(self, config: TwoTowerConfig, items: int) -> None:
        super().__init__(config, items)
        self.decay = config.decay
        self.tower = nn.Sequential(
            nn.Linear(config.dimensions, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.dimensions),
        )
        self.scale = config.dimensions**0.5

    def states(self, vectors: Tensor) -> Tensor:
        """See `CausalNet.states`."""
        places = torch.arange(vectors.shape[1], device=vectors.device)
        ages = (places[:, None] - places[None, :]).to(vectors.dtype)
        weights = torch.where(ages >= 0, self.decay ** ages.clamp_min(0), torch.zeros_like(ages))
        means = (weights / weights.sum(dim=1, keepdim=True)) @ (vectors * self.scale)
        told: Tensor = means + self.tower(means)
        return told


class TwoTower(HistoryRival):
    """The matcher whose best items are the hard negatives of the paper's table 9.

    Its tower knows no order but age, and no meeting of user and item before the dot product:
    that is what makes it a matcher. Trained by cross-entropy over the catalogue, where the paper
    does not say how.

    Source: paper §4.1, "two-tower matching"; Covington, Adams, Sargin 2016, "Deep Neural Networks
    for YouTube Recommendations", §3.
    """

    name: str = "two-tower"
    config_type: ClassVar[type[RivalConfig]] = TwoTowerConfig

    @classmethod
    def make_net(cls, config: Any, catalogue: Catalogue | None) -> TwoTowerNet:
        """See `Learned.make_net`."""
        return TwoTowerNet(config, 0 if catalogue is None else len(catalogue))


def write_lists(
    rival: TwoTower,
    requests: Requests,
    path: Path,
    *,
    first: int = LIST,
    progress: Progress = SILENT,
) -> int:
    """Write each user's best items as a candidates file (`instructrec.negatives`).

    Items of the history are left out; the target may be among the rest and is dropped by whoever
    reads the file. Nothing may be fitted or chosen on such lists (docs/rivals.md).

    Args:
        rival: Fitted on what comes before the targets.
        requests: Whose lists.
        path: A Parquet file with strategy, user_id, candidates (best first).
        first: Items of a list.
        progress: Told how far it is.

    Returns:
        How many lists were written.
    """
    ids = rival.catalogue.item_ids
    users: list[str] = []
    lists: list[list[str]] = []
    for start in progress.track(range(0, len(requests), _BLOCK), "lists of hard negatives"):
        part = requests.take(np.arange(start, min(start + _BLOCK, len(requests))))
        longest = max((len(seen) for seen in part.seen), default=0)
        found = rival.retrieve(part.instructions, first + longest)
        for user, rows, seen in zip(part.user_ids, found, part.seen, strict=True):
            if user is not None:
                users.append(user)
                lists.append(_named(rows[(rows >= 0) & ~np.isin(rows, seen)][:first], ids))
    frame = pl.DataFrame({"user_id": users, "candidates": lists}).with_columns(
        strategy=pl.lit(rival.name)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.select("strategy", "user_id", "candidates").write_parquet(path, compression="zstd")
    return len(users)


def _named(rows: Rows, ids: list[str]) -> list[str]:
    return [ids[row] for row in rows.tolist()]
