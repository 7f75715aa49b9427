"""`instructrec serve` as people run it: it says when it is ready and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from instructrec.cli.app import run as command
from instructrec.serving.store import Store

from .conftest import free_port

Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite alone: starting takes seconds, and the tests of the store look at both."""
    return f"sqlite:///{tmp_path / 'store.sqlite'}"


@pytest.fixture
def start(run: Path, database: str) -> Iterator[Start]:
    """Starts the command on a free port and hands out the process and its address."""
    processes: list[subprocess.Popen[str]] = []

    def starter(*flags: str) -> tuple[subprocess.Popen[str], str]:
        line = ["serve", str(run), "--port", "0", "--database", database, "--json", *flags]
        process = subprocess.Popen(
            [sys.executable, "-m", "instructrec", *line],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        told = ""
        while not told.endswith("}\n"):
            told += process.stdout.readline()
            assert process.poll() is None, process.stderr and process.stderr.read()
        return process, str(json.loads(told)["address"])

    yield starter
    for process in processes:
        process.kill()
        process.communicate()


def events(turn: int, number: int) -> dict[str, object]:
    one = {"key": f"{turn}-{number}", "user_id": "ann", "item_id": "i", "event": "view"}
    return {"events": [one]}


def test_every_event_answered_with_success_survives_kill_9_of_the_server(start, database):
    answered: list[str] = []
    for turn in range(2):
        process, address = start()
        killer = threading.Timer(0.5 + turn / 10, os.kill, (process.pid, signal.SIGKILL))
        killer.start()
        with httpx.Client(base_url=address) as client:
            for number in range(10**6):
                try:
                    answer = client.post("/v1/events", json=events(turn, number))
                except httpx.TransportError:
                    break
                assert answer.status_code == 200
                answered.append(f"{turn}-{number}")
        process.wait(10)
    store = Store(database)
    kept = {row["key"] for row in store.export("ann")["events"]}
    store.close()
    assert answered
    assert set(answered) <= kept


def test_a_stopped_server_answers_what_is_in_flight_and_ends_well(start):
    process, address = start("--deadline-ms", "60000", "--queue", "100")
    answers: list[int] = []

    def ask() -> None:
        body = {"intention": "a gift", "k": 3}
        answers.append(
            httpx.post(f"{address}/v1/recommendations", json=body, timeout=60).status_code
        )

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    with httpx.Client(base_url=address, headers={"connection": "close"}) as client:
        until = time.monotonic() + 30
        while "instructrec_requests_total" not in client.get("/metrics").text:
            assert time.monotonic() < until
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert answers == [200] * 12
    assert process.wait(30) in (0, -signal.SIGTERM)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_a_taken_port_and_a_run_that_is_none_are_one_line(run, tmp_path, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        url = f"sqlite:///{tmp_path / 's.sqlite'}"
        assert command(["serve", str(run), "--port", str(port), "--database", url]) == 2
    assert command(["serve", str(tmp_path / "no"), "--port", str(free_port())]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "cannot listen at 127.0.0.1" in told[0]
    assert "there is no run" in told[1]


def test_keys_are_made_listed_and_taken_back(run, tmp_path, capsys):
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"

    def keys(*line: str) -> dict[str, object]:
        assert command(["keys", *line, "--database", url, "--json"]) == 0
        told: dict[str, object] = json.loads(capsys.readouterr().out)
        return told

    made = keys("add", str(run), "--name", "shop", "--expires", "1h")
    store = Store(url)
    assert store.kind_of(str(made["key"])) == "events"
    (listed,) = keys("list", str(run))["keys"]
    assert listed["name"] == "shop"
    keys("remove", str(run), listed["key_id"])
    assert store.kind_of(str(made["key"])) is None
    store.close()
    assert command(["keys", "remove", str(run), "x", "--database", url]) == 2
