"""An OpenAI-compatible server on this machine that answers by rule and fails by plan.

What it answers is a function of the prompt alone. What goes wrong before that is drawn from a
seed, the prompt and how often it was asked, so that runs of one plan can be told apart from runs
of another by nothing but the faults.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

FAULTS = ("429", "429 date", "500", "503", "529", "nonsense", "half", "empty", "closed", "hang")
WORDS = ("quiet", "warm", "bright", "slow", "clever", "gentle", "dark", "funny", "brave", "simple")
FIRST = "I want something {} and {} for a {} evening."
THIRD = "They like {} and {} things for a {} evening."


def text_for(field: str, digest: bytes) -> str:
    """A text that a field of the answer gets; a function of the prompt's digest."""
    words = [WORDS[digest[at] % len(WORDS)] for at in (1, 2, 3)]
    form = THIRD if field in ("overall", "long_term", "short_term") else FIRST
    return f"{words[0]} {words[1]}" if field == "query" else form.format(*words)


def answer_to(messages: list[dict[str, str]], wrong: float = 0.0) -> str:
    """What the model says: the object that was asked for; a share of first answers is wrong."""
    digest = digest_of(messages)
    if len(messages) < 4 and digest[0] < 256 * wrong:
        return "Sure! Here is what you asked for."
    form = re.findall(r"\{[^{}]*\}", messages[-1]["content"])[-1]
    return json.dumps({name: text_for(name, digest) for name in json.loads(form)})


def digest_of(messages: list[dict[str, str]]) -> bytes:
    told = [[turn["role"], turn["content"]] for turn in messages]
    return hashlib.sha256(json.dumps(told).encode()).digest()


class FaultyServer:
    """Serves while the ``with`` block lasts.

    Args:
        faults: The share of tries that go wrong, while a request has gone wrong less than thrice.
        kinds: What may go wrong.
        seed: Of the plan.
        wrong: The share of first answers that are of no use.
        refuse: Status and body for every request, instead of an answer.
        hang: Seconds before a request that hangs is dropped.
        delay: Seconds before an answer.
        unknown: Fields of a request that are answered with status 400 and these words.
    """

    def __init__(
        self,
        faults: float = 0.0,
        kinds: tuple[str, ...] = FAULTS,
        *,
        seed: int = 0,
        wrong: float = 0.0,
        refuse: tuple[int, str] | None = None,
        hang: float = 1.0,
        delay: float = 0.0,
        unknown: dict[str, str] | None = None,
    ) -> None:
        self.faults, self.kinds, self.seed, self.wrong = faults, kinds, seed, wrong
        self.refuse, self.hang, self.delay, self.unknown = refuse, hang, delay, unknown or {}
        self.lock = threading.Lock()
        self.asked: list[str] = []
        """Digest of every request, as they came."""
        self.answered: Counter[str] = Counter()
        """How often each was answered in full."""
        self.failed: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most_at_once = self.at_once = 0

    def __enter__(self) -> FaultyServer:
        server = self

        class Handler(_Handler):
            owner = server

        self.http = _Http(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self.http.server_port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def fault(self, digest: str, attempt: int) -> str:
        """What goes wrong with a try, ``""`` for nothing."""
        if attempt >= 3 or not self.faults:
            return ""
        number = int.from_bytes(hashlib.sha256(f"{self.seed} {digest} {attempt}".encode()).digest())
        rng = np.random.default_rng(number)
        return str(rng.choice(self.kinds)) if rng.random() < self.faults else ""


class _Http(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that was killed leaves half a request behind; that is nobody's fault."""


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        owner = self.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        digest = digest_of(body["messages"]).hex()
        with owner.lock:
            attempt = owner.asked.count(digest)
            owner.asked.append(digest)
            owner.bodies.append(body)
            owner.keys.add(self.headers.get("Authorization", ""))
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
        try:
            time.sleep(owner.delay)
            fault = owner.fault(digest, attempt)
            if fault:
                owner.failed[fault] += 1
                self._fail(fault, body)
            elif owner.refuse:
                status, text = owner.refuse
                self._reply(status, text.replace("{key}", self.headers.get("Authorization", "")))
            elif said := [why for name, why in owner.unknown.items() if name in body]:
                self._reply(400, json.dumps({"error": {"message": said[0]}}))
            else:
                self._reply(200, self._answer(body))
                with owner.lock:
                    owner.answered[digest] += 1
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with owner.lock:
                owner.at_once -= 1

    def _answer(self, body: dict[str, Any]) -> str:
        text = answer_to(body["messages"], self.owner.wrong)
        message = {"role": "assistant", "content": text}
        asked = sum(len(turn["content"]) for turn in body["messages"])
        usage = {"prompt_tokens": asked // 4, "completion_tokens": len(text) // 4}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice],
                           "usage": usage})  # fmt: skip

    def _fail(self, fault: str, body: dict[str, Any]) -> None:
        if fault == "429":
            self._reply(429, '{"error": "slow down"}', {"Retry-After": "0.02"})
        elif fault == "429 date":
            self._reply(429, "", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
        elif fault.isdigit():
            self._reply(int(fault), "<html>trouble</html>")
        elif fault == "nonsense":
            self._reply(200, "<html>welcome to the proxy</html>")
        elif fault == "empty":
            self._reply(200, "")
        elif fault == "half":
            whole = self._answer(body).encode()
            self._head(200, len(whole))
            self.wfile.write(whole[: len(whole) // 2])
            self._close()
        elif fault == "hang":
            time.sleep(self.owner.hang)
            self._close()
        else:
            self._close()

    def _close(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _head(self, status: int, size: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(size))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _reply(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        content = text.encode()
        self._head(status, len(content), headers)
        self.wfile.write(content)
        self.wfile.flush()
