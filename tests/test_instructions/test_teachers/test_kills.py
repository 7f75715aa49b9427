"""Killed at any moment and run again: nothing is lost and nothing is paid for twice."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from faulty_server import FaultyServer

KILLS = 5
USERS = 40
SCRIPT = Path(__file__).with_name("annotate_once.py")


def start(server: FaultyServer, folder: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SCRIPT), server.base_url, str(folder), str(USERS), str(out)]
    return subprocess.Popen(command)


def recorded(folder: Path) -> set[str]:
    """Digests of the requests whose answers are in the cache, as the server names them."""
    import json

    from faulty_server import digest_of

    path = folder / "answers.sqlite"
    if not path.is_file():
        return set()
    with sqlite3.connect(path) as cache:
        try:
            prompts = [json.loads(row[0]) for row in cache.execute("SELECT prompt FROM answers")]
        except sqlite3.OperationalError:
            return set()
    told = (
        [{"role": role, "content": content} for role, content in prompt["messages"]]
        for prompt in prompts
    )
    return {digest_of(messages).hex() for messages in told}


def test_killed_again_and_again_it_ends_with_the_same_bytes_and_pays_once(tmp_path: Path):
    rng = random.Random(3)
    with FaultyServer(wrong=0.1) as server:
        assert start(server, tmp_path / "calm", tmp_path / "calm.out").wait() == 0
        paid_calm = sum(server.answered.values())
    kills = 0
    with FaultyServer(0.1, ("429", "500", "half", "empty"), seed=3, wrong=0.1) as server:
        server.delay = 0.02
        while True:
            known, before = recorded(tmp_path / "cache"), len(server.asked)
            process = start(server, tmp_path / "cache", tmp_path / "killed.out")
            if kills < KILLS:
                # A moment is so many requests on, and a little more.
                moment = before + rng.randrange(1, 12)
                while process.poll() is None and len(server.asked) < moment:
                    time.sleep(0.002)
                time.sleep(rng.random() * 0.05)
                process.kill()
            code = process.wait()
            assert not known & set(server.asked[before:])
            if code == 0:
                break
            kills += 1
        paid = len(recorded(tmp_path / "cache"))
    assert kills == KILLS
    assert (tmp_path / "killed.out").read_bytes() == (tmp_path / "calm.out").read_bytes()
    assert paid == paid_calm == len(recorded(tmp_path / "calm"))
