"""How fast requests may go out: a rate, pauses a server asks for, and back-off with jitter."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT = 1.0
"""Seconds that the first back-off lasts at most."""
LONGEST_WAIT = 60.0
"""Seconds that any back-off lasts at most."""


class Pace:
    """Lets requests go one by one, evenly spaced, and none while a server wants to be left alone.

    Args:
        per_minute: Requests that may go out in a minute; none for no limit.
        clock: Seconds, rising.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        per_minute: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = self._held_until = -math.inf

    async def turn(self) -> None:
        """Return when the caller may send one request."""
        now = self._clock()
        at = max(now, self._next)
        self._next = at + self._gap
        while (wait := max(at, self._held_until) - self._clock()) > 0:
            await self._sleep(wait)

    def hold(self, seconds: float) -> None:
        """Let nobody send for so long, as a server's Retry-After asks."""
        self._held_until = max(self._held_until, self._clock() + seconds)


def back_off(attempt: int, rng: random.Random) -> float:
    """Seconds to wait after an attempt that failed (0 for the first): full jitter, capped."""
    return rng.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempt, 30)))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as an HTTP date.

    Args:
        value: The header; none where there is none.
        now: The present, with a time zone.

    Returns:
        None where there is no header or it says nothing that can be read.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, TypeError):
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
