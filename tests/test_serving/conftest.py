"""Databases to write into: SQLite always, PostgreSQL where its server is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the server needs instructrec[serve]")
pytest.importorskip("alembic", reason="the server needs instructrec[serve]")
pytest.importorskip("fastapi", reason="the server needs instructrec[serve]")
pytest.importorskip("httpx", reason="asks the server by httpx")

from fastapi.testclient import TestClient

from instructrec.recommender import Recommender
from instructrec.serving.app import create_app
from instructrec.serving.service import Service
from instructrec.serving.settings import ServeConfig
from instructrec.serving.store import Store

from .small_run import make_small_run


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _programs() -> Path | None:
    """Where PostgreSQL's server programs lie: Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    lists = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: one.parent.name)
    return lists[-1] if lists and (lists[-1] / "initdb").is_file() else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own on the loopback; skips where there is none."""
    pytest.importorskip("psycopg", reason="needs psycopg")
    programs = _programs()
    if programs is None:
        pytest.skip("needs PostgreSQL's server (apt-get install postgresql)")
    # It refuses to run as root; Debian's package brings a user for it.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="instructrec-pg-"))
    if as_user:
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    control = [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-w"]

    def call(*args: str) -> None:
        subprocess.run(args, check=True, capture_output=True, cwd=folder)

    try:
        init = [str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres"]
        call(*as_user, *init, "--no-sync", "--encoding=UTF8", "--locale=C")
        call(*control, "-o", options, "-l", str(folder / "log"), "start")
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=folder
        )
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    import psycopg

    url: str = request.getfixturevalue("postgresql")
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture
def open_store(database: str) -> Iterator[Callable[[], Store]]:
    """Opens the database, as often as asked."""
    opened: list[Store] = []

    def opener() -> Store:
        opened.append(Store(database))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; read it, never write into it."""
    return make_small_run(tmp_path_factory.mktemp("served") / "run")


@pytest.fixture(scope="session")
def recommender(run: Path) -> Recommender:
    return Recommender.load(run)


@pytest.fixture
def serve(
    run: Path, recommender: Recommender, tmp_path: Path
) -> Iterator[Callable[..., TestClient]]:
    """Starts a server over the small run and a store of its own; settings may be given."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestClient:
            config = ServeConfig(**{"deadline_ms": 60_000, **settings})
            store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
            service = Service(run, recommender, store, config)
            client = TestClient(
                create_app(service), base_url="http://localhost", raise_server_exceptions=False
            )
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()
