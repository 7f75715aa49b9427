"""The two-tower's lists: what it would show, without what the user has had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from instructrec.evaluation.baselines import Material
from instructrec.evaluation.baselines.settings import TwoTowerConfig
from instructrec.evaluation.baselines.two_tower import TwoTower, write_lists
from instructrec.evaluation.trials import CandidateList, make_trial
from instructrec.instructions.annotations import Annotations
from instructrec.instructions.schema import Scenario

NOTHING = Annotations({}, {}, {})
SCENARIO = Scenario.parse("P1,I0,T3")


def test_lists_are_the_best_items_not_had_and_make_a_trial(
    material: Material, tmp_path: Path
) -> None:
    config = TwoTowerConfig(dimensions=16, hidden=16, batch=16, learning_rate=1e-2, epochs=3)
    rival = TwoTower.fit(material, config)
    dataset, protocol = material.dataset, material.protocol
    plain = make_trial(dataset, protocol, SCENARIO, NOTHING, CandidateList())
    path = tmp_path / "hard.parquet"
    assert write_lists(rival, plain.requests, path, first=12) == len(plain.requests)
    frame = pl.read_parquet(path)
    assert frame.columns == ["strategy", "user_id", "candidates"]
    every = np.tile(np.arange(24), (len(plain.requests), 1))
    scores = rival.score(plain.requests.instructions, every)
    for number, names in enumerate(frame["candidates"].to_list()):
        mine = scores[number].copy()
        mine[plain.requests.seen[number]] = -np.inf
        best = np.argsort(-mine, kind="stable")[: min(12, int(np.isfinite(mine).sum()))]
        assert names == [material.catalogue.item_ids[row] for row in best]
    hard = make_trial(dataset, protocol, SCENARIO, NOTHING, CandidateList(path, "two-tower"))
    assert hard.candidates.shape == (len(plain.requests), 10)
    own = rival.score(hard.requests.instructions, hard.candidates)
    # The target is put in beside what the matcher prefers to nearly all else.
    easy = rival.score(plain.requests.instructions, plain.candidates)
    assert (own[:, :1] > own[:, 1:]).all(axis=1).mean() < (easy[:, :1] > easy[:, 1:]).all(
        axis=1
    ).mean()
