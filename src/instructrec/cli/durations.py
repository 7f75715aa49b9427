"""Durations as people write them: ``30m``, ``1h30m``, ``90s``, ``45``."""

from __future__ import annotations

import re

from instructrec.errors import UsageError

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([hms])")


def parse_seconds(text: str) -> float:
    """Seconds of a duration; a bare number is seconds.

    Raises:
        UsageError: It is no duration, or none that is above zero.
    """
    bare = text.strip().lower()
    try:
        seconds = float(bare)
    except ValueError:
        parts = _PART.findall(bare)
        if not parts or _PART.sub("", bare).strip():
            raise UsageError(f"{text!r} is not a duration", "Write 30m, 1h30m or 90s") from None
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{text!r} is no time to work in", "Write 30m, 1h30m or 90s")
    return seconds
