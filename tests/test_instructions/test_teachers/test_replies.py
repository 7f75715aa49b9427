"""Whatever a server sends can be kept in the cache, or is a reason to ask again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instructrec.instructions.teachers._replies import Again, Refused, read_answer, read_error
from instructrec.instructions.teachers.base import Answer, Message, Prompt
from instructrec.instructions.teachers.cache import AnswerCache, Asked

ASKED = Asked("openai:x", "en-1", {}, Prompt((Message("user", "Hello"),)))


def _body(text: str, **usage: object) -> str:
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": usage})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("warm \ud83d horns", "warm \ufffd horns"),
        ("a kart \ud83c\udfce", "a kart \U0001f3ce"),
        ("\ufeffa\u0000b", "\ufeffa\u0000b"),
    ],
)
def test_halves_of_characters_do_not_lose_an_answer(tmp_path: Path, text: str, kept: str) -> None:
    answer = read_answer(_body(text))
    assert isinstance(answer, Answer) and answer.text == kept
    cache = AnswerCache(tmp_path)
    cache.put([(ASKED, answer)])
    assert cache.get([ASKED])[ASKED.key].text == kept


@pytest.mark.parametrize("count", [10**20, True, -1, "7", None])
def test_a_count_of_tokens_that_cannot_be_is_as_good_as_none(count: object) -> None:
    answer = read_answer(_body("Hello", prompt_tokens=count, completion_tokens=3))
    assert answer == Answer("Hello", 0, 3)


def test_a_body_nested_without_end_is_no_answer() -> None:
    endless = "[" * 100_000
    assert isinstance(read_answer(endless), Again)
    assert isinstance(read_error(400, {}, endless), Refused)
