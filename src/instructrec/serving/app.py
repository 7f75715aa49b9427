"""The HTTP application: routes, errors, limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

import instructrec
from instructrec.serving import problems
from instructrec.serving.edge import Edge
from instructrec.serving.routes import events, health, items, recommendations, rerank, users
from instructrec.serving.service import Service

_ABOUT = """
Recommendations that follow instructions, over a catalogue that is yours: say who asks, what they
like and what they want now; or send the texts to rerank, as to any other reranker.
"""


def create_app(service: Service) -> FastAPI:
    """The application over a service; when it stops, the service is closed.

    Args:
        service: See `Service`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="instructrec",
        description=_ABOUT,
        version=instructrec.__version__,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.service = service
    for module in (recommendations, rerank, events, items, users, health):
        app.include_router(module.router)
    problems.install(app)
    config = service.config
    app.add_middleware(
        Edge,
        metrics=service.metrics,
        max_body=config.max_body,
        body_seconds=config.body_seconds,
        only_loopback=not config.needs_keys,
    )
    return app
