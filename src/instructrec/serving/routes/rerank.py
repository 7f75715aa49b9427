"""POST /v2/rerank and /v1/rerank: the wire formats of Cohere and Jina, with a user if one likes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from instructrec.questions import Question
from instructrec.serving.access import ASKING, ServiceHere
from instructrec.serving.routes._fields import PROBLEMS, Document, History, Id, Words, example
from instructrec.serving.service import Service
from instructrec.serving.waiting import answered

router = APIRouter(tags=["rerank"], dependencies=[ASKING], responses=PROBLEMS)


class TextDocument(BaseModel):
    """A document as an object."""

    text: Document


Documents = Annotated[list[Document | TextDocument], Field(min_length=1, max_length=1000)]


class RerankIn(BaseModel):
    """What both formats have; fields that are not known are passed over, as theirs are."""

    model: Words = Field(default="", description="Any name; the run that is served answers.")
    query: Words
    documents: Documents
    top_n: int | None = Field(default=None, ge=1)
    user_id: Id | None = Field(default=None, description="For whom, beyond the wire format.")
    history: History | None = Field(default=None, description="Instead of the user's own.")

    def texts(self) -> list[str]:
        """The documents' texts."""
        return [one if isinstance(one, str) else one.text for one in self.documents]


_EXAMPLE: dict[str, Any] = {
    "model": "instructrec",
    "query": "a racing game for two",
    "documents": ["Turbo Kart", "A book about bread", "Speed Legends"],
    "top_n": 2,
    "user_id": "U00001",
}


class CohereIn(RerankIn):
    """A request as the ``cohere`` client sends it."""

    model_config = example(_EXAMPLE, extra="ignore")


class JinaIn(RerankIn):
    """A request in Jina's format."""

    model_config = example(_EXAMPLE, extra="ignore")

    return_documents: bool = True


class CohereResult(BaseModel):
    """One document's place."""

    index: int
    relevance_score: float


class CohereOut(BaseModel):
    """An answer in Cohere's format."""

    id: str
    results: list[CohereResult]
    meta: dict[str, Any]


class JinaResult(CohereResult):
    """One document's place, with its text."""

    document: TextDocument | None = None


class JinaOut(BaseModel):
    """An answer in Jina's format."""

    model: str
    object: str
    usage: dict[str, int]
    results: list[JinaResult]


async def _ranked(
    request: Request, service: Service, body: RerankIn
) -> tuple[list[dict[str, Any]], bool]:
    """Indices and scores, best first, ties in the order given; and whether it is degraded."""
    history = None if body.history is None else tuple(body.history)
    asked = Question(user=body.user_id, history=history, wish=body.query)
    question, _ = await run_in_threadpool(service.known, asked)
    found = await answered(request, service, question, documents=body.texts())
    scores = found.result.relevance.tolist()
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    ranked = [
        {"index": place, "relevance_score": round(scores[place], 6)}
        for place in order[: body.top_n]
    ]
    return ranked, found.degraded


@router.post("/v2/rerank", response_model=CohereOut)
async def cohere(body: CohereIn, request: Request, service: ServiceHere) -> Any:
    """Order documents by a query, in Cohere's wire format."""
    ranked, degraded = await _ranked(request, service, body)
    meta = {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "model_version": service.version,
        "degraded": degraded,
    }
    return JSONResponse({"id": request.scope["request_id"], "results": ranked, "meta": meta})


@router.post("/v1/rerank", response_model=JinaOut)
async def jina(body: JinaIn, request: Request, service: ServiceHere) -> Any:
    """Order documents by a query, in Jina's wire format."""
    ranked, _ = await _ranked(request, service, body)
    texts = body.texts()
    if body.return_documents:
        ranked = [{**one, "document": {"text": texts[one["index"]]}} for one in ranked]
    words = sum(len(text.split()) for text in (body.query, *texts))
    return JSONResponse(
        {
            "model": body.model or "instructrec",
            "object": "list",
            "usage": {"total_tokens": words, "prompt_tokens": words},
            "results": ranked,
        }
    )
