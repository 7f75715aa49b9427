"""What every request passes first: an id, limits of size, time and host, and the clock."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instructrec.serving.metrics import Metrics
from instructrec.serving.problems import problem
from instructrec.serving.settings import is_loopback

_log = logging.getLogger("instructrec.serving")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Edge:
    """ASGI middleware around the whole application.

    A client may name its request (``X-Request-Id``); the answer bears that name or a new one.

    Args:
        app: What is behind.
        metrics: Told of every request.
        max_body: Bytes of a request at most.
        body_seconds: How long a client may take to send it.
        only_loopback: Whether requests to other names than this machine's are refused, so that a
            page in somebody's browser cannot reach a server that asks for no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        max_body: int,
        body_seconds: float,
        only_loopback: bool,
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.max_body = max_body
        self.body_seconds = body_seconds
        self.only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = request_id
        started, status, begun = time.perf_counter(), 500, False

        async def answer(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                named = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", []), named]
            await send(message)

        try:
            refused = self._refused(headers)
            if refused:
                await problem(refused, request_id)(scope, receive, answer)
            else:
                await self.app(scope, self._limited(receive), answer)
        except Exception:
            _log.exception("request %s failed", request_id)
            if not begun:
                await problem(500, request_id)(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.request(route, status, time.perf_counter() - started)

    def _refused(self, headers: Headers) -> int:
        """The status that a request gets for its headers alone; 0 for a good one."""
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self.max_body:
            return 413
        host = headers.get("host", "").rpartition(":")
        name = (host[0] if host[0] and not host[2].endswith("]") else headers.get("host", "")) or ""
        return 421 if self.only_loopback and not is_loopback(name.strip("[]")) else 0

    def _limited(self, receive: Receive) -> Receive:
        """Reads a body of so many bytes in so many seconds and no more."""
        left, until, whole = self.max_body, time.monotonic() + self.body_seconds, False

        async def read() -> Message:
            nonlocal left, whole
            if whole:
                return await receive()
            wait = max(until - time.monotonic(), 0)
            try:
                message: dict[str, Any] = dict(await asyncio.wait_for(receive(), wait))
            except TimeoutError:
                raise HTTPException(408) from None
            left -= len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413)
            return message

        return read
