"""The tables of the store; a change here needs a migration beside `migrations/versions`."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

metadata = MetaData()

# SQLite numbers rows by itself only where the key is an INTEGER.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

events = Table(
    "events",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("key", String(200), nullable=False, unique=True),
    Column("user_id", String(200), nullable=False),
    Column("item_id", String(200), nullable=False),
    Column("event", String(16), nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("weight", Float),
    Column("request_id", String(64)),
    Column("received_at", BigInteger, nullable=False),
    Index("events_of_user", "user_id", "timestamp", "number"),
)
"""What people did; ``key`` makes sending twice harmless, times are milliseconds."""

items = Table(
    "items",
    metadata,
    Column("item_id", String(200), primary_key=True),
    Column("body", JSON, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
"""Items that are new or have changed since the dataset was made; ``body`` has those columns."""

users = Table(
    "users",
    metadata,
    Column("user_id", String(200), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)
"""Everybody of whom the store knows anything."""

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("user_id", String(200), index=True),
    Column("body", JSON, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
"""Conversations that go on."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)
"""Who may ask; of the secret its SHA-256 alone."""

tombstones = Table(
    "tombstones",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("erased_at", BigInteger, nullable=False),
)
"""Users who were erased, as the SHA-256 of their ids, so that nobody comes back."""
