"""Answers that were paid for, kept on disk so that no request is paid for twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructrec.errors import FolderError
from instructrec.instructions.teachers.base import Answer, Prompt
from instructrec.pretrained import cache_folder

FILE = "answers.sqlite"
COLUMNS = (
    "key",
    "model",
    "version",
    "parameters",
    "prompt",
    "answer",
    "prompt_tokens",
    "completion_tokens",
    "at",
)
"""Of the table of answers: ``at`` in seconds since 1970, ``prompt`` and ``parameters`` JSON."""
_APPLICATION = 0x1A55_0001
_VERSION = 1
_PATIENCE = 120.0
"""Seconds that one process waits while another writes."""
_AT_ONCE = 500
_TABLES = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, parameters TEXT NOT NULL,
    prompt TEXT NOT NULL, answer TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE failures (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, faults TEXT NOT NULL,
    answers TEXT NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Asked:
    """What decides an answer; see `AnswerCache`.

    Attributes:
        model: Such as ``openai:gpt-5-mini``.
        version: Of the prompt book.
        parameters: All that decides an answer beside the prompt.
        prompt: Messages and the limit of tokens.
    """

    model: str
    version: str
    parameters: Mapping[str, Any]
    prompt: Prompt

    @property
    def prompt_json(self) -> str:
        """The prompt as the cache keeps it."""
        messages = [[turn.role, turn.content] for turn in self.prompt.messages]
        return compact_json({"messages": messages, "max_tokens": self.prompt.max_tokens})

    @property
    def key(self) -> str:
        """Hex sha256 of all of it."""
        parts = [self.model, self.version, compact_json(dict(self.parameters)), self.prompt_json]
        return hashlib.sha256(compact_json(parts).encode()).hexdigest()


def default_folder() -> Path:
    """``teachers`` beside the pulled models: below ``$INSTRUCTREC_CACHE`` or the user's cache."""
    return cache_folder().parent / "teachers"


