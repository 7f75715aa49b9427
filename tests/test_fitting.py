"""The weights of a run come from validation requests alone, kind by kind."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from instructrec.data.dataset import Dataset
from instructrec.data.market import make_market
from instructrec.data.splits import Protocol
from instructrec.errors import DataError
from instructrec.fitting import KINDS, Grounds, fit_run
from instructrec.instructions.annotate import annotate
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.teachers.rules import RulesTeacher
from instructrec.retrieval.popularity import Popularity

PROTOCOL = Protocol.LEAVE_ONE_OUT


class Oracle:
    """Knows the validation targets, and remembers for whom it was asked."""

    def __init__(self, dataset: Dataset, name: str = "lm") -> None:
        targets = dataset.split(PROTOCOL).targets("validation")
        self.name = name
        self.targets = set(targets.rows.tolist())
        self.users: set[str | None] = set()
        self.asked = 0

    def score(self, instructions, candidates):
        self.users |= {one.user_id for one in instructions}
        self.asked += len(instructions)
        noise = np.random.default_rng(len(instructions)).normal(size=candidates.shape)
        noise[:, 0] += 2.0
        return np.where(candidates < 0, -np.inf, noise).astype(np.float32)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_market(tmp_path_factory.mktemp("market") / "dataset", users=80, items=60)


@pytest.fixture(scope="module")
def texts(market: Dataset) -> Annotations:
    return Annotations.of(annotate(market, PROTOCOL, RulesTeacher()).frame)


def pieces(market: Dataset) -> dict[str, object]:
    train = market.split(PROTOCOL).train()
    return {"lm": Oracle(market), "popularity": Popularity.fit(train, market.catalogue)}


def test_what_finds_the_targets_gets_the_weight_in_every_kind(market, texts):
    content = fit_run(Grounds(market, PROTOCOL, texts), pieces(market), {"seed": 0})
    for known in KINDS:
        assert content[known]["lm"]["weight"] > 1.0
        assert set(content["without_lm"][known]) == {"popularity"}
        assert content["validation_requests"][known] > 0
    assert content["seed"] == 0


def test_held_out_users_are_not_looked_at(market, texts):
    everybody = market.split(PROTOCOL).targets("validation").user_ids
    held_out = set(everybody[::2])
    found = pieces(market)
    fit_run(Grounds(market, PROTOCOL, texts, held_out=held_out), found, {})
    assert not held_out & found["lm"].users


def test_at_most_so_many_requests_of_a_scenario_are_used(market, texts):
    found = pieces(market)
    content = fit_run(Grounds(market, PROTOCOL, texts, users=10), found, {})
    assert content["validation_requests"] == {"P,I0": 20, "P0,I": 20, "P,I": 40}
    assert found["lm"].asked == 80


def test_a_kind_without_requests_takes_the_weights_of_another(market):
    nothing = Annotations.of(pl.DataFrame(schema=ANNOTATION_SCHEMA))
    content = fit_run(Grounds(market, PROTOCOL, nothing), pieces(market), {})
    assert list(content["validation_requests"]) == ["P,I0"]
    assert content["P,I"] == content["P,I0"] == content["P0,I"]


def test_without_a_single_request_it_says_what_lacks(market, texts):
    everybody = market.split(PROTOCOL).targets("validation").user_ids
    with pytest.raises(DataError, match="has no validation request to fit weights on"):
        fit_run(Grounds(market, PROTOCOL, texts, held_out=everybody), pieces(market), {})
