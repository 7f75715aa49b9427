"""Teachers by one string, and what of their settings decides a corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instructrec.errors import UsageError
from instructrec.instructions.teachers.named import teacher_named, teacher_parameters
from instructrec.instructions.teachers.options import TeacherOptions

HERE = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("spec", ["", "gpt-5", "openai", "openai:", "rules:x", "answers:", "x:y"])
def test_an_unknown_teacher_is_answered_with_the_known_ones(spec: str):
    with pytest.raises(UsageError, match="rules, openai:MODEL, local:PATH, answers:FILE"):
        teacher_named(spec)
    with pytest.raises(UsageError, match="is not a teacher"):
        teacher_parameters(spec)


def test_a_model_over_http_is_made_without_a_key_and_sends_nothing(tmp_path: Path):
    options = TeacherOptions(base_url=HERE, cache=tmp_path, language="zh", max_words=20)
    teacher = teacher_named("openai:org/model:free", options)
    assert teacher.name == "openai:org/model:free"


def test_only_what_decides_the_texts_is_recorded(tmp_path: Path):
    plain = TeacherOptions(base_url=HERE, cache=tmp_path)
    told = teacher_parameters("openai:m", plain)
    same = TeacherOptions(
        base_url="http://127.0.0.1:8/v1",
        cache=tmp_path / "other",
        concurrency=2,
        requests_per_minute=5,
        timeout=7,
        budget="5usd",
    )
    assert teacher_parameters("openai:m", same) == told
    for changed in (
        {"language": "zh"},
        {"max_words": 9},
        {"temperature": 1},
        {"parameters": {"a": 1}},
    ):
        options = TeacherOptions(base_url=HERE, **changed)  # type: ignore[arg-type]
        assert teacher_parameters("openai:m", options) != told
    assert str(tmp_path) not in json.dumps(told)
    assert teacher_parameters("rules") == {}


def test_the_record_is_that_of_the_teacher_itself(tmp_path: Path):
    options = TeacherOptions(base_url=HERE, cache=tmp_path, temperature=0.5)
    teacher = teacher_named("openai:m", options)
    assert teacher.parameters == teacher_parameters("openai:m", options)  # type: ignore[attr-defined]


def test_a_server_on_this_machine_costs_nothing_and_others_need_a_price(tmp_path: Path):
    here = TeacherOptions(base_url=HERE, cache=tmp_path, budget="1usd")
    assert teacher_named("openai:unknown", here).budget.price.output == 0  # type: ignore[attr-defined]
    away = TeacherOptions(base_url="https://example.org/v1", cache=tmp_path, budget="1usd")
    with pytest.raises(UsageError, match="no price is known for unknown"):
        teacher_named("openai:unknown", away)
    assert teacher_named("openai:gpt-5-mini", away).budget.limit == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", [2_000_000, "2M", 2e6])
def test_a_budget_of_a_settings_file_may_be_a_number(given: object, tmp_path: Path):
    options = TeacherOptions(base_url=HERE, cache=tmp_path, budget=given)  # type: ignore[arg-type]
    assert teacher_named("openai:m", options).budget.limit == 2_000_000  # type: ignore[attr-defined]
