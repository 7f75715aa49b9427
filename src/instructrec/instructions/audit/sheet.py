"""What a person judges: one question about one text after the other, kept line by line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructrec.errors import DataError, UsageError
from instructrec.instructions.audit.prompts import KINDS, QUESTIONS, questions
from instructrec.instructions.audit.samples import Sample

_FIELDS = ("kind", "view", "user_id", "item_id", "split", "text", "teacher")


class Sheet:
    """The questions in order, and the answers so far.

    Every answer is a line of the file and on the disk when `answer` returns, so that a person
    goes on where they stopped; of two answers to a question the later counts.

    Args:
        samples: What is judged; all four questions of a text come one after the other.
        path: The file of answers; those in it are taken over.

    Raises:
        DataError: The file is none of ours.
        UsageError: Its folder is not there.
    """

    def __init__(self, samples: Sequence[Sample], path: Path) -> None:
        self.steps = [(one, name) for one in samples for name in QUESTIONS]
        self.path = path
        self._lock = threading.Lock()
        known = read_judged(path) if path.is_file() else {}
        self._answers = {key: dict(answers) for key, (_, answers) in known.items()}
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}", "Check --out")

    @property
    def done(self) -> int:
        """How many questions are answered."""
        return sum(self._answer(at) is not None for at in range(len(self.steps)))

    def first_open(self) -> int:
        """The first question without an answer; the number of questions when there is none."""
        return next(
            (at for at in range(len(self.steps)) if self._answer(at) is None), len(self.steps)
        )

    def _answer(self, at: int) -> bool | None:
        one, name = self.steps[at]
        return self._answers.get(one.key, {}).get(name)

    def step(self, at: int) -> dict[str, Any]:
        """A question as the page shows it; past the last one, that all is done."""
        told: dict[str, Any] = {"at": at, "of": len(self.steps), "done": self.done}
        if at >= len(self.steps):
            return told | {"finished": True}
        one, name = self.steps[at]
        return told | {
            "finished": False,
            "kind": one.kind,
            "view": one.view,
            "own": one.own,
            "target": one.about,
            "text": one.text,
            "question": questions(one.kind)[name],
            "answer": self._answer(at),
        }

    def answer(self, at: int, value: bool) -> None:
        """Keep an answer.

        Raises:
            UsageError: There is no such question.
        """
        if not 0 <= at < len(self.steps):
            raise UsageError(f"there is no question {at}", "Load the page again")
        one, name = self.steps[at]
        line = {
            **_identity(one),
            "question": name,
            "answer": int(value),
        }
        with self._lock:
            _append(self.path, json.dumps(line, ensure_ascii=False))
            self._answers.setdefault(one.key, {})[name] = value


def _identity(one: Sample) -> dict[str, str]:
    return {name: getattr(one, name) for name in _FIELDS}


def _append(path: Path, line: str) -> None:
    with path.open("a+b") as file:
        # A kill may have left half a line, which must not swallow this one.
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_judged(path: Path) -> dict[str, tuple[Sample, Mapping[str, bool]]]:
    """A person's answers: key of a sample → the sample without its grounds, and its answers.

    A line that is no JSON (half of one, after a kill) is passed over.

    Raises:
        UsageError: There is no such file.
        DataError: It is none of ours.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "Make it with instructrec corpus judge")
    found: dict[str, tuple[Sample, dict[str, bool]]] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        try:
            one = Sample(**{name: str(row[name]) for name in _FIELDS})  # type: ignore[arg-type]
            name, value = row["question"], row["answer"]
            if one.kind not in KINDS or name not in QUESTIONS or value not in (0, 1):
                raise ValueError(name)
        except (KeyError, TypeError, ValueError):
            raise DataError(
                f"{path}, line {number} is no answer of corpus judge",
                "Name a file that corpus judge wrote",
            ) from None
        found.setdefault(one.key, (one, {}))[1][name] = bool(value)
    return dict(found)
