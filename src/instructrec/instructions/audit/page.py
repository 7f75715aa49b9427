"""The page on which a person judges texts: one file, served on this machine only."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from instructrec.errors import InstructRecError, UsageError
from instructrec.instructions.audit.sheet import Sheet

HOST = "127.0.0.1"
_LONGEST_BODY = 1_000
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}


class JudgePage(ThreadingHTTPServer):
    """Serves a sheet on 127.0.0.1, to pages of its own address only.

    Args:
        sheet: What is judged.
        port: 0 for any that is free.

    Raises:
        UsageError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, sheet: Sheet, port: int = 0) -> None:
        self.sheet = sheet
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used ({error.strerror})", "Name another with --port"
            ) from None
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        if self.server_port == 80:  # Browsers leave it out.
            self.hosts |= {HOST, "localhost"}

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: JudgePage
    timeout = 30

    def do_GET(self) -> None:
        """The page, or a question of it."""
        parts = urlsplit(self.path)
        if not self._is_ours():
            return
        if parts.path == "/":
            page = files("instructrec.instructions.audit") / "page.html"
            self._send(HTTPStatus.OK, page.read_bytes(), "text/html; charset=utf-8")
        elif parts.path == "/step":
            at = parse_qs(parts.query).get("at", [""])[0]
            first = int(at) if at.isdecimal() and len(at) < 10 else self.server.sheet.first_open()
            self._tell(self.server.sheet.step(first))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """An answer; the next question is told."""
        if not self._is_ours():
            return
        sheet = self.server.sheet
        try:
            at, value = self._body()
            sheet.answer(at, value)
        except (ValueError, InstructRecError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            told = f"{sheet.path}: {error.strerror}"
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, told)
        else:
            self._tell(sheet.step(at + 1))

    def _body(self) -> tuple[int, bool]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LONGEST_BODY:
            raise ValueError("the body is missing or too long")
        body = json.loads(self.rfile.read(int(length)))
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        if self.path != "/answer" or kind != "application/json" or not isinstance(body, dict):
            raise ValueError("an answer is JSON to /answer")
        at, value = body.get("at"), body.get("value")
        if type(at) is not int or value not in (0, 1):
            raise ValueError("an answer names a question and 1 or 0")
        return at, bool(value)

    def _is_ours(self) -> bool:
        """Whether it was asked from the page itself: other sites must neither read nor answer."""
        origin = self.headers.get("Origin")
        hosts = self.server.hosts
        if self.headers.get("Host") not in hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "wrong host")
        elif origin is not None and origin not in {f"http://{host}" for host in hosts}:
            self._refuse(HTTPStatus.FORBIDDEN, "wrong origin")
        else:
            return True
        return False

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._tell({"error": why}, status)

    def _tell(self, value: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        self._send(status, body, "application/json; charset=utf-8")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the page tells what is wrong."""
