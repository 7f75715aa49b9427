"""Rates, pauses and back-off, by a clock that tests turn."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest

from instructrec.instructions.teachers._pace import LONGEST_WAIT, Pace, back_off, retry_after


class Clock:
    """Time that passes only by sleeping; the nearest waker is served first."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        self.waiting.append(until)
        await asyncio.sleep(0)
        while self.now < until:
            if min(self.waiting) == until:
                self.now = until
            await asyncio.sleep(0)
        self.waiting.remove(until)


def times_of(pace: Pace, clock: Clock, requests: int) -> list[float]:
    sent: list[float] = []

    async def one() -> None:
        await pace.turn()
        sent.append(round(clock.now, 6))

    async def everybody() -> None:
        await asyncio.gather(*(one() for _ in range(requests)))

    asyncio.run(everybody())
    return sent


def test_requests_go_out_evenly():
    clock = Clock()
    assert times_of(Pace(120, clock=clock, sleep=clock.sleep), clock, 5) == [0, 0.5, 1, 1.5, 2]


def test_without_a_rate_all_go_at_once():
    clock = Clock()
    assert times_of(Pace(clock=clock, sleep=clock.sleep), clock, 3) == [0, 0, 0]


def test_nobody_sends_while_the_server_wants_to_be_left_alone():
    clock = Clock()
    pace = Pace(60, clock=clock, sleep=clock.sleep)
    pace.hold(2.5)
    pace.hold(1.0)
    sent = times_of(pace, clock, 4)
    assert min(sent) >= 2.5
    assert sent[-1] == 3.0


def test_back_off_doubles_jitters_fully_and_is_capped():
    rng = random.Random(0)
    for attempt in range(12):
        waits = [back_off(attempt, rng) for _ in range(400)]
        most = min(2.0**attempt, LONGEST_WAIT)
        assert 0 <= min(waits) < 0.1 * most
        assert 0.9 * most < max(waits) <= most
    assert back_off(10_000, rng) <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.5", 0.5), ("-3", 0), ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", None), ("", None), (None, None),
     ("inf", None), ("nan", None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None):
    assert retry_after(header, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds
