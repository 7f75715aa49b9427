"""Weights of all evidence are fitted on validation requests, and on nobody who is held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.data.splits import Protocol
from instructrec.errors import DataError
from instructrec.fitting import KINDS, Grounds, fit_run
from instructrec.folders import new_folder
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scores
from instructrec.retrieval import load_retrievers
from instructrec.retrieval.lexical import Lexical
from instructrec.retrieval.popularity import Popularity

USERS, ITEMS, TAKEN = 40, 60, 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """User n takes items n to n + 4: the last is tested, the one before validates."""
    items = pl.DataFrame(
        {
            "item_id": [f"i{n:02}" for n in range(ITEMS)],
            "title": [f"thing {n}" for n in range(ITEMS)],
        }
    )
    events = pl.DataFrame(
        [
            (f"u{user:02}", f"i{user + place:02}", place + 1)
            for user in range(USERS)
            for place in range(TAKEN)
        ],
        schema=["user_id", "item_id", "timestamp"],
        orient="row",
    )
    folder = tmp_path_factory.mktemp("fitting") / "dataset"
    with new_folder(folder, "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), events.lazy(), clock="order"))
    return Dataset(folder)


@pytest.fixture(scope="module")
def texts(dataset: Dataset) -> Annotations:
    """What everybody wants, so that every kind of request can be made."""
    rows = [
        (None, item_id, "intention", "specific", None, "a thing")
        for item_id in dataset.catalogue.item_ids
    ]
    return Annotations.of(pl.DataFrame(rows, schema=ANNOTATION_SCHEMA, orient="row"))


class Watching:
    """Says of a candidate whether it is the right one, for a share of the requests."""

    def __init__(self, name: str, share: float) -> None:
        self.name = name
        self.share = share
        self.users: set[str | None] = set()
        self.targets: list[int] = []
        self.lengths: set[int] = set()

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        self.users |= {one.user_id for one in instructions}
        self.targets += candidates[:, 0].tolist()
        self.lengths |= {len(one.preference.history) for one in instructions}
        scores = np.random.default_rng(0).random(candidates.shape)
        scores[: int(self.share * len(scores)), 0] += 1.0
        return scores.astype(np.float32)


def grounds(dataset: Dataset, texts: Annotations, **more: object) -> Grounds:
    return Grounds(dataset, Protocol.LEAVE_ONE_OUT, texts, **more)  # type: ignore[arg-type]


def test_only_validation_targets_are_looked_at(dataset: Dataset, texts: Annotations) -> None:
    piece = Watching("popularity", 0.5)
    fit_run(grounds(dataset, texts), {"popularity": piece}, {})
    validation = dataset.split(Protocol.LEAVE_ONE_OUT).targets("validation")
    assert set(piece.targets) == set(validation.rows.tolist())
    # One request a user of each kind: the target is never the tested item.
    assert piece.targets == [*validation.rows.tolist()] * len(KINDS)
    assert piece.lengths == {0, TAKEN - 2}


def test_nobody_who_is_held_out_is_asked(dataset: Dataset, texts: Annotations) -> None:
    piece = Watching("popularity", 0.5)
    held = {f"u{n:02}" for n in range(30)}
    content = fit_run(grounds(dataset, texts, held_out=held), {"popularity": piece}, {})
    assert piece.users == {None, *(f"u{n:02}" for n in range(30, USERS))}
    assert set(piece.targets) == set(range(30 + TAKEN - 2, USERS + TAKEN - 2))
    assert content["validation_requests"] == dict.fromkeys(KINDS, 10)


def test_histories_are_as_long_as_in_the_corpus(dataset: Dataset, texts: Annotations) -> None:
    piece = Watching("popularity", 0.5)
    fit_run(grounds(dataset, texts, max_history=3), {"popularity": piece}, {})
    assert piece.lengths == {0, 2}


def test_the_other_pieces_are_weighed_anew_without_the_language_model(
    dataset: Dataset, texts: Annotations
) -> None:
    pieces = {"lm": Watching("lm", 0.9), "dense": Watching("dense", 0.4)}
    content = fit_run(grounds(dataset, texts), pieces, {"seed": 7})
    alone = fit_run(grounds(dataset, texts), {"dense": Watching("dense", 0.4)}, {})
    assert content["seed"] == 7
    for known in KINDS:
        assert content[known]["lm"]["weight"] > content[known]["dense"]["weight"] >= 0
        assert content["without_lm"][known] == alone[known]


def test_a_kind_nobody_can_ask_takes_the_weights_of_another(dataset: Dataset) -> None:
    nothing = Annotations.of(pl.DataFrame(schema=ANNOTATION_SCHEMA))
    content = fit_run(grounds(dataset, nothing), {"popularity": Watching("popularity", 0.5)}, {})
    assert content["P0,I"] == content["P,I"] == content["P,I0"]
    assert list(content["validation_requests"]) == ["P,I0"]


def test_without_any_validation_request_there_is_one_clear_line(
    dataset: Dataset, texts: Annotations
) -> None:
    everybody = {f"u{n:02}" for n in range(USERS)}
    with pytest.raises(DataError, match="no validation request"):
        fit_run(grounds(dataset, texts, held_out=everybody), {"lm": Watching("lm", 1.0)}, {})


@pytest.mark.parametrize("fact", ["refit", "serving"])
def test_retrievers_that_learnt_from_validation_rows_are_refused(
    dataset: Dataset, texts: Annotations, tmp_path: Path, fact: str
) -> None:
    split = dataset.split(Protocol.LEAVE_ONE_OUT)
    for folder, sequences in (("train", split.train()), ("more", split.before_test())):
        with new_folder(tmp_path / folder, "retrievers", command="test") as draft:
            Popularity.fit(sequences, dataset.catalogue).save(draft.path / "popularity")
            Lexical.fit(dataset.catalogue).save(draft.path / "lexical")
            draft.facts |= {fact: True} if folder == "more" else {}
    with pytest.raises(DataError, match="more learnt from the validation rows"):
        load_retrievers(tmp_path / "more", dataset.catalogue, to_choose=True)
    pieces = load_retrievers(tmp_path / "train", dataset.catalogue, to_choose=True)
    assert fit_run(grounds(dataset, texts), pieces, {})


def test_the_same_grounds_give_the_same_weights(
    dataset: Dataset, texts: Annotations, tmp_path: Path
) -> None:
    found = [
        fit_run(grounds(dataset, texts, users=15), {"dense": Watching("dense", 0.4)}, {})
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert found[0]["validation_requests"] == dict.fromkeys(KINDS, 15)


def test_queries_of_validation_items_are_weighed_and_no_others(
    dataset: Dataset, texts: Annotations, tmp_path: Path
) -> None:
    ids = dataset.catalogue.item_ids
    queries = pl.DataFrame(
        {
            "query_id": [f"q{item}" for item in ids],
            "text": ["a blue thing for my friend"] * ITEMS,
            "item_id": ids,
            "relevance": [1.0] * ITEMS,
        }
    )
    with new_folder(tmp_path / "d", "dataset", command="test") as draft:
        items, events = dataset.catalogue.items.lazy(), dataset.interactions
        write_tables(draft, Tables(items, events, queries.lazy(), clock="order"))
    asked = Dataset(tmp_path / "d")
    watching = Watching("a", 0.5)
    with_queries = fit_run(grounds(asked, texts), {"a": watching}, {})["validation_requests"]
    without = fit_run(grounds(dataset, texts), {"a": Watching("a", 0.5)}, {})["validation_requests"]
    split = asked.split("items").items.filter(pl.col("split") == "validation")
    assert with_queries["P0,I"] == without["P0,I"] + split.height
    assert with_queries["P,I"] == without["P,I"]
