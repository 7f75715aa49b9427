"""Teachers by name, as flags and settings call them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from instructrec.errors import UsageError
from instructrec.instructions.teachers.base import Completions, Teacher
from instructrec.instructions.teachers.options import TeacherOptions
from instructrec.protocols import SILENT, Progress

TEACHERS = ("rules", "openai:MODEL", "local:PATH", "answers:FILE")
_RULES = TeacherOptions()


def teacher_named(
    spec: str, options: TeacherOptions = _RULES, progress: Progress = SILENT
) -> Teacher:
    """The teacher of a name; nothing is sent or loaded before it is asked.

    Args:
        spec: One of `TEACHERS`, or ``rules:limits`` (see `RulesTeacher`).
        options: How it is reached and what it may cost.
        progress: Told what a language model costs and how fast it is.

    Raises:
        UsageError: There is none, or an option is wrong.
        FolderError: The cache cannot be used.
    """
    kind, rest = _parts(spec)
    if kind == "rules":
        from instructrec.instructions.teachers.rules import RulesTeacher

        return RulesTeacher(limits=rest == "limits")
    if kind == "answers":
        from instructrec.instructions.teachers.answers import AnswersTeacher

        return AnswersTeacher.load(Path(rest), options.answers_columns)
    return _language_model(kind, rest, options, progress)


def teacher_parameters(spec: str, options: TeacherOptions = _RULES) -> dict[str, Any]:
    """What decides a teacher's texts beside its name, without making the teacher.

    Raises:
        UsageError: There is no such teacher, or an option is wrong.
    """
    kind, rest = _parts(spec)
    if kind == "rules":
        return {}
    if kind == "answers":
        from instructrec.instructions.teachers.answers import answers_parameters, parse_columns

        return answers_parameters(Path(rest), parse_columns(options.answers_columns))
    from instructrec.instructions.teachers.language_model import deciding

    return deciding(_completions(kind, rest, options), _book(options))


def completions_named(spec: str, options: TeacherOptions = _RULES) -> Completions:
    """The language model of a name, to be asked whatever one likes.

    Raises:
        UsageError: There is none of that name, or it is no language model.
    """
    kind, _, rest = spec.partition(":")
    if kind not in {"openai", "local"} or not rest:
        raise UsageError(f"{spec!r} is no language model", "Use openai:MODEL or local:PATH")
    return _completions(kind, rest, options)


def _parts(spec: str) -> tuple[str, str]:
    kind, colon, rest = spec.partition(":")
    with_rest = kind in {"openai", "local", "answers"} and rest and colon
    if spec not in {"rules", "rules:limits"} and not with_rest:
        raise UsageError(f"{spec!r} is not a teacher", f"Use one of {', '.join(TEACHERS)}")
    return kind, rest


def _language_model(kind: str, rest: str, options: TeacherOptions, progress: Progress) -> Teacher:
    from instructrec.instructions.teachers.budget import FREE, Budget, Prices
    from instructrec.instructions.teachers.cache import AnswerCache
    from instructrec.instructions.teachers.language_model import LanguageModelTeacher

    completions = _completions(kind, rest, options)
    free = getattr(completions, "local", True)  # On this machine, served or in memory.
    price = Prices.load(options.prices).of(rest)
    budget = Budget.parse(options.budget, price or (FREE if free else None), rest)
    cache = AnswerCache(options.cache)
    return LanguageModelTeacher(
        completions, _book(options), cache, budget=budget, progress=progress
    )


def _completions(kind: str, rest: str, options: TeacherOptions) -> Completions:
    if kind == "local":
        from instructrec.instructions.teachers.local import LocalCompletions

        return LocalCompletions(rest, temperature=options.temperature or 0.0)
    from instructrec.instructions.teachers.openai import OpenAICompletions

    return OpenAICompletions(
        rest,
        options.base_url,
        concurrency=options.concurrency,
        requests_per_minute=options.requests_per_minute,
        timeout=options.timeout,
        temperature=options.temperature,
        parameters=options.parameters,
    )


def _book(options: TeacherOptions) -> Any:
    from instructrec.instructions.teachers.prompting import PromptBook

    return PromptBook.load(options.prompts or options.language, max_words=options.max_words)
