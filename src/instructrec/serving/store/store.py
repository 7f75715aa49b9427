"""The store as its users see it: every method is one transaction, written when it returns."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, Table, delete, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from instructrec.serving.store import keys, tables
from instructrec.serving.store.engine import LOCK, StoreError, migrate, open_engine, where

T = TypeVar("T")
_AT_ONCE = 500
"""Rows of one statement; SQLite takes so many values and no more."""


@dataclass(frozen=True)
class Event:
    """What somebody did with an item.

    Attributes:
        key: The sender's own name for this event; the same key twice is one event.
        user_id: Who.
        item_id: With what.
        event: One of `instructrec.data.dataset.EVENTS`.
        timestamp: When, in milliseconds.
        weight: How much it counts, where the sender says.
        request_id: The answer that led to it.
    """

    key: str
    user_id: str
    item_id: str
    event: str
    timestamp: int
    weight: float | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Written:
    """What became of a batch of events.

    Attributes:
        accepted: Keys that are new.
        repeated: Keys that were there already.
        refused: Keys whose users were erased.
    """

    accepted: tuple[str, ...]
    repeated: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """What a user did since the dataset was made.

    Attributes:
        item_ids: What they had to do with, dislikes left out, oldest first, each once.
        disliked: What they dislike.
        is_erased: Whether this user is to be forgotten.
    """

    item_ids: tuple[str, ...] = ()
    disliked: frozenset[str] = frozenset()
    is_erased: bool = False


class Store:
    """Events, items, users, keys, erasures and sessions in SQLite or PostgreSQL.

    Args:
        url: See `instructrec.serving.store.engine.open_engine`; the tables are made or brought to
            their newest form.

    Raises:
        StoreError: The database cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        migrate(self.engine)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            StoreError: There is none.
        """
        with self._reading() as connection:
            connection.execute(text("SELECT 1"))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._told(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self, *, erasing: bool = False) -> Iterator[Connection]:
        with self._told(), self.engine.connect() as opened:
            connection = opened.execution_options(writing=True)
            with connection.begin():
                if self.engine.dialect.name == "postgresql":
                    # Writers share the lock; who erases waits until none is left.
                    shared = "" if erasing else "_shared"
                    connection.execute(text(f"SELECT pg_advisory_xact_lock{shared}({LOCK})"))
                yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise StoreError(
                f"the database {where(self.engine)} failed", "Check that it runs and has room"
            ) from error

    def _insert(self, table: Table) -> Any:
        """An insert that passes over what is there already, in the database's own dialect."""
        if self.engine.dialect.name == "postgresql":
            return postgresql.insert(table)
        return sqlite.insert(table)

    def add_events(self, events: Sequence[Event]) -> Written:
        """Write events; when this returns they survive the death of process and machine.

        Args:
            events: Any number; of equal keys the first is kept.

        Raises:
            StoreError: Nothing was written.
        """
        by_key: dict[str, Event] = {}
        for event in events:
            by_key.setdefault(event.key, event)
        first = list(by_key.values())
        now = now_ms()
        with self._writing() as connection:
            erased = _erased(connection, [event.user_id for event in first])
            kept = [event for event in first if event.user_id not in erased]
            accepted: set[str] = set()
            for some in _parts(kept):
                statement = self._insert(tables.events).values(
                    [{**asdict(event), "received_at": now} for event in some]
                )
                statement = statement.on_conflict_do_nothing(index_elements=["key"])
                found = connection.execute(statement.returning(tables.events.c.key))
                accepted |= {row.key for row in found}
            self._add_users(connection, {event.user_id for event in kept}, now)
        refused = tuple(event.key for event in first if event.user_id in erased)
        return Written(
            tuple(event.key for event in kept if event.key in accepted),
            tuple(event.key for event in kept if event.key not in accepted),
            refused,
        )

    def _add_users(self, connection: Connection, user_ids: set[str], now: int) -> None:
        for some in _parts(sorted(user_ids)):
            rows = [{"user_id": user_id, "created_at": now} for user_id in some]
            statement = self._insert(tables.users).values(rows)
            connection.execute(statement.on_conflict_do_nothing(index_elements=["user_id"]))

    def taken(self, user_id: str) -> Taken:
        """What a user did since the dataset was made."""
        columns = tables.events.c
        query = (
            select(columns.item_id, columns.event)
            .where(columns.user_id == user_id)
            .order_by(columns.timestamp, columns.number)
        )
        with self._reading() as connection:
            if _erased(connection, [user_id]):
                return Taken(is_erased=True)
            rows = connection.execute(query).all()
        # The last word on an item counts: who likes what they once disliked may have it again.
        last = {row.item_id: row.event for row in rows}
        disliked = frozenset(item for item, event in last.items() if event == "dislike")
        liked = dict.fromkeys(row.item_id for row in rows if row.event != "dislike")
        return Taken(tuple(item for item in liked if item not in disliked), disliked)

    def put_items(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Keep what has changed of items; columns that are not told stay as they were.

        Args:
            changes: Each an ``item_id`` with its columns, plain JSON values.
        """
        now = now_ms()
        with self._writing() as connection:
            for change in changes:
                body = {name: value for name, value in change.items() if name != "item_id"}
                columns = tables.items.c
                mine = columns.item_id == change["item_id"]
                known = connection.execute(select(columns.body).where(mine)).scalar()
                row = {"item_id": change["item_id"], "updated_at": now}
                row["body"] = {**(known or {}), **body}
                statement = self._insert(tables.items).values(row)
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["item_id"], set_=row)
                )

    def items(self) -> list[dict[str, Any]]:
        """All changed items, in order of item_id."""
        columns = tables.items.c
        query = select(columns.item_id, columns.body).order_by(columns.item_id)
        with self._reading() as connection:
            return [{**row.body, "item_id": row.item_id} for row in connection.execute(query).all()]

    def export(self, user_id: str) -> dict[str, list[dict[str, Any]]] | None:
        """All that is kept of a user, by table; none where nothing is."""
        told: dict[str, list[dict[str, Any]]] = {}
        with self._reading() as connection:
            for table in (tables.users, tables.events, tables.sessions):
                query = select(table).where(table.c.user_id == user_id)
                rows = connection.execute(query.order_by(*table.primary_key)).mappings()
                told[table.name] = [dict(row) for row in rows]
        return told if any(told.values()) else None

    def erase(self, user_id: str) -> dict[str, int]:
        """Forget a user for good: rows go, a tombstone stays.

        Returns:
            How many rows went, by table.
        """
        gone = {}
        with self._writing(erasing=True) as connection:
            for table in (tables.events, tables.sessions, tables.users):
                found = connection.execute(delete(table).where(table.c.user_id == user_id))
                gone[table.name] = int(found.rowcount)
            row = {"digest": digest(user_id), "erased_at": now_ms()}
            statement = self._insert(tables.tombstones).values(row)
            connection.execute(statement.on_conflict_do_nothing(index_elements=["digest"]))
        if self.engine.dialect.name == "sqlite":
            with self._told(), self.engine.connect() as connection:
                # The write-ahead log still holds the old pages.
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def add_key(self, name: str, kind: keys.Kind, expires_at: int | None = None) -> str:
        """Make an API key.

        Args:
            name: Whose it is, for people.
            kind: What it opens.
            expires_at: Until when, in milliseconds; for ever when left out.

        Returns:
            The key; it is told here and never again.
        """
        made, row = keys.new_key(name, kind, expires_at, now_ms())
        with self._writing() as connection:
            statement: Insert = insert(tables.api_keys).values(row)
            connection.execute(statement)
        return made

    def kind_of(self, key: str) -> keys.Kind | None:
        """What a key opens; none for one that is unknown or has expired."""
        parts = keys.parse(key)
        if parts is None:
            return None
        query = select(tables.api_keys).where(tables.api_keys.c.key_id == parts[0])
        with self._reading() as connection:
            row = connection.execute(query).mappings().first()
        return keys.opened(parts[1], None if row is None else dict(row), now_ms())

    def keys(self) -> list[dict[str, Any]]:
        """All keys without their secrets, oldest first."""
        columns = tables.api_keys.c
        told = (columns.key_id, columns.name, columns.kind, columns.created_at, columns.expires_at)
        with self._reading() as connection:
            rows = connection.execute(select(*told).order_by(columns.created_at, columns.key_id))
            return [dict(row) for row in rows.mappings()]

    def remove_key(self, key_id: str) -> bool:
        """Take a key back; whether there was one."""
        with self._writing() as connection:
            mine = tables.api_keys.c.key_id == key_id
            return bool(connection.execute(delete(tables.api_keys).where(mine)).rowcount)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def digest(user_id: str) -> str:
    """What a tombstone keeps of a user id."""
    return hashlib.sha256(user_id.encode()).hexdigest()


def _erased(connection: Connection, user_ids: Sequence[str]) -> frozenset[str]:
    """Those who were erased."""
    by_digest = {digest(user_id): user_id for user_id in user_ids}
    found: list[str] = []
    for some in _parts(sorted(by_digest)):
        query = select(tables.tombstones.c.digest).where(tables.tombstones.c.digest.in_(some))
        found += connection.execute(query).scalars()
    return frozenset(by_digest[one] for one in found)


def _parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]
