"""Where partitions are made: in this process, in others of this machine, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from typing import Any, Protocol, TypeVar

from instructrec.errors import InstructRecError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

EXECUTORS = ("process", "ray", "none")
TRIES = 3
"""How often a task is begun whose worker dies, before that is told as an error."""
CONNECT_SECONDS = 3.0
_SETTINGS = b"\x04"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" * 5
"""How HTTP/2 begins, and what type of frame its answer is of: a cluster speaks gRPC."""
OBJECT_STORE = 100 * 2**20
"""Bytes of Ray's store: tasks and results are small, rows go to disk."""


class Executor(Protocol):
    """Runs one function on many tasks."""

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """The results as they come, in any order; tasks are begun in order.

        Args:
            function: A top-level function without effect beyond what its task names, so that it
                may be done again where a worker died.
            tasks: What can be sent to other processes.
        """
        ...


class InProcess:
    """One task after the other, in this process."""

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor`."""
        yield from map(function, tasks)


class Processes:
    """Some processes of this machine, by `concurrent.futures`.

    They are started anew (``spawn``): a script that calls this does so under
    ``if __name__ == "__main__":``. Each worker is a pool of its own, so that one which is killed
    takes no other with it.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor`.

        Raises:
            InstructRecError: A worker died again and again over the same task.
        """
        waiting = deque((task, 1) for task in tasks)
        idle = [_Worker() for _ in range(min(self.workers, len(tasks)))]
        busy: dict[Future[Result], tuple[_Worker, Task, int]] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    task, tries = waiting.popleft()
                    worker = idle.pop()
                    busy[worker.submit(function, task)] = (worker, task, tries)
                for future in wait(busy, return_when=FIRST_COMPLETED).done:
                    worker, task, tries = busy.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        worker.stop()
                        if tries == TRIES:
                            raise _died(tries) from None
                        idle.append(_Worker())
                        waiting.appendleft((task, tries + 1))
                        continue
                    idle.append(worker)
                    yield result
        finally:
            for worker in [*idle, *(worker for worker, _, _ in busy.values())]:
                worker.stop()


def _died(tries: int) -> InstructRecError:
    return InstructRecError(
        f"a worker died {tries} times over the same partition",
        "Look for lack of memory, take fewer --workers, or --executor none to see its error",
    )


class _Worker:
    """One other process."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, initializer=_begin)
        self._pid = self._pool.submit(os.getpid)

    def submit(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        return self._pool.submit(function, task)

    def stop(self) -> None:
        """End it at once; what it was doing can be done again."""
        with contextlib.suppress(BrokenProcessPool, ProcessLookupError):
            os.kill(self._pid.result(), signal.SIGTERM)
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the main process, and end with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@dataclass(frozen=True)
class OnRay:
    """A Ray cluster, or one of this machine that is made for the time of the work.

    Workers read the dataset and write the corpus under the same paths as this process.

    Attributes:
        workers: Tasks at a time; as many as the cluster has cores when left out.
        address: ``HOST:PORT`` of a cluster, or ``auto``; one is made here when left out.
    """

    workers: int | None = None
    address: str | None = None

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor`.

        Raises:
            UsageError: Ray is not installed, or there is no cluster at the address.
            InstructRecError: A worker died again and again over the same task.
        """
        ray = _ray()
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        try:
            yield from self._results(ray, function, tasks)
        finally:
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
        if self.address is None:
            ray.init(
                address="local",
                num_cpus=self.workers or cores(),
                object_store_memory=OBJECT_STORE,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
            return
        _reach(self.address)
        del quiet["include_dashboard"]
        try:
            ray.init(address=self.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _unreached(self.address, error) from None

    def _results(
        self, ray: Any, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[Result]:
        remote = ray.remote(max_retries=TRIES - 1)(_call)
        room = self.workers or int(ray.cluster_resources().get("CPU", 1))
        waiting = deque(tasks)
        busy: list[Any] = []
        while waiting or busy:
            while waiting and len(busy) < room:
                busy.append(remote.remote(function, waiting.popleft()))
            done, busy = ray.wait(busy, num_returns=1)
            try:
                yield ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                raise (error.cause or error) from None
            except ray.exceptions.RayError:  # A worker or its machine died, or had no memory.
                raise _died(TRIES) from None


def _call(function: Callable[[Task], Result], task: Task) -> Result:
    """What Ray takes: a plain function, whatever can be called with a task."""
    return function(task)


def _ray() -> Any:
    # No word about the work leaves the machine unless somebody asks for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UsageError("Ray is not installed", "Run pip install 'instructrec[ray]'") from None
    return ray


def _reach(address: str) -> None:
    """Ray itself tries a wrong address for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--address {address!r} is not HOST:PORT", "Give HOST:PORT or auto")
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS) as connection:
            connection.settimeout(CONNECT_SECONDS)
            connection.sendall(_HELLO)
            answer = connection.recv(4)
    except (OSError, OverflowError) as error:
        raise _unreached(address, error) from None
    if answer[3:4] != _SETTINGS and os.environ.get("RAY_USE_TLS", "0") == "0":
        raise _unreached(address, ConnectionError("something else listens there"))


def _unreached(address: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())
    return UsageError(
        f"there is no Ray cluster at {address} ({reason})",
        "Check --address, or leave it out for a cluster of this machine",
    )


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def executor_named(
    name: str | None = None, workers: int | None = None, address: str | None = None
) -> Executor:
    """The executor that flags ask for.

    Args:
        name: ``process``, ``ray`` or ``none``; when left out, ``ray`` where there is an address,
            else ``process``.
        workers: As many as there are cores when left out.
        address: Of a Ray cluster.

    Raises:
        UsageError: There is no such executor, or a setting does not go with it.
    """
    name = name or ("ray" if address else "process")
    if name not in EXECUTORS:
        raise UsageError(f"--executor {name!r} is not known", f"Use one of {', '.join(EXECUTORS)}")
    if address and name != "ray":
        raise UsageError(f"--address does not go with --executor {name}", "Add --executor ray")
    if name == "ray":
        _ray()
        return OnRay(workers, address)
    if name == "none" and (workers or 1) > 1:
        raise UsageError("--executor none has one worker", "Leave --workers out")
    return (
        InProcess()
        if name == "none" or (workers or cores()) == 1
        else Processes(workers or cores())
    )
