"""Runs the application: listens, says when it is ready, and stops without losing a request."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from instructrec.errors import UsageError
from instructrec.serving.app import create_app
from instructrec.serving.service import Service
from instructrec.serving.settings import ServeConfig

_BACKLOG = 512


def open_app(run: Path, config: ServeConfig) -> FastAPI:
    """Load a run, open its store and make the application.

    Raises:
        InstructRecError: The run or the store cannot be used.
    """
    return create_app(Service.open(run, config))


def serve_app(app: FastAPI, config: ServeConfig, ready: Callable[[str], None]) -> None:
    """Listen until SIGINT or SIGTERM; requests in flight are answered first.

    Args:
        app: From `open_app`.
        config: See `ServeConfig`.
        ready: Told the address as soon as requests are answered.

    Raises:
        UsageError: The address is taken or is not one of this machine.
    """
    listener = _listener(config)
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=config.stop_seconds,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=2**16,
    )
    _Server(settings, lambda: ready(address)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that says when it has begun."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def _listener(config: ServeConfig) -> socket.socket:
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {config.host}, port {config.port} ({error.strerror})",
            "Take another --port or --host",
        ) from None
    return listener
