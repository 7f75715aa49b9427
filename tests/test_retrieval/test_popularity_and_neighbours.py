"""Popularity and item neighbours score, retrieve, filter, save and load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.errors import FolderError
from instructrec.instructions.schema import Instruction, Preference
from instructrec.protocols import Condition, Filters, Retriever
from instructrec.retrieval import neighbours
from instructrec.retrieval.neighbours import ItemNeighbours
from instructrec.retrieval.popularity import Popularity

SEQUENCES = {"u1": "abc", "u2": "bca", "u3": "cd", "u4": "ce", "u5": "e"}


def a_catalogue(ids: str = "abcdefg") -> Catalogue:
    prices = [float(ord(item) - ord("a")) for item in ids]
    return Catalogue(pl.DataFrame({"item_id": list(ids), "title": list(ids), "price": prices}))


def some_sequences(catalogue: Catalogue) -> Sequences:
    rows = [(user, item) for user, items in SEQUENCES.items() for item in items]
    return Sequences.of(pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"), catalogue)


def somebody_with(history: str) -> Instruction:
    return Instruction(Preference(tuple(history), tuple(history)))


def every_row(requests: int, items: int = 7) -> np.ndarray:
    return np.tile(np.arange(items), (requests, 1))


@pytest.fixture(params=[Popularity, ItemNeighbours])
def retriever(request: pytest.FixtureRequest) -> Retriever:
    catalogue = a_catalogue()
    return request.param.fit(some_sequences(catalogue), catalogue)


def test_the_popularity_score_is_the_number_of_interactions() -> None:
    catalogue = a_catalogue()
    popularity = Popularity.fit(some_sequences(catalogue), catalogue)
    assert popularity.score([Instruction()], every_row(1)).tolist() == [[2, 2, 4, 1, 2, 0, 0]]
    assert popularity.retrieve([Instruction()], 4).tolist() == [[2, 0, 1, 4]]


def test_a_neighbour_counts_by_how_often_and_how_recently() -> None:
    catalogue = a_catalogue()
    neighbours = ItemNeighbours.fit(some_sequences(catalogue), catalogue)
    scores = neighbours.score([somebody_with("de"), somebody_with("ab")], every_row(2))
    # d and e each stood beside c once; d is the older of the two.
    assert scores[0, 2] == pytest.approx(0.9 + 1 + 0.05)
    # a stood beside b twice, twice beside c; b likewise beside c.
    assert scores[1, 2] == pytest.approx(2 * 0.9 + 2 + 0.05)
    assert scores[1, 0] == pytest.approx(2 + 0.05 * 2 / 4)


def test_items_further_apart_than_the_window_are_no_neighbours() -> None:
    catalogue = a_catalogue()
    events = pl.DataFrame({"user_id": ["u"] * 7, "item_id": list("abcdefg")})
    neighbours = ItemNeighbours.fit(Sequences.of(events, catalogue), catalogue)
    assert neighbours.matrix[0, 5] == 1
    assert neighbours.matrix[0, 6] == 0


def test_an_item_taken_twice_is_not_its_own_neighbour() -> None:
    catalogue = a_catalogue()
    events = pl.DataFrame({"user_id": ["u"] * 3, "item_id": list("aba")})
    neighbours = ItemNeighbours.fit(Sequences.of(events, catalogue), catalogue)
    assert neighbours.matrix.diagonal().sum() == 0
    assert neighbours.matrix[0, 1] == 2


def test_popularity_breaks_ties_between_items_without_neighbours() -> None:
    catalogue = a_catalogue()
    neighbours = ItemNeighbours.fit(some_sequences(catalogue), catalogue)
    assert neighbours.retrieve([somebody_with("f")], 3).tolist() == [[2, 0, 1]]


def test_whoever_has_no_history_gets_equal_scores() -> None:
    catalogue = a_catalogue()
    neighbours = ItemNeighbours.fit(some_sequences(catalogue), catalogue)
    assert not neighbours.score([Instruction(), somebody_with("")], every_row(2)).any()


def test_unknown_items_of_the_history_are_passed_over() -> None:
    catalogue = a_catalogue()
    neighbours = ItemNeighbours.fit(some_sequences(catalogue), catalogue)
    scores = neighbours.score([somebody_with("ax"), somebody_with("x")], every_row(2))
    assert scores[0, 1] == pytest.approx(2 * 0.9 + 0.05 * 2 / 4)
    assert not scores[1].any()


def test_no_candidate_scores_minus_infinity(retriever: Retriever) -> None:
    scores = retriever.score([somebody_with("a"), somebody_with("b")], np.array([[2, -1], [-1, 0]]))
    assert scores.dtype == np.float32
    assert np.isneginf(scores).tolist() == [[False, True], [True, False]]


def test_filters_hold_and_what_is_missing_is_minus_one(retriever: Retriever) -> None:
    cheap = Filters((Condition("price", "<", 2.0),), frozenset({"a"}))
    found = retriever.retrieve([somebody_with("c"), somebody_with("c")], 3, [cheap, Filters()])
    assert found[0].tolist() == [1, -1, -1]
    assert 0 in found[1]


def test_more_requests_than_one_chunk_keep_their_order() -> None:
    catalogue = a_catalogue()
    neighbours = ItemNeighbours.fit(some_sequences(catalogue), catalogue)
    requests = [somebody_with("abcdefg"[number % 7]) for number in range(1100)]
    together = neighbours.score(requests, every_row(1100))
    assert np.array_equal(together[1099], neighbours.score(requests[1099:], every_row(1))[0])
    assert np.array_equal(
        neighbours.retrieve(requests, 3)[600], neighbours.retrieve(requests[600:601], 3)[0]
    )


def test_what_is_saved_is_loaded_onto_a_changed_catalogue(
    retriever: Retriever, tmp_path: Path
) -> None:
    retriever.save(tmp_path)  # type: ignore[attr-defined]
    again = type(retriever).load(tmp_path, a_catalogue())  # type: ignore[attr-defined]
    requests = [somebody_with("ab"), somebody_with("e")]
    assert np.array_equal(
        retriever.score(requests, every_row(2)), again.score(requests, every_row(2))
    )
    moved = type(retriever).load(tmp_path, a_catalogue("Abcde"))  # type: ignore[attr-defined]
    assert np.array_equal(
        moved.score(requests[1:], every_row(1, 5))[0, 1:],
        retriever.score(requests[1:], every_row(1))[0, 1:5],
    )
    assert moved.score(requests[1:], every_row(1, 5))[0, 0] == 0


def test_a_missing_file_is_one_clear_error(retriever: Retriever, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="is missing"):
        type(retriever).load(tmp_path, a_catalogue())  # type: ignore[attr-defined]


def test_the_same_fit_writes_the_same_bytes(retriever: Retriever, tmp_path: Path) -> None:
    catalogue = a_catalogue()
    retriever.save(tmp_path / "one")  # type: ignore[attr-defined]
    type(retriever).fit(some_sequences(catalogue), catalogue).save(tmp_path / "two")  # type: ignore[attr-defined]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_they_are_retrievers(retriever: Retriever) -> None:
    assert isinstance(retriever, Retriever)


@pytest.mark.parametrize("events", [1, 2, 3, 7, 1000])
def test_counting_piece_by_piece_changes_nothing(monkeypatch, tmp_path, events: int) -> None:
    catalogue = a_catalogue()
    rng = np.random.default_rng(0)
    users = [f"u{number:02}" for number in np.sort(rng.integers(0, 9, 60))]
    taken = pl.DataFrame({"user_id": users, "item_id": list(rng.choice(list("abcdefg"), 60))})
    sequences = Sequences.of(taken, catalogue)
    expected = np.zeros((7, 7), dtype=np.float32)
    for user in range(len(sequences)):
        rows = sequences[user]
        for left in range(len(rows)):
            for right in range(left + 1, min(left + 6, len(rows))):
                if rows[left] != rows[right]:
                    expected[rows[left], rows[right]] += 1
                    expected[rows[right], rows[left]] += 1
    monkeypatch.setattr(neighbours, "_EVENTS", events)
    found = ItemNeighbours.fit(sequences, catalogue)
    assert np.array_equal(found.matrix.toarray(), expected)
    # The same bytes are saved, however it was counted.
    monkeypatch.undo()
    found.save(tmp_path / "pieces")
    ItemNeighbours.fit(sequences, catalogue).save(tmp_path / "whole")
    for path in (tmp_path / "pieces").iterdir():
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


def test_candidates_score_as_they_do_among_the_whole_catalogue(monkeypatch) -> None:
    catalogue = a_catalogue()
    found = ItemNeighbours.fit(some_sequences(catalogue), catalogue)
    requests = [somebody_with(history) for history in ("ab", "", "xe", "gfc")]
    few = np.array([[6, 0, -1], [2, 2, 1], [-1, -1, 2], [5, 1, 0]])
    whole = found.score(requests, every_row(4))
    expected = np.where(few < 0, -np.inf, whole[np.arange(4)[:, None], np.maximum(few, 0)])
    assert np.array_equal(found.score(requests, few), expected)
    best = found.retrieve(requests, 7)
    monkeypatch.setattr(neighbours, "_FLOATS", 7)
    assert np.array_equal(found.retrieve(requests, 7), best)
