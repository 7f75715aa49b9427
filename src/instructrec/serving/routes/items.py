"""Items: new and changed ones, and what is like one of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from instructrec.likeness import similar_items
from instructrec.serving.access import ADMINISTERING, ASKING, ServiceHere
from instructrec.serving.routes._fields import PROBLEMS, Id, Strict, Title, example

router = APIRouter(tags=["items"], responses=PROBLEMS)

Plain = str | int | float | bool | list[str] | None
_LONGEST = 10_000


class ItemIn(BaseModel):
    """An item: of a known one only what has changed; further columns of the dataset as well."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Plain] = Field(init=False)

    item_id: Id
    title: Title | None = None
    categories: Annotated[list[Title], Field(max_length=50)] | None = None
    brand: Title | None = None
    price: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    currency: Title | None = None
    description: Annotated[str, Field(max_length=_LONGEST)] | None = None
    in_stock: bool | None = None
    url: Title | None = None

    @model_validator(mode="after")
    def _bounded(self) -> ItemIn:
        for name, value in (self.model_extra or {}).items():
            if len(name) > 100 or len(str(value)) > _LONGEST or "\0" in f"{name}{value}":
                raise ValueError("a further column is too large or has a zero character")
        if self.title is None and "title" in self.model_fields_set:
            raise ValueError("a title may not be taken away")
        return self


class ItemsIn(Strict):
    """Items that are new or have changed."""

    model_config = example(
        {
            "items": [
                {
                    "item_id": "N1",
                    "title": "Comet Racer",
                    "categories": ["Games", "Racing"],
                    "price": 19.9,
                    "in_stock": True,
                }
            ]
        }
    )

    items: Annotated[list[ItemIn], Field(min_length=1, max_length=1000)]


class ItemsOut(BaseModel):
    """What became of them."""

    changed: int
    items: int = Field(description="In the whole catalogue now.")


class Like(BaseModel):
    """An item that is like another."""

    item_id: str
    title: str
    score: float
    facts: dict[str, Any]


class SimilarOut(BaseModel):
    """Items like one."""

    item_id: str
    items: list[Like]


@router.post("/v1/items", response_model=ItemsOut, dependencies=[ADMINISTERING])
def put_items(body: ItemsIn, service: ServiceHere) -> Any:
    """Take items up; when this answers they can be recommended, bought before or not."""
    service.put_items([one.model_dump(exclude_unset=True) for one in body.items])
    return ItemsOut(
        changed=len({one.item_id for one in body.items}), items=len(service.recommender.catalogue)
    )


@router.get("/v1/items/{item_id:path}/similar", response_model=SimilarOut, dependencies=[ASKING])
def similar(item_id: Id, service: ServiceHere, k: Annotated[int, Query(ge=1, le=100)] = 10) -> Any:
    """Items like this one: alike to read, or taken by the same people."""
    recommender = service.recommender
    if item_id not in recommender.catalogue.index:
        raise HTTPException(404, "the catalogue has no such item")
    found = similar_items(recommender, item_id, k)
    return {"item_id": item_id, "items": found}
