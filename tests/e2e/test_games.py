"""The way from raw logs to a row of a table, on the paper's own Games data, in five minutes."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from instructrec.cli.app import run as command
from instructrec.data.dataset import Dataset
from instructrec.instructions.corpus import Corpus

pytestmark = [pytest.mark.slow, pytest.mark.shared]

STEPS, REQUESTS = 160, 800


@pytest.fixture(scope="module")
def way(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset, corpus, model and report of Games, made by the commands a user would type."""
    games = shared_data / "amazon-games"
    out = tmp_path_factory.mktemp("games")
    lists = games / "candidates.parquet"
    users = pl.read_parquet(lists).select("user_id").unique().sort("user_id")
    users.head(REQUESTS).write_parquet(out / "users.parquet")
    steps = (
        f"data import --interactions {games}/interactions.parquet --items {games}/items.parquet "
        f"--columns timestamp=position,categories=platform+kind --clock order --out {out}/dataset",
        f"corpus build {out}/dataset --scenario P1,I0,T3 --out {out}/corpus",
        f"tune {out}/corpus --backbone tiny-causal --steps {STEPS} --set validations=2 "
        f"--set choice_users=100 --set validation_users=200 "
        f"--held-out-users {lists} --out {out}/model",
        f"evaluate {out}/model {out}/dataset --scenario P1,I0,T3 --candidates {lists} "
        f"--strategy random --first 9 --users {out}/users.parquet --spread-users 0 "
        f"--out {out}/report",
    )
    for line in steps:
        assert command(line.split()) == 0, line
    return out


def test_the_import_has_the_papers_figures(way: Path) -> None:
    dataset = Dataset(way / "dataset")
    assert len(dataset.catalogue) == 16_859
    assert len(dataset.sequences) == 50_546
    capped = dataset.sequences.lengths.clip(max=20)
    assert capped.sum() == 410_907


def test_no_held_out_item_is_in_a_training_row(way: Path) -> None:
    rows = Corpus(way / "corpus").rows("train").select("user_id", "history_ids")
    later = (
        Dataset(way / "dataset").split("leave-one-out").events.filter(pl.col("split") != "train")
    )
    known = rows.explode("history_ids").rename({"history_ids": "item_id"})
    assert rows.height > 40_000
    assert known.join(later, on=["user_id", "item_id"], how="semi").height == 0


def test_a_minute_of_tuning_is_better_than_chance_on_the_papers_protocol(way: Path) -> None:
    report = json.loads((way / "report" / "report.json").read_text())
    (row,) = [row for row in report["rows"] if row["model"] == "instructrec-lm"]
    assert row["users"] == REQUESTS
    assert row["scenario"] == "P1,I0,T3"
    low, high = row["interval"]["HR@1"]
    assert low <= row["metrics"]["HR@1"] <= high
    assert low > 0.15, "chance is .1"
    assert row["metrics"]["HR@5"] > row["metrics"]["HR@3"] > row["metrics"]["HR@1"]
