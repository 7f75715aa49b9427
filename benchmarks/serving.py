"""How much batches across requests bring, and how long people wait.

Starts `instructrec serve RUN` twice, with batches of one and with batches, and asks both from
threads of this process, each a client that asks again as soon as it is answered. Every figure is
of the same machine and the same minute.

    python benchmarks/serving.py --run runs/demo --candidates 10 100 --clients 1 8 32
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

BATCHES = {"one at a time": 1, "batched": 16}
WISHES = ("a gift for a friend", "something for the garden", "a game for the evening", "")


@dataclass(frozen=True)
class Row:
    """What one way of serving did for one number of clients."""

    way: str
    candidates: int
    clients: int
    seconds: float
    requests: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    degraded: float
    refused: int
    start_seconds: float
    memory_mib: float


@contextlib.contextmanager
def served(run: Path, candidates: int, batch: int, args: argparse.Namespace) -> Iterator[Any]:
    """A server on a free port: its port, its process and how long its start took."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "instructrec", "serve", str(run), "--port", "0", "--json"]
        line += ["--database", f"sqlite:///{folder}/store.sqlite", "--batch", str(batch)]
        line += ["--candidates", str(candidates), "--queue", str(args.queue)]
        line += ["--deadline-ms", str(args.deadline_ms)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            told = ""
            while not told.endswith("}\n"):
                told += process.stdout.readline()
            ready = json.loads(told)
            yield int(ready["address"].rsplit(":", 1)[1]), process, float(ready["seconds"])
        finally:
            process.terminate()
            process.wait(30)


def bodies(run: Path) -> list[bytes]:
    """Requests of many users, with and without a wish."""
    users = pl.read_parquet(run / "dataset" / "interactions.parquet")["user_id"].unique(
        maintain_order=True
    )
    return [
        json.dumps({"user_id": user, "intention": WISHES[number % len(WISHES)], "k": 10}).encode()
        for number, user in enumerate(users[:400].to_list())
    ]


def ask(port: int, asked: list[bytes], clients: int, seconds: float) -> tuple[list[Any], float]:
    """(status, degraded, seconds) of every request, and how long all of it took."""
    found: list[Any] = []
    until = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        place = number
        while time.perf_counter() < until:
            began = time.perf_counter()
            kind = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/recommendations", asked[place % len(asked)], kind)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            found.append((answer.status, told.get("degraded"), time.perf_counter() - began))
            place += clients
            if answer.status == 503:
                time.sleep(0.05)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, time.perf_counter() - began


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def measured(args: argparse.Namespace) -> Iterator[Row]:
    """One row for each way, number of candidates and number of clients."""
    asked = bodies(args.run)
    for candidates in args.candidates:
        for way, batch in BATCHES.items():
            with served(args.run, candidates, batch, args) as (port, process, start):
                ask(port, asked, 4, args.warm_up)
                for clients in args.clients:
                    found, took = ask(port, asked, clients, args.seconds)
                    good = [one for one in found if one[0] == 200]
                    waits = np.array([one[2] for one in good]) * 1000
                    p50, p95, p99 = np.percentile(waits, [50, 95, 99]).round(1).tolist()
                    yield Row(
                        way,
                        candidates,
                        clients,
                        round(took, 2),
                        len(good),
                        round(len(good) / took, 1),
                        p50,
                        p95,
                        p99,
                        round(sum(bool(one[1]) for one in good) / len(good), 4),
                        len(found) - len(good),
                        start,
                        round(memory_mib(process.pid), 1),
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--candidates", type=int, nargs="+", default=[10, 20, 100])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each row")
    parser.add_argument("--warm-up", type=float, default=3.0)
    parser.add_argument("--deadline-ms", type=int, default=1000)
    parser.add_argument("--queue", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    for row in measured(args):
        rows.append(asdict(row))
        if not args.json:
            told = "  ".join(f"{name} {value}" for name, value in asdict(row).items())
            print(told, flush=True)
    if args.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
