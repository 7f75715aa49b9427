"""What a reply over HTTP means: an answer, a reason to try again, a refusal, or the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from instructrec.instructions.teachers._pace import retry_after
from instructrec.instructions.teachers.base import Answer

_KEY = "Set OPENAI_API_KEY or INSTRUCTREC_API_KEY to a key that may use this model"
_MOVED = "Give --base-url as the server itself has it, without a redirect"
_CURES = {
    401: _KEY,
    402: "Pay for more at the provider, then run the same command again to go on",
    403: _KEY,
    301: _MOVED,
    302: _MOVED,
    307: _MOVED,
    308: _MOVED,
    404: "Check the model's name and --base-url, which usually ends in /v1",
}
_AGAIN = {408, 409, 425, 429}
_SPENT = ("insufficient_quota", "billing_hard_limit", "exceeded your current quota")
_MOST_TOKENS = 2**40
"""What a server says it counted from here on is not believed."""
LONGEST_PAUSE = 900.0
"""Seconds of Retry-After that are waited; a server that asks for more ends the run."""


@dataclass(frozen=True)
class Again:
    """The same request is worth sending again, after so many seconds if the server says so."""

    why: str
    after: float | None = None


@dataclass(frozen=True)
class Refused:
    """This one request will not be answered, however often it is sent."""

    why: str


@dataclass(frozen=True)
class Stop:
    """No request will be answered until somebody mends something."""

    what: str
    cure: str


Reply = Answer | Again | Refused | Stop


def read_answer(body: str) -> Reply:
    """What the body of a reply with status 200 holds."""
    if not body.strip():
        return Again("an empty body")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return Again("a body that is not whole JSON")
    if not isinstance(content, dict):
        return Again("a body that is no object")
    if isinstance(found := content.get("error"), dict):
        # Some gateways tell of the trouble behind them with status 200.
        code = found.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        return read_error(status, {}, body)
    try:
        message = content["choices"][0]["message"]
        text = _whole(_text_of(message.get("content")))
    except (KeyError, IndexError, TypeError, AttributeError):
        return Again("a body without an answer")
    usage = content.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def read_error(status: int, headers: Mapping[str, str], body: str, answered: bool = False) -> Reply:
    """What a reply with another status means.

    Args:
        status: HTTP status.
        headers: Looked up in lower case.
        body: As it came, without any key.
        answered: Whether this server has answered before, so that the key must be good.
    """
    said = _said(body)
    name = f"{status} {_phrase(status)}".strip()
    told = f"{name}: {said}" if said else name
    if status == HTTPStatus.TOO_MANY_REQUESTS and any(word in body for word in _SPENT):
        return Stop(told, _CURES[402])
    if status in _AGAIN or status >= 500:
        after = retry_after(headers.get("retry-after"))
        if after is not None and after > LONGEST_PAUSE:
            return Stop(f"{told} (asks to wait {after:.0f} s)", "Run the same command then")
        return Again(name, after)
    # Gateways answer 403 to a prompt that their moderation flags, too.
    if status in _CURES and not (status == HTTPStatus.FORBIDDEN and answered):
        return Stop(told, _CURES[status])
    return Refused(told)


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _whole(text: str) -> str:
    """With a replacement character for each half of a character, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and 0 < value < _MOST_TOKENS else 0


def _said(body: str) -> str:
    """The server's own words, in one line of bearable length."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = body
    for name in ("error", "detail", "message"):
        if isinstance(content, dict) and name in content:
            content = content[name]
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= 300 else line[:299] + "…"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return {529: "Overloaded"}.get(status, "")
