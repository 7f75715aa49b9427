"""What goes wrong, as RFC 9457 problem details: no path, no stack, nothing of what was sent."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from instructrec.errors import InstructRecError, UsageError
from instructrec.serving.batching import BusyError
from instructrec.serving.store import StoreError

_log = logging.getLogger("instructrec.serving")
_MOST = 20
"""Faults of one request that are listed."""
_TITLES = {
    400: "The request cannot be read",
    401: "A key is required",
    403: "This key does not open this",
    404: "There is no such thing",
    405: "This is not done here",
    408: "The request came too slowly",
    410: "This user was erased",
    413: "The request is too large",
    415: "The request is of another kind",
    421: "This host is not served here",
    422: "The request is wrong",
    500: "Something failed here",
    503: "Too much to do",
}


def problem(
    status: int,
    request_id: str,
    detail: str = "",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """An answer of the type application/problem+json."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, "The request failed"),
        "status": status,
        "request_id": request_id,
        **more,
    }
    if detail:
        body["detail"] = detail
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


async def _wrong(request: Request, error: Exception) -> JSONResponse:
    """What the request's model refuses: where and why, never the value itself."""
    assert isinstance(error, RequestValidationError)
    faults = [
        {"where": ".".join(str(part) for part in one["loc"]), "what": one["msg"]}
        for one in error.errors()[:_MOST]
    ]
    unreadable = any(one["type"] == "json_invalid" for one in error.errors())
    return problem(400 if unreadable else 422, _id(request), faults=faults)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    # What Starlette itself says is the status in words, which the title says already.
    detail = str(error.detail)
    said = "" if detail == HTTPStatus(error.status_code).phrase else detail
    return problem(error.status_code, _id(request), said, headers)


async def _told(request: Request, error: Exception) -> JSONResponse:
    """Errors of ours: a wrong request is explained; of what failed here nothing leaves."""
    assert isinstance(error, InstructRecError)
    if isinstance(error, BusyError):
        wait = {"Retry-After": str(error.retry_after)}
        return problem(503, _id(request), error.what, wait)
    if isinstance(error, UsageError):
        return problem(422, _id(request), error.what, cure=error.cure)
    _log.error("request %s: %s", _id(request), error)
    status = 503 if isinstance(error, StoreError) else 500
    return problem(status, _id(request), headers={"Retry-After": "5"} if status == 503 else None)


def install(app: FastAPI) -> None:
    """Let an application answer errors as problem details; `edge` answers what is unexpected."""
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(InstructRecError, _told)
