"""Batches across requests: one thread gathers what comes within moments and scores it together."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from instructrec.answers import Recommendation
from instructrec.errors import InstructRecError
from instructrec.questions import Question
from instructrec.reranking import Reranked

_SHARE = 0.2
"""What the newest batch counts in the running mean of the cost."""


class BusyError(InstructRecError):
    """Too many requests are waiting.

    Args:
        retry_after: Seconds after which it is worth another try.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many requests are waiting", "Try again later")
        self.retry_after = retry_after


class Engine(Protocol):
    """What answers batches."""

    def answer(self, questions: Sequence[Question]) -> list[Recommendation | InstructRecError]:
        """See `instructrec.recommender.Recommender.answer`."""
        ...

    def rerank(self, question: Question, documents: Sequence[str]) -> Reranked:
        """See `instructrec.reranking.rerank`."""
        ...


@dataclass(frozen=True)
class Answered:
    """A result with how it came about.

    Attributes:
        result: A `Recommendation`, or a `Reranked` where documents were given.
        degraded: Whether the language model was left out because time was short.
        waited: Seconds in the queue.
        batch: Requests that were answered together.
    """

    result: Any
    degraded: bool
    waited: float
    batch: int


@dataclass
class _Job:
    question: Question
    documents: tuple[str, ...] | None
    deadline: float
    came: float
    future: Future[Answered] = field(default_factory=Future)
    degraded: bool = False

    @property
    def weight(self) -> int:
        """How many candidates are scored for it."""
        if self.documents is not None:
            return len(self.documents)
        return len(self.question.candidates) or self.question.pool

    @property
    def asked(self) -> Question:
        """The question as it is answered."""
        return replace(self.question, evidence="without_lm") if self.degraded else self.question

    def finish(self, result: Any, started: float, batch: int) -> None:
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(Answered(result, self.degraded, started - self.came, batch))


class Batcher:
    """Answers requests in batches on one thread of its own.

    A request whose deadline comes before the language model would be done is answered by the
    other evidence, and says so. How long the model takes is measured as it goes.

    Args:
        engine: Answers.
        size: Requests of a batch at most.
        wait: Seconds that the first request of a batch waits for others.
        room: Requests that may wait.
        observe: Told the size and the seconds of every batch.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        size: int = 16,
        wait: float = 0.003,
        room: int = 64,
        observe: Callable[[int, float], None] | None = None,
    ) -> None:
        self._engine = engine
        self._size, self._wait = size, wait
        self._queue: queue.Queue[_Job | None] = queue.Queue(room)
        self._observe = observe or (lambda count, seconds: None)
        self._costs: dict[bool, float] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.qsize()

    def submit(
        self, question: Question, seconds: float, documents: Sequence[str] | None = None
    ) -> Future[Answered]:
        """Hand a request in.

        Args:
            question: The request.
            seconds: After so long it is answered without the language model.
            documents: Texts to rerank, instead of items.

        Returns:
            What will hold the answer; cancelled before its turn, it costs nothing.

        Raises:
            BusyError: The queue is full, or the server stops.
        """
        now = time.monotonic()
        given = None if documents is None else tuple(documents)
        job = _Job(question, given, now + seconds, now)
        try:
            if self._closed.is_set():
                raise queue.Full
            self._queue.put_nowait(job)
        except queue.Full:
            full = self._costs.get(False, 0.001) * job.weight * self._queue.maxsize
            raise BusyError(max(1, math.ceil(full))) from None
        return job.future

    def close(self) -> None:
        """Answer what was accepted, take nothing more, and end the thread."""
        if not self._closed.is_set():
            self._closed.set()
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs, stopping = self._gather()
            alive = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if alive:
                started = time.monotonic()
                self._answer(alive, started)
                self._observe(len(alive), time.monotonic() - started)

    def _gather(self) -> tuple[list[_Job], bool]:
        """The next jobs, and whether they are the last."""
        first = self._queue.get()
        if first is None:
            return [], True
        jobs, until = [first], time.monotonic() + self._wait
        while len(jobs) < self._size:
            left = until - time.monotonic()
            try:
                # What waits already is taken even where the time is over.
                job = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _answer(self, jobs: Sequence[_Job], started: float) -> None:
        self._leave_out(jobs, started)
        # Those without the language model are quick, and late already.
        for quick in (True, False):
            chosen = [job for job in jobs if job.degraded is quick]
            asked = [job for job in chosen if job.documents is None]
            for group in (asked, *([job] for job in chosen if job.documents is not None)):
                if group:
                    self._answer_group(group, started, len(jobs))

    def _leave_out(self, jobs: Sequence[_Job], now: float) -> None:
        """Mark what must do without the language model to be in time."""
        due = sorted(jobs, key=lambda job: -job.deadline)
        costs = [self._costs.get(job.documents is not None, 0.0) * job.weight for job in due]
        total = sum(costs)
        # All of a batch are answered together, so the most urgent one is late first.
        while due and now + total > due[-1].deadline:
            due.pop().degraded = True
            total -= costs.pop()

    def _answer_group(self, group: Sequence[_Job], started: float, batch: int) -> None:
        began = time.monotonic()
        results = self._results(group)
        if not group[0].degraded:
            self._learn(group, time.monotonic() - began)
        for job, result in zip(group, results, strict=True):
            job.finish(result, started, batch)

    def _results(self, group: Sequence[_Job]) -> list[Any]:
        try:
            if group[0].documents is not None:
                return [self._engine.rerank(group[0].asked, group[0].documents)]
            return list(self._engine.answer([job.asked for job in group]))
        except Exception as error:
            if len(group) == 1:
                return [error]
            # One that breaks the batch must not break the answers of the others.
            return [result for job in group for result in self._results([job])]

    def _learn(self, group: Sequence[_Job], seconds: float) -> None:
        """Keep a running mean of the seconds a candidate takes."""
        kind = group[0].documents is not None
        now = seconds / max(sum(job.weight for job in group), 1)
        known = self._costs.get(kind, now)
        self._costs[kind] = known + _SHARE * (now - known)
