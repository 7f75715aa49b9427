"""Whether the server lives, whether it can answer, and what it has counted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from instructrec.serving.access import ADMINISTERING, ServiceHere

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """A sign of life."""

    status: str = "ok"


class Ready(BaseModel):
    """What is served."""

    status: str = "ready"
    model_version: str
    items: int


@router.get("/healthz", response_model=Alive)
async def healthz() -> Any:
    """Whether the process lives."""
    return Alive()


@router.get("/readyz", response_model=Ready)
def readyz(service: ServiceHere) -> Any:
    """Whether the model is loaded and the store answers; 503 otherwise."""
    service.store.ping()
    return Ready(model_version=service.version, items=len(service.recommender.catalogue))


@router.get("/metrics", dependencies=[ADMINISTERING], response_class=Response)
def metrics(service: ServiceHere) -> Any:
    """Counters in Prometheus' text format."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")
