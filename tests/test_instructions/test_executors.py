"""Work goes to other processes and comes back, or says in one line why not."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from instructrec.errors import DataError, InstructRecError, UsageError
from instructrec.instructions.executors import InProcess, OnRay, Processes, executor_named

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="needs Ray: pip install 'instructrec[ray]'"
)


def _square(number: int) -> int:
    return number * number


def _complain(number: int) -> int:
    raise DataError(f"number {number} is bad", "Take another")


def _die(folder: str) -> int:
    (Path(folder) / f"{os.getpid()}").touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.parametrize("executor", [InProcess(), Processes(2)])
def test_every_task_is_done_once(executor: Processes) -> None:
    assert sorted(executor.run(_square, range(7))) == [n * n for n in range(7)]


def test_an_error_in_a_worker_comes_back_whole() -> None:
    with pytest.raises(DataError) as told:
        list(Processes(1).run(_complain, [3]))
    assert (told.value.what, told.value.cure) == ("number 3 is bad", "Take another")


def test_a_task_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(InstructRecError, match="died 3 times"):
        list(Processes(1).run(_die, [str(tmp_path)]))
    assert len(list(tmp_path.iterdir())) == 3


def test_flags_name_an_executor() -> None:
    assert isinstance(executor_named("none"), InProcess)
    assert isinstance(executor_named(None, 1), InProcess)
    chosen = executor_named(None, 3)
    assert isinstance(chosen, Processes) and chosen.workers == 3


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("threads", None, None), "not known"),
        (("none", 2, None), "one worker"),
        (("process", None, "127.0.0.1:1"), "Add --executor ray"),
    ],
)
def test_flags_that_contradict_each_other_are_told(
    flags: tuple[str, int | None, str | None], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        executor_named(*flags)


def test_without_ray_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'instructrec\[ray\]'"):
        executor_named("ray")


@needs_ray
@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "no.such.host.invalid:6379"])
def test_an_address_without_a_cluster_is_told(address: str) -> None:
    with pytest.raises(UsageError, match=r"--address"):
        list(OnRay(1, address).run(_square, [1]))


@needs_ray
def test_an_address_where_something_else_listens_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UsageError, match="no Ray cluster"):
            list(OnRay(1, f"127.0.0.1:{port}").run(_square, [1]))
