"""Types of fields that several routes have: bounded, and fit for every database."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def _clean(text: str) -> str:
    """A text without control characters other than white space.

    Raises:
        ValueError: It has some, or half a character.
    """
    if any(ord(letter) < 32 and letter not in "\t\n\r" for letter in text):
        raise ValueError("control characters are not allowed")
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        raise ValueError("half a character is not allowed")
    return text


Id = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strict=True), AfterValidator(_clean)
]
Title = Annotated[
    str, StringConstraints(min_length=1, max_length=500, strict=True), AfterValidator(_clean)
]
Words = Annotated[str, StringConstraints(max_length=2000, strict=True), AfterValidator(_clean)]
Document = Annotated[str, StringConstraints(max_length=20_000, strict=True), AfterValidator(_clean)]
History = Annotated[list[Title], Field(max_length=1000)]


class Strict(BaseModel):
    """A body whose unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def example(value: dict[str, Any], *, extra: str = "forbid") -> ConfigDict:
    """The configuration of a body with an example."""
    return ConfigDict(extra=extra, json_schema_extra={"examples": [value]})  # type: ignore[typeddict-item]


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    request_id: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "Not JSON"),
        (401, "A key is required"),
        (413, "Too large"),
        (422, "Wrong in itself"),
        (503, "Too much to do; see Retry-After"),
    )
}
