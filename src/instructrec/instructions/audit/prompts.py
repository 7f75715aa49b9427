"""The four quality questions as data: their words, the judge's prompts, words that say nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

KINDS = ("preference", "intention")
QUESTIONS = ("own", "knowledge", "reflects", "target")
_SLOT = re.compile(r"\{\{ (\w+) \}\}")


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    source = files("instructrec.instructions.audit") / "questions.yaml"
    loaded: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    return loaded


@lru_cache(maxsize=1)
def empty_words() -> frozenset[str]:
    """Words of English that say nothing of any item."""
    return frozenset(_data()["empty"].split())


def version() -> str:
    """Of the judge's prompts; part of what an answer is cached by."""
    return f"judge-{_data()['version']}"


def questions(kind: str) -> dict[str, str]:
    """The four questions about a ``preference`` or an ``intention``, by name."""
    return {name: _data()["questions"][kind][name] for name in QUESTIONS}


def wording(*path: str, **values: str) -> str:
    """A text of the file with its slots filled in one pass, so that no value is read as a slot."""
    found: Any = _data()
    for part in path:
        found = found[part]
    return _SLOT.sub(lambda slot: values[slot[1]], str(found)).strip()
