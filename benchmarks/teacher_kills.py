"""Kill `instructrec corpus build` again and again while a paid teacher writes; what does it cost?

A server on this machine stands for the paid teacher: its answers depend on the prompt alone, a
tenth of its replies is broken. Each build is killed at a random moment and run again until it is
done, then compared byte by byte with one that nothing disturbed. Asked again may only be what the
server had answered but the build had not recorded when it was killed: at most what was in flight.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/test_instructions/test_teachers"))

from faulty_server import FaultyServer, digest_of

from instructrec.data.market import make_market
from instructrec.folders import read_manifest

FAULTS = ("429", "500", "529", "nonsense", "half", "empty", "closed")
CONCURRENCY = 4


def start(server: FaultyServer, dataset: Path, cache: Path, out: Path) -> subprocess.Popen[bytes]:
    code = "from instructrec.cli import main; main()"
    flags = ["--teacher", "openai:fake", "--base-url", server.base_url, "--cache", str(cache)]
    more = ["--concurrency", str(CONCURRENCY), "--timeout", "5"]
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "corpus",
            "build",
            str(dataset),
            "--out",
            str(out),
            *flags,
            *more,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def recorded(cache: Path) -> set[str]:
    """Digests of the requests whose answers are in the cache, as the server names them."""
    path = cache / "answers.sqlite"
    if not path.is_file():
        return set()
    with sqlite3.connect(path, timeout=60) as opened:
        if not opened.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            return set()
        prompts = [json.loads(row[0]) for row in opened.execute("SELECT prompt FROM answers")]
    told = [[{"role": r, "content": c} for r, c in prompt["messages"]] for prompt in prompts]
    return {digest_of(messages).hex() for messages in told}


def wait_for_moment(process: subprocess.Popen[bytes], server: FaultyServer, rng: random.Random,
                    step: int) -> None:  # fmt: skip
    """So many requests on, or so many seconds on, whichever is drawn."""
    if rng.random() < 0.7:
        moment = len(server.asked) + rng.randrange(1, step)
        while process.poll() is None and len(server.asked) < moment:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.05)
        return
    until = time.monotonic() + rng.random() * 8
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


def one_corpus(folder: Path, seed: int, kills: int, users: int) -> dict[str, Any]:
    rng = random.Random(seed)
    dataset = folder / "dataset"
    make_market(dataset, users=users, items=max(users, 60), seed=seed)
    with FaultyServer(wrong=0.05) as server:
        calm = start(server, dataset, folder / "calm-cache", folder / "calm")
        if calm.wait():
            raise SystemExit(calm.stderr.read().decode() if calm.stderr else "failed")
        requests = len(server.asked)
    done, again = Counter[str](), 0
    with FaultyServer(0.1, FAULTS, seed=seed, wrong=0.05, delay=0.01) as server:
        while True:
            known, before = recorded(folder / "cache"), len(server.asked)
            process = start(server, dataset, folder / "cache", folder / "killed")
            if done["kills"] < kills:
                wait_for_moment(process, server, rng, max(2 * requests // kills, 2))
                process.kill()
            _, said = process.communicate()
            again += len(known & set(server.asked[before:]))
            if process.returncode == 0:
                break
            if process.returncode > 0:
                raise SystemExit(said.decode())
            done["kills"] += 1
        twice = sum(count - 1 for count in server.answered.values())
    files = [read_manifest(folder / name)["files"] for name in ("calm", "killed")]
    return {
        "kills": done["kills"],
        "requests": requests,
        "recorded_and_sent_again": again,
        "answered_at_the_kill_and_sent_again": twice,
        "equal": files[0] == files[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    start_time, rounds = time.monotonic(), []
    while (left := args.kills - sum(one["kills"] for one in rounds)) > 0:
        with tempfile.TemporaryDirectory() as folder:
            seed = args.seed + len(rounds)
            rounds.append(one_corpus(Path(folder), seed, min(left, 25), args.users))
            print(rounds[-1], file=sys.stderr, flush=True)
    told = {
        "corpora": len(rounds),
        **{name: sum(one[name] for one in rounds) for name in rounds[0] if name != "equal"},
        "byte_equal": all(one["equal"] for one in rounds),
        "seconds": round(time.monotonic() - start_time),
    }
    if args.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name.replace('_', ' '):36} {value}")
    if told["recorded_and_sent_again"] or not told["byte_equal"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