class AnswerCache:
    """Answers by the sha256 of model, prompt version, prompt and parameters.

    An answer is on the disk when `put` returns: a kill or a power cut after that does not lose it.
    Several processes may share a cache on a local disk; the first answer to a request stays.

    Args:
        folder: Where ``answers.sqlite`` lies or is to lie; `default_folder` when none.
        create: Whether to make what is not there.

    Raises:
        FolderError: The file is absent and not to be made, damaged, or not ours.
    """

    def __init__(self, folder: Path | None = None, *, create: bool = True) -> None:
        self.path = (folder or default_folder()) / FILE
        if not create and not self.path.is_file():
            raise FolderError(f"there is no cache {self.path}", "Check --cache")
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            self._open()

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def get(self, asked: Sequence[Asked]) -> dict[str, Answer]:
        """The answers that are here, by key."""
        found: dict[str, Answer] = {}
        keys = list(dict.fromkeys(one.key for one in asked))
        with self._told():
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = self._db.execute(
                    "SELECT key, answer, prompt_tokens, completion_tokens FROM answers "
                    f"WHERE key IN ({marks})",
                    part,
                )
                found |= {key: Answer(text, asks, says) for key, text, asks, says in rows}
        return found

    def put(self, answered: Sequence[tuple[Asked, Answer]]) -> list[Answer]:
        """Keep answers, all at once.

        Returns:
            The answers that are kept, in order: another process's, where that came first.
        """
        now = time.time()
        rows = [
            (
                asked.key,
                asked.model,
                asked.version,
                compact_json(dict(asked.parameters)),
                asked.prompt_json,
                answer.text,
                answer.prompt_tokens,
                answer.completion_tokens,
                now,
            )
            for asked, answer in answered
        ]
        with self._writing():
            new = self._insert(rows)
        if new == len(rows):
            return [answer for _, answer in answered]
        kept = self.get([asked for asked, _ in answered])
        return [kept[asked.key] for asked, _ in answered]

    def add(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Take answers over that another cache exported; those that are here stay.

        Returns:
            How many are new.
        """
        with self._writing():
            return self._insert(tuple(row[name] for name in COLUMNS) for row in rows)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All answers by `COLUMNS`, by key."""
        with self._told():
            names = ", ".join(COLUMNS)
            for row in self._db.execute(f"SELECT {names} FROM answers ORDER BY key"):
                yield dict(zip(COLUMNS, row, strict=True))

    def fail(self, failed: Sequence[tuple[Asked, Sequence[str], Sequence[str]]]) -> None:
        """Record that no answer to some requests could be used.

        Args:
            failed: The first request, what was wrong in the end, and the keys of all the answers
                that were tried, each.
        """
        now = time.time()
        rows = [
            (
                asked.key,
                asked.model,
                asked.version,
                compact_json(list(faults)),
                compact_json(list(tried)),
                now,
            )
            for asked, faults, tried in failed
        ]
        with self._writing():
            self._db.executemany("INSERT OR IGNORE INTO failures VALUES (?, ?, ?, ?, ?, ?)", rows)

    def failures(self) -> Iterator[tuple[str, str, list[str]]]:
        """Model, prompt version and faults of each request whose answers could not be used."""
        with self._told():
            rows = self._db.execute("SELECT model, version, faults FROM failures ORDER BY key")
            for model, version, faults in rows:
                yield model, version, json.loads(faults)

    def summary(self) -> list[dict[str, Any]]:
        """Answers, tokens and times by model and prompt version."""
        with self._told():
            rows = self._db.execute(
                "SELECT model, version, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), "
                "MIN(at), MAX(at) FROM answers GROUP BY model, version ORDER BY model, version"
            ).fetchall()
        names = ("model", "version", "answers", "prompt_tokens", "completion_tokens")
        return [dict(zip((*names, "first", "last"), row, strict=True)) for row in rows]

    def prune(
        self, *, older_than: float | None = None, model: str | None = None, failed: bool = False
    ) -> int:
        """Drop answers.

        Args:
            older_than: Only those from before this time, in seconds since 1970.
            model: Only this model's.
            failed: Only those that could not be used, so that they are asked for anew.

        Returns:
            How many were dropped.
        """
        wheres, values = ["1"], list[Any]()
        if older_than is not None:
            wheres.append("at < ?")
            values.append(older_than)
        if model is not None:
            wheres.append("model = ?")
            values.append(model)
        where = " AND ".join(wheres)
        chosen = where
        if failed:
            chosen = (
                "key IN (SELECT value FROM failures, json_each(failures.answers) "
                f"WHERE {where.replace('at <', 'failures.at <')})"
            )
        with self._writing():
            dropped = self._db.execute(f"DELETE FROM answers WHERE {chosen}", values).rowcount
            self._db.execute(f"DELETE FROM failures WHERE {where}", values)
        with self._told():
            self._db.execute("VACUUM")
        return int(dropped)

    def _insert(self, rows: Iterable[Sequence[Any]]) -> int:
        marks = ",".join("?" * len(COLUMNS))
        before = self._db.total_changes
        self._db.executemany(f"INSERT OR IGNORE INTO answers VALUES ({marks})", rows)
        return self._db.total_changes - before

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._writing():
            tables = self._db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            found = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if not tables and not found:
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
            elif found != _APPLICATION or version != _VERSION:
                raise FolderError(
                    f"{self.path} is no cache of answers of this version",
                    "Name another folder with --cache",
                )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """All or nothing, and on the disk when it ends."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled it back already.
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            text = str(error)
            cure = "Check the path and its permissions"
            if "full" in text or "No space" in text:
                cure = "Make room, then run the same command again: all answers so far are kept"
            elif "locked" in text:
                cure = "Wait for the other process, then run the same command again"
            elif isinstance(error, sqlite3.DatabaseError) and (
                "malformed" in text or "not a database" in text
            ):
                cure = "Move it away, or name another folder with --cache"
                text = f"damaged: {text}"
            raise FolderError(f"the cache {self.path}: {text}", cure) from error


def compact_json(value: Any) -> str:
    """JSON as keys are made of it: sorted, without blanks."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
