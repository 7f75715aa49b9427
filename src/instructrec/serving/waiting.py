"""Waits for a batch's answer as long as somebody is there to read it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import HTTPException, Request

from instructrec.questions import Question
from instructrec.serving.batching import Answered
from instructrec.serving.service import Service

_LOOK = 0.1
"""Seconds between two looks whether the client is still there."""


async def answered(
    request: Request,
    service: Service,
    question: Question,
    deadline_ms: int | None = None,
    documents: Sequence[str] | None = None,
) -> Answered:
    """Hand a request to the batches and wait; a client that goes takes its request along.

    Args:
        request: Whose client is looked after.
        service: Answers.
        question: What is asked.
        deadline_ms: After so long the language model is left out; never later than the server's.
        documents: Texts to rerank.

    Raises:
        InstructRecError: The request is wrong, or there is too much to do.
        HTTPException: The client has gone.
    """
    most = service.config.deadline_ms
    seconds = min(deadline_ms or most, most) / 1000
    pending = service.batcher.submit(question, seconds, documents)
    future = asyncio.wrap_future(pending)
    while True:
        done, _ = await asyncio.wait({future}, timeout=_LOOK)
        if done:
            break
        if await request.is_disconnected():
            pending.cancel()
            raise HTTPException(408, "the client has gone")
    found = future.result()
    if found.degraded:
        service.metrics.degraded.inc()
    return found
