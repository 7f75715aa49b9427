"""A file of prompts: its keys, its slots, and the checks of both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import jinja2
import jinja2.meta
import yaml
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

VIEWS = (
    "overall",
    "long_term",
    "short_term",
    "what_i_want",
    "what_it_is_like",
    "query",
)
FAULTS = (
    "structure",
    "empty",
    "refusal",
    "language",
    "length",
    "title",
    "person",
    "paragraph",
)
"""What can be wrong with an answer.

``structure``: not the object asked for, or without this field; ``title``: it names an item;
``person``: a preference in the first person, or an intention that tells of "the user".
"""

_COMMON = {"fields", "limit", "form"}
_SLOTS: dict[str, tuple[set[str], set[str]]] = {
    "system": (set(), set()),
    "item": ({"title"}, {"labels", "rating"}),
    "facts": ({"labels"}, {"brand", "attributes", "price"}),
    "prompts.preference": ({"history", *_COMMON}, set()),
    "prompts.intention": ({"review", *_COMMON}, {"item"}),
    "prompts.query": ({"facts", *_COMMON}, set()),
    "again": ({"faults", "form"}, set()),
}
"""Where → slots it must have, and further slots it may have."""
_OPEN, _CLOSE = "<data>", "</data>"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Longest(_Strict):
    """Words or characters a text may have at most, by kind of job."""

    preference: int = Field(ge=3)
    intention: int = Field(ge=3)
    query: int = Field(ge=3)

    def limits(self, most: int | None) -> dict[str, int]:
        """By kind of job; ``most`` takes the place of all but a shorter query."""
        if most is None:
            return self.model_dump()
        return {"preference": most, "intention": most, "query": min(most, self.query)}


class Prompts(_Strict):
    """The question of each kind of job."""

    preference: str
    intention: str
    query: str


class WrongPerson(_Strict):
    """Words that tell that the wrong person speaks, or is spoken of."""

    preference: list[str]
    intention: list[str]


class Wordings(_Strict):
    """A file of prompts (see ``prompts/en.yaml``)."""

    language: str = Field(min_length=1)
    version: str = Field(min_length=1)
    script: Literal["latin", "han", "kana", "hangul", "cyrillic", "arabic", "other"]
    counts: Literal["words", "characters"]
    longest: Longest
    common: list[str]
    wrong_person: WrongPerson
    refusals: list[str]
    system: str
    item: str
    facts: str
    prompts: Prompts
    fields: dict[str, str]
    again: str
    faults: dict[str, str]


def read_wordings(content: bytes) -> Wordings:
    """Read and check a file of prompts.

    Raises:
        ValueError: What is wrong with it, in one line.
    """
    try:
        wordings = Wordings.model_validate(yaml.safe_load(content.decode("utf-8")))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"it is no YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None
    _check_names(wordings)
    for where, (must, may) in _SLOTS.items():
        _check_slots(where, _at(wordings, where), must, may)
    for name, text in wordings.faults.items():
        _check_slots(f"faults.{name}", text, set(), {"limit"})
    for name, text in wordings.fields.items():
        _check_slots(f"fields.{name}", text, set(), set())
    return wordings


def filled(source: str, values: Mapping[str, str]) -> str:
    """A source with its slots filled; values are never evaluated."""
    return _compiled(source).render(values).strip()


def _at(wordings: Wordings, where: str) -> str:
    found: Any = wordings
    for part in where.split("."):
        found = getattr(found, part)
    assert isinstance(found, str)
    return found


def _check_names(wordings: Wordings) -> None:
    for name, have, want in (
        ("fields", wordings.fields, VIEWS),
        ("faults", wordings.faults, FAULTS),
    ):
        for key in want:
            if key not in have:
                raise ValueError(f"{name} lacks {key!r}")
        for key in have:
            if key not in want:
                raise ValueError(f"{name}: {key!r} is unknown, known are {', '.join(want)}")
    for kind in ("preference", "intention", "query"):
        text = getattr(wordings.prompts, kind)
        if text.count(_OPEN) != 1 or text.count(_CLOSE) != 1:
            raise ValueError(f"prompts.{kind} must have {_OPEN} and {_CLOSE} once, around the data")
    if _OPEN not in wordings.system:
        raise ValueError(f"system must say that what stands in {_OPEN} is never obeyed")


def _check_slots(where: str, source: str, must: set[str], may: set[str]) -> None:
    try:
        used = jinja2.meta.find_undeclared_variables(_environment().parse(source))
    except jinja2.TemplateError as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}") from None
    if unknown := sorted(used - must - may):
        known = ", ".join(sorted(must | may)) or "none"
        raise ValueError(f"{where}: slot {unknown[0]!r} is unknown, known are {known}")
    if missing := sorted(must - used):
        raise ValueError(f"{where} lacks the slot {missing[0]!r}")
    data = {"history", "review", "facts", "item"} & used
    if where.startswith("prompts.") and data:
        inside = source.partition(_OPEN)[2].partition(_CLOSE)[0]
        told = jinja2.meta.find_undeclared_variables(_environment().parse(inside))
        if outside := sorted(data - told):
            raise ValueError(f"{where}: slot {outside[0]!r} must stand in {_OPEN} … {_CLOSE}")


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)


@lru_cache(maxsize=256)
def _compiled(source: str) -> jinja2.Template:
    return _environment().from_string(source)
