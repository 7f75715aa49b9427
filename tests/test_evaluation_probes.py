"""Requests asked again, changed in one respect, show what a model goes by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.data.splits import Protocol
from instructrec.evaluation.evaluate import World, gather
from instructrec.evaluation.findings import findings_of
from instructrec.evaluation.measure import Contestant
from instructrec.evaluation.plan import Plan
from instructrec.evaluation.probes import probe
from instructrec.folders import new_folder
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.schema import Instruction, Scenario
from instructrec.protocols import Rows, Scores

KINDS = ("Racing", "Garden", "Puzzle")
ITEMS = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Items of three kinds that cost 5 to 64 dollars, and what each is wished by."""
    rng = np.random.default_rng(1)
    ids = [f"i{item:02}" for item in range(ITEMS)]
    items = pl.DataFrame(
        {
            "item_id": ids,
            "title": [f"Thing number {item}" for item in range(ITEMS)],
            "categories": [[KINDS[item % 3]] for item in range(ITEMS)],
            "price": [5.0 + item for item in range(ITEMS)],
            "currency": ["USD"] * ITEMS,
        }
    )
    events = [
        (f"u{user:02}", ids[item], 86_400_000 * place)
        for user in range(30)
        for place, item in enumerate(rng.choice(ITEMS, 6, replace=False))
    ]
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    folder: Path = tmp_path_factory.mktemp("priced") / "dataset"
    with new_folder(folder, "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), frame.lazy()))
    texts = [
        (None, item, "intention", "specific", None, KINDS[n % 3]) for n, item in enumerate(ids)
    ]
    wishes = Annotations.of(pl.DataFrame(texts, schema=ANNOTATION_SCHEMA, orient="row"))
    return World(Dataset(folder), Protocol.LEAVE_ONE_OUT, wishes)


class Dearest:
    """Likes what is dear, whatever is said, and what is near to the last of the history."""

    name = "dearest"

    def __init__(self, care: float) -> None:
        self.care = care

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        last = np.array([int(one.preference.history_ids[-1][1:]) for one in instructions])
        worth = candidates - self.care * (candidates - last[:, None]) ** 2
        return np.where(candidates < 0, -np.inf, worth).astype(np.float32)


def asked(
    world: World, reads: frozenset[str], care: float = 0.0
) -> dict[tuple[str, str], dict[str, float]]:
    (trial,), _ = gather(world, Plan((Scenario.parse("P1,I2,T3"),)))
    model = Contestant("instructrec", "ours", reads, Dearest(care))  # type: ignore[arg-type]
    found = list(probe(world, trial, [model], 30))
    return (
        {(one.part, one.group): one.metrics for one in findings_of(pl.concat(found), 0)}
        if found
        else {}
    )


def test_a_limit_that_is_not_listened_to_holds_only_as_a_filter(world: World) -> None:
    found = asked(world, frozenset({"history"}))
    assert found["limit", "unsaid"] == {"share": 0.0}
    assert found["limit", "said"] == {"share": 0.0}
    assert found["limit", "kept as a filter"] == {"share": 1.0}


def test_the_order_of_a_history_shows_only_in_what_is_read_of_it(world: World) -> None:
    found = asked(world, frozenset({"history"}), 0.1)
    own = found["history", "as asked"]
    assert found["wish", "as asked"] == found["wish", "someone else's"] == own
    assert found["history", "reversed"] != own
    assert found["misled", "as asked"] == found["misled", "a wish for it"]


def test_whoever_reads_nothing_is_not_asked_again(world: World) -> None:
    assert asked(world, frozenset()) == {}
