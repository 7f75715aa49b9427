"""POST /v1/recommendations: items for a user, a history or a wish."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from instructrec.instructions.schema import Context
from instructrec.protocols import Condition, Filters
from instructrec.questions import Question
from instructrec.serving.access import ASKING, ServiceHere
from instructrec.serving.routes._fields import (
    PROBLEMS,
    History,
    Id,
    Strict,
    Title,
    Words,
    example,
)
from instructrec.serving.waiting import answered

router = APIRouter(tags=["recommendations"], dependencies=[ASKING], responses=PROBLEMS)


class ContextIn(Strict):
    """Circumstances, each in a few words."""

    time: Words = ""
    place: Words = ""
    device: Words = ""
    occasion: Words = ""


class FiltersIn(Strict):
    """Hard limits on what may be answered."""

    price_min: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    price_max: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    categories: Annotated[list[Title], Field(max_length=20)] = Field(
        default=[], description="All of them must be among the item's."
    )
    brand: Title | None = None
    in_stock: bool | None = None
    exclude: Annotated[list[Id], Field(max_length=1000)] = Field(
        default=[], description="Item ids that may not be answered."
    )
    where: Annotated[list[Title], Field(max_length=20)] = Field(
        default=[], description='Conditions over any column, such as "price<=30".'
    )

    def filters(self) -> Filters:
        """As the rest of the package has them.

        Raises:
            UsageError: A condition cannot be read.
        """
        told = [Condition("categories", "has", one) for one in self.categories]
        for column, operator, value in (
            ("price", ">=", self.price_min),
            ("price", "<=", self.price_max),
            ("brand", "==", self.brand),
            ("in_stock", "==", self.in_stock),
        ):
            if value is not None:
                told.append(Condition(column, operator, value))  # type: ignore[arg-type]
        read = Filters.parse(self.where)
        return Filters((*told, *read.conditions), frozenset(self.exclude))


class RecommendationsIn(Strict):
    """A request: anything that is known of who asks and what they want."""

    model_config = example(
        {
            "user_id": "U00001",
            "intention": "a gift for my son who likes racing",
            "filters": {"price_max": 30},
            "k": 5,
        }
    )

    user_id: Id | None = Field(default=None, description="A user; one nobody knows is welcome.")
    history: History | None = Field(
        default=None, description="Item ids or titles, oldest first, instead of the user's own."
    )
    preference: Words = Field(default="", description="What the user likes, in words.")
    intention: Words = Field(default="", description="What they want now, in words.")
    task: Literal["T0", "T1", "T2", "T3"] = Field(
        default="T3", description="T0 judge, T1 compare two, T2 name one of all, T3 rerank."
    )
    candidates: Annotated[list[Title], Field(max_length=1000)] = Field(
        default=[], description="Item ids or titles to choose among, instead of all items."
    )
    context: ContextIn = ContextIn()
    filters: FiltersIn = FiltersIn()
    k: int = Field(default=10, ge=1, le=100)
    owned: bool = Field(default=False, description="Whether items they have may be answered.")
    evidence: Literal["all", "lm", "without_lm"] = "all"
    deadline_ms: int | None = Field(
        default=None, ge=1, description="After so long, without the language model."
    )

    def question(self, pool: int) -> Question:
        """As the recommender has it."""
        return Question(
            user=self.user_id,
            history=None if self.history is None else tuple(self.history),
            preference=self.preference,
            wish=self.intention,
            k=self.k,
            filters=self.filters.filters(),
            context=Context(**self.context.model_dump()),
            evidence=self.evidence,
            task=self.task,
            candidates=tuple(self.candidates),
            owned=self.owned,
            pool=pool,
        )


class Reason(BaseModel):
    """What of the history and of the words speaks for an item."""

    history: list[dict[str, Any]]
    words: list[str]


class ItemOut(BaseModel):
    """An answered item."""

    rank: int
    item_id: str
    title: str
    score: float = Field(description="Comparable within one answer only.")
    facts: dict[str, Any]
    evidence: dict[str, float] = Field(description="What each piece adds to the score.")
    because: Reason
    probability: float | None = Field(default=None, description="For T0 and T1.")


class RecommendationsOut(BaseModel):
    """The answer."""

    request_id: str
    model_version: str
    degraded: bool = Field(description="Whether time was too short for the language model.")
    task: str
    scenario: str
    answer: str = Field(description="For T0 yes or no, for T1 and T2 the title.")
    items: list[ItemOut]
    instruction: str = Field(description="What the language model was told.")
    parts: list[dict[str, str]]
    filters: list[str]
    notes: list[str]
    timings: dict[str, float] = Field(description="Seconds by step.")


@router.post("/v1/recommendations", response_model=RecommendationsOut)
async def recommend(body: RecommendationsIn, request: Request, service: ServiceHere) -> Any:
    """Recommend items: by what is known of the user, by what is said, within limits."""
    asked = body.question(service.config.candidates)
    question, notes = await run_in_threadpool(service.known, asked)
    found = await answered(request, service, question, body.deadline_ms)
    told = found.result.to_dict()
    timings = {"wait": round(found.waited, 4), **told.pop("seconds")}
    told["notes"] = [*notes, *told["notes"]]
    return JSONResponse(
        {
            "request_id": request.scope["request_id"],
            "model_version": service.version,
            "degraded": found.degraded,
            **told,
            "timings": timings,
        }
    )
