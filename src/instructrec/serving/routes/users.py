"""Users: all that is known of one, and how one is forgotten."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from instructrec.serving.access import ADMINISTERING, ServiceHere
from instructrec.serving.routes._fields import PROBLEMS, Id

router = APIRouter(tags=["users"], dependencies=[ADMINISTERING], responses=PROBLEMS)


class UserOut(BaseModel):
    """All that is known of a user."""

    user_id: str
    store: dict[str, list[dict[str, Any]]] = Field(description="What came by HTTP, by table.")
    dataset: list[dict[str, Any]] = Field(description="Interactions the run was made from.")
    profile: list[dict[str, Any]] = Field(description="Facts of the dataset.")


class ErasedOut(BaseModel):
    """What was erased."""

    user_id: str
    erased: dict[str, int] = Field(description="Rows by table.")


@router.get("/v1/users/{user_id:path}", response_model=UserOut)
def export(user_id: Id, service: ServiceHere) -> Any:
    """Hand out all that is known of a user."""
    found = service.export(user_id)
    if found is None:
        raise HTTPException(404, "nothing is known of this user")
    return found


@router.delete("/v1/users/{user_id:path}", response_model=ErasedOut)
def erase(user_id: Id, service: ServiceHere) -> Any:
    """Forget a user: what came by HTTP is deleted, what the run knows is not used any more."""
    return {"user_id": user_id, "erased": service.store.erase(user_id)}
