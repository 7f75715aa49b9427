"""What the places of each retriever count is fitted so that targets are found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.instructions.schema import Instruction, Intention, IntentionKind, Preference
from instructrec.protocols import Rows
from instructrec.retrieval import shares as module
from instructrec.retrieval.hybrid import Hybrid, fuse_places
from instructrec.retrieval.shares import fit_shares, unseen

ITEMS = 400


class Lists:
    """A retriever whose lists are known beforehand."""

    def __init__(self, name: str, rows: Rows) -> None:
        self.name, self.rows = name, rows

    def retrieve(self, instructions: Sequence[Instruction], k: int, filters=None) -> Rows:
        return np.tile(self.rows[:k], (len(instructions), 1))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> np.ndarray:
        places = np.argsort(self.rows)
        return -places[candidates].astype(np.float32)


def good_and_bad(seed: int = 0, requests: int = 200) -> tuple[dict[str, Rows], Rows]:
    """One list that has most targets at places to 100, one that has hardly any."""
    rng = np.random.default_rng(seed)
    lists = [np.array([rng.permutation(ITEMS)[:100] for _ in range(requests)]) for _ in range(2)]
    places = rng.integers(0, 130, requests)
    targets = np.array([lists[0][n, p] if p < 100 else ITEMS for n, p in enumerate(places)])
    return {"good": lists[0], "bad": lists[1]}, targets


def recall(lists: dict[str, Rows], shares: dict[str, float], targets: Rows) -> float:
    counts = np.tile([shares[name] for name in lists], (len(targets), 1))
    fused = fuse_places(list(lists.values()), len(targets), 100, counts)
    return float((fused == targets[:, None]).any(axis=1).mean())


def test_a_list_that_pushes_out_what_another_finds_counts_less() -> None:
    lists, targets = good_and_bad()
    even = recall(lists, {"good": 1.0, "bad": 1.0}, targets)
    shares = fit_shares(lists, targets)
    assert shares["good"] > shares["bad"]
    assert recall(lists, shares, targets) > even + 0.05
    assert recall(lists, shares, targets) >= np.isin(targets, np.arange(ITEMS)).mean() - 0.02


def test_a_retriever_alone_keeps_its_list_and_none_has_no_shares() -> None:
    lists, targets = good_and_bad()
    assert fit_shares({"good": lists["good"]}, targets)["good"] > 0
    assert fit_shares({}, targets) == {}
    nothing = {"none": np.full((3, 100), -1)}
    assert fit_shares(nothing, np.array([1, 2, 3])) == {"none": 1.0}


@given(st.integers(0, 50), st.sampled_from(module.GRID), st.sampled_from(module.GRID))
@settings(deadline=None, max_examples=15)
def test_what_is_measured_is_what_the_hybrid_finds(seed: int, one: float, two: float) -> None:
    lists, targets = good_and_bad(seed, requests=30)
    worths, which = module._worths(list(lists.values()), targets)
    measured = module._found(worths, np.array([one, two]), which)
    counts = np.tile([one, two], (30, 1))
    fused = fuse_places(list(lists.values()), 30, 100, counts)
    found = (fused == targets[:, None])[:, :100].any(axis=1).mean()
    found += 0.1 * (fused == targets[:, None])[:, :20].any(axis=1).mean()
    # Ties at the edge count against the target where shares are fitted.
    assert measured <= found + 1e-9
    assert measured == pytest.approx(found, abs=0.15)


def test_the_history_is_left_out_and_its_places_are_filled() -> None:
    retriever = Lists("all", np.arange(10))
    seen = [np.array([0, 2]), np.array([], dtype=np.int64), np.arange(9)]
    found = unseen(retriever, [Instruction()] * 3, seen, 3)  # type: ignore[arg-type]
    assert found.tolist() == [[1, 3, 4], [0, 1, 2], [9, -1, -1]]


def test_the_hybrid_counts_places_by_what_is_known_of_a_request() -> None:
    one, two = Lists("one", np.arange(6)), Lists("two", np.arange(6)[::-1])
    history = Instruction(Preference(("a",), ("a",)))
    wish = Instruction(intention=Intention("racing", IntentionKind.VAGUE))
    shares = {"P,I0": {"one": 0.0, "two": 1.0}, "P0,I": {"two": 0.5}}
    hybrid = Hybrid([one, two], shares=shares)  # type: ignore[list-item]
    found = hybrid.retrieve([history, wish], 6)
    assert found[0].tolist() == [5, 4, 3, 2, 1, 0]
    assert found[1, 0] == 0
    rows = np.tile(np.arange(6), (2, 1))
    scores = hybrid.score([history, wish], rows)
    assert np.argsort(-scores[0], kind="stable").tolist() == [5, 4, 3, 2, 1, 0]
    assert scores[1].argmax() == 0


def test_who_counts_nothing_is_not_asked() -> None:
    class Mute(Lists):
        def retrieve(self, instructions: Sequence[Instruction], k: int, filters=None) -> Rows:
            raise AssertionError("asked")

    history = Instruction(Preference(("a",), ("a",)))
    heard, mute = Lists("one", np.arange(6)), Mute("two", np.arange(6))
    hybrid = Hybrid([mute, heard], shares={"P,I0": {"two": 0.0}})  # type: ignore[list-item]
    assert hybrid.retrieve([history], 3).tolist() == [[0, 1, 2]]


def test_a_list_that_counts_nothing_adds_no_items() -> None:
    lists = [np.array([[1, 2]]), np.array([[3, 4]])]
    fused = fuse_places(lists, 1, 4, np.array([[1.0, 0.0]]))
    assert fused.tolist() == [[1, 2, -1, -1]]
