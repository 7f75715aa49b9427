"""POST /v1/events: what people do, in batches, each event once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from instructrec.serving.access import ASKING, ServiceHere
from instructrec.serving.routes._fields import PROBLEMS, Id, Strict, example
from instructrec.serving.store import Event
from instructrec.serving.store.store import now_ms

router = APIRouter(tags=["events"], dependencies=[ASKING], responses=PROBLEMS)


class EventIn(Strict):
    """One event."""

    key: Id = Field(description="Your own name for this event; sent twice it counts once.")
    user_id: Id
    item_id: Id
    event: Literal["view", "cart", "purchase", "like", "dislike"]
    timestamp: int | None = Field(
        default=None, ge=0, le=2**53, description="Milliseconds since 1970; now when left out."
    )
    weight: float | None = Field(default=None, allow_inf_nan=False)
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = Field(
        default=None, description="Of the answer that led to it."
    )


class EventsIn(Strict):
    """A batch of events."""

    model_config = example(
        {"events": [{"key": "o-1", "user_id": "U00001", "item_id": "M00075", "event": "purchase"}]}
    )

    events: Annotated[list[EventIn], Field(min_length=1, max_length=1000)]


class EventsOut(BaseModel):
    """What became of them; all that was accepted is on the disk."""

    accepted: int
    repeated: int = Field(description="Known already by their keys.")
    refused: list[str] = Field(description="Keys of events whose users were erased.")


@router.post("/v1/events", response_model=EventsOut)
def add_events(body: EventsIn, service: ServiceHere) -> Any:
    """Take events in; the next request of their users knows them."""
    now = now_ms()
    told = [
        Event(**{**one.model_dump(), "timestamp": now if one.timestamp is None else one.timestamp})
        for one in body.events
    ]
    written = service.add_events(told)
    return EventsOut(
        accepted=len(written.accepted),
        repeated=len(written.repeated),
        refused=list(written.refused),
    )
