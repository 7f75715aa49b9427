"""Durations as people write them."""

from __future__ import annotations

import pytest

from instructrec.cli.durations import parse_seconds
from instructrec.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("1h30m", 5400), ("90s", 90), ("45", 45), (" 1 H 2 m ", 3720), ("0.5h", 1800)],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "30x", "m", "1h and", "0", "-3", "inf", "nan", "0m"])
def test_what_is_no_duration_is_refused_with_the_cure(text: str):
    with pytest.raises(UsageError, match="Write 30m, 1h30m or 90s"):
        parse_seconds(text)
