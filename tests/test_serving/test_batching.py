"""Requests of different people are answered together, in time, and none is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import numpy as np
import pytest

from instructrec.errors import UsageError
from instructrec.questions import Question
from instructrec.reranking import Reranked
from instructrec.serving.batching import Batcher, BusyError

LONG = 60.0


class Slow:
    """An engine that takes its time for the language model and keeps what it was asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[Question]] = []
        self.free = threading.Event()
        self.free.set()

    def answer(self, questions):
        self.free.wait(10)
        self.batches.append(list(questions))
        if any(one.wish == "poison" for one in questions):
            raise RuntimeError("cannot")
        if any(one.evidence == "all" for one in questions):
            time.sleep(self.seconds * len(questions))
        return [UsageError("wrong") if one.wish == "wrong" else one for one in questions]

    def rerank(self, question, documents):
        self.free.wait(10)
        self.batches.append([question])
        scores = np.arange(len(documents), dtype=np.float64)
        return Reranked(scores, scores, {})


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def make(slow: Slow) -> Iterator[Callable[..., Batcher]]:
    made: list[Batcher] = []

    def maker(**settings) -> Batcher:
        made.append(Batcher(slow, **{"wait": 0.02, **settings}))
        return made[-1]

    yield maker
    slow.free.set()
    for batcher in made:
        batcher.close()


def test_what_comes_while_others_are_answered_is_answered_together(make, slow):
    batcher = make(size=8)
    slow.free.clear()
    first = batcher.submit(Question(wish="0"), LONG)
    while batcher.waiting:
        time.sleep(0.001)
    time.sleep(0.05)
    rest = [batcher.submit(Question(wish=str(number)), LONG) for number in range(1, 12)]
    slow.free.set()
    answers = [future.result(10) for future in (first, *rest)]
    assert [one.result.wish for one in answers] == [str(number) for number in range(12)]
    assert [len(batch) for batch in slow.batches] == [1, 8, 3]
    assert [one.batch for one in answers] == [1] + [8] * 8 + [3] * 3


def test_past_its_room_it_refuses_at_once_and_says_when_to_come_back(make, slow):
    batcher = make(room=2, size=1)
    slow.free.clear()
    accepted = [batcher.submit(Question(), LONG)]
    while batcher.waiting:
        time.sleep(0.001)
    accepted += [batcher.submit(Question(), LONG) for _ in range(2)]
    with pytest.raises(BusyError) as raised:
        batcher.submit(Question(), LONG)
    assert raised.value.retry_after >= 1
    slow.free.set()
    assert all(future.result(10) for future in accepted)


def test_a_request_that_the_model_would_answer_too_late_does_without_it(make, slow):
    slow.seconds = 0.05
    batcher = make(size=1)
    assert not batcher.submit(Question(pool=10), LONG).result(10).degraded  # measures the cost
    late = batcher.submit(Question(pool=10), 0.02).result(10)
    assert late.degraded
    assert late.result.evidence == "without_lm"
    assert not batcher.submit(Question(pool=10), LONG).result(10).degraded
    assert not batcher.submit(Question(pool=1), 0.04).result(10).degraded  # small enough


def test_of_a_batch_the_most_urgent_do_without_the_model_and_the_others_wait(make, slow):
    slow.seconds = 0.05
    batcher = make(size=4)
    batcher.submit(Question(), LONG).result(10)
    slow.free.clear()
    blocker = batcher.submit(Question(wish="first"), LONG)
    while batcher.waiting:
        time.sleep(0.001)
    time.sleep(0.03)
    patient = [batcher.submit(Question(wish="patient"), LONG) for _ in range(2)]
    urgent = [batcher.submit(Question(wish="urgent"), 0.001) for _ in range(2)]
    slow.free.set()
    assert not blocker.result(10).degraded
    assert [one.result(10).degraded for one in patient + urgent] == [False, False, True, True]


def test_documents_are_reranked_in_their_turn(make):
    found = make().submit(Question(wish="x"), LONG, ["a", "b"]).result(10)
    assert found.result.scores.tolist() == [0.0, 1.0]


def test_who_goes_before_their_turn_costs_nothing(make, slow):
    batcher = make(size=1)
    slow.free.clear()
    first = batcher.submit(Question(wish="first"), LONG)
    while batcher.waiting:
        time.sleep(0.001)
    time.sleep(0.05)
    gone = batcher.submit(Question(wish="gone"), LONG)
    last = batcher.submit(Question(wish="last"), LONG)
    assert gone.cancel()
    slow.free.set()
    first.result(10), last.result(10)
    assert [batch[0].wish for batch in slow.batches] == ["first", "last"]
    with pytest.raises(CancelledError):
        gone.result(0)


def test_one_that_breaks_a_batch_breaks_no_other(make, slow):
    batcher = make(size=3)
    slow.free.clear()
    batcher.submit(Question(wish="first"), LONG)
    time.sleep(0.05)
    wishes = ("good", "poison", "wrong")
    futures = [batcher.submit(Question(wish=wish), LONG) for wish in wishes]
    slow.free.set()
    assert futures[0].result(10).result.wish == "good"
    with pytest.raises(RuntimeError):
        futures[1].result(10)
    with pytest.raises(UsageError):
        futures[2].result(10)


def test_closing_answers_what_was_accepted_and_takes_no_more(make, slow):
    batcher = make(size=2)
    slow.free.clear()
    futures = [batcher.submit(Question(wish=str(number)), LONG) for number in range(7)]
    threading.Timer(0.05, slow.free.set).start()
    batcher.close()
    assert [future.result(0).result.wish for future in futures] == [str(n) for n in range(7)]
    with pytest.raises(BusyError):
        batcher.submit(Question(), LONG)
