"""The connection to SQLite or PostgreSQL, and the migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from instructrec.errors import InstructRecError

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 7_305_112
"""The advisory lock of PostgreSQL that keeps erasing and writing apart."""
_WAIT_MS = 10_000
_PRAGMAS = (
    f"busy_timeout = {_WAIT_MS}",
    "journal_mode = WAL",
    # A commit returns when the write-ahead log is on the disk, not before.
    "synchronous = FULL",
    # What is erased is overwritten in the file.
    "secure_delete = ON",
)


class StoreError(InstructRecError):
    """The store cannot be opened, read or written."""


def open_engine(url: str) -> Engine:
    """Connect to a database; nothing is made or changed in it.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql+psycopg://USER:PASSWORD@HOST/NAME``.

    Raises:
        StoreError: The URL is of another kind or its driver is not installed.
    """
    try:
        found = make_url(url)
    except ArgumentError:
        raise StoreError("the database is no URL", "Write sqlite:///FILE") from None
    if found.drivername == "postgresql":
        found = found.set(drivername="postgresql+psycopg")
    try:
        if found.drivername == "sqlite":
            return _sqlite(found)
        if found.drivername == "postgresql+psycopg":
            return create_engine(found, pool_pre_ping=True, pool_size=10, max_overflow=20)
    except (ImportError, NoSuchModuleError):
        raise StoreError(
            f"the driver of {found.drivername} is not installed",
            "pip install 'instructrec[serve]'",
        ) from None
    raise StoreError(
        f"{found.drivername} is no database that is known here",
        "Use sqlite:///FILE or postgresql+psycopg://…",
    )


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StoreError("SQLite needs a file", "Write sqlite:///FILE")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=10, max_overflow=20)

    def prepare(connection: Any, _: Any) -> None:
        # Transactions are begun below, not by the driver, which begins them too late.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        # Who will write waits for the lock at the start: a read lock cannot be raised later on.
        is_writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest form; two servers that start at once take turns.

    Raises:
        StoreError: The database cannot be reached, or was made by a later version.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine.connect().execution_options(writing=True) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError:
        raise StoreError(
            f"{where(engine)} was made by a later version of instructrec", "Install that version"
        ) from None
    except SQLAlchemyError as error:
        raise StoreError(
            f"the database {where(engine)} cannot be used ({_reason(error)})",
            "Check --database and that the server runs",
        ) from error


def where(engine: Engine) -> str:
    """The database's URL without its password."""
    return engine.url.render_as_string(hide_password=True)


def _reason(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
