"""Progress on standard error: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from rich.console import Console

from instructrec.protocols import Progress

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""Work that is done sooner is not worth a plain line."""
PLAIN_EVERY = 15.0
"""Seconds between plain lines about one piece of work."""


def make_progress() -> Progress:
    """The `Progress` for this process: bars where standard error is a terminal."""
    console = Console(stderr=True, highlight=False)
    return _Bars(console) if console.is_terminal else _Lines(console)


def _total(items: Iterable[Any], total: int | None) -> int | None:
    return len(items) if total is None and isinstance(items, Sized) else total


class _Lines:
    """A line when something takes long, and when it is done after that."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, emoji=False, soft_wrap=True)

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        known = _total(items, total)
        of = f"/{known}" if known is not None else ""
        start = said = time.monotonic()
        done = 0
        for item in items:
            yield item
            done += 1
            now = time.monotonic()
            if now - said >= PLAIN_EVERY:
                self.note(f"{title}: {done}{of} after {now - start:.0f} s")
                said = now
        if (taken := time.monotonic() - start) >= QUIET_SECONDS:
            self.note(f"{title}: done, {done} in {taken:.0f} s")


class _Bars:
    """One live display that all bars share, however they nest."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._console = console
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._open = 0

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, emoji=False, soft_wrap=True)

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        if self._open == 0:
            self._bars.start()
        self._open += 1
        task = self._bars.add_task(title, total=_total(items, total))
        try:
            for item in items:
                yield item
                self._bars.advance(task)
        finally:
            self._bars.remove_task(task)
            self._open -= 1
            if self._open == 0:
                self._bars.stop()
