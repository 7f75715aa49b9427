"""A language model that answers the four quality questions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

from instructrec.instructions.audit.prompts import QUESTIONS, questions, version, wording
from instructrec.instructions.audit.samples import Sample
from instructrec.instructions.teachers.base import Answer, Completions, Message, Prompt
from instructrec.protocols import SILENT, Progress

MAX_TOKENS = 120
LONGEST = 6_000
"""Characters of a history or review that are shown."""
_MARKS = re.compile(r"</?\s*data\s*>", re.IGNORECASE)
_OBJECT = re.compile(r"\{[^{}]*\}")
_VALUES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class Kept(Protocol):
    """Answers that were paid for (see `instructrec.instructions.teachers.cache`)."""

    def get(self, asked: Sequence[Any]) -> dict[str, Answer]:
        """Those that are here, by key."""
        ...

    def put(self, answered: Sequence[tuple[Any, Answer]]) -> list[Answer]:
        """Keep some; what is kept, in order."""
        ...


def prompt_of(one: Sample) -> Prompt:
    """What the judge is asked about one text; a shop's words stand between marks, as data."""
    asked = "\n".join(f"- {name}: {text}" for name, text in questions(one.kind).items())
    values = {
        "own": _data(one.own)[:LONGEST],
        "target": _data(one.about),
        "text": _data(one.text),
        "questions": asked,
        "form": _form(),
    }
    user = wording("prompts", one.kind, **values)
    return Prompt((Message("system", wording("system")), Message("user", user)), MAX_TOKENS)


def _data(text: str) -> str:
    return _MARKS.sub(" ", text)


def _form() -> str:
    return json.dumps(dict.fromkeys(QUESTIONS, "..."))


def read_answers(text: str) -> dict[str, bool] | None:
    """Yes or no to each question, from the first JSON object that answers all; none without."""
    for found in _OBJECT.findall(text[:4000]):
        try:
            value = json.loads(found)
        except ValueError:
            continue
        told = {name: _VALUES.get(str(value.get(name)).strip().casefold()) for name in QUESTIONS}
        if None not in told.values():
            return {name: bool(answer) for name, answer in told.items()}
    return None


def judge(
    samples: Sequence[Sample],
    model: Completions,
    cache: Kept | None = None,
    progress: Progress = SILENT,
) -> list[dict[str, bool] | None]:
    """Ask a model about every sample; an answer that is not the object is asked for once more.

    Args:
        samples: What is judged.
        model: Who judges.
        cache: Where answers are kept, so that none is paid for twice.
        progress: Told how far it is.

    Returns:
        The answers of each sample; none where the model gave none that can be read.
    """
    prompts = [prompt_of(one) for one in samples]
    found: list[dict[str, bool] | None] = [None] * len(samples)
    waiting = list(range(len(samples)))
    for _ in range(2):
        asked = [prompts[at] for at in waiting]
        answers = _answers(asked, model, cache)
        for number, answer in progress.track(answers, f"asking {model.name}", len(asked)):
            at = waiting[number]
            found[at] = read_answers(answer.text)
            turns = (
                *prompts[at].messages,
                Message("assistant", answer.text[:1000] or "{}"),
                Message("user", wording("again", form=_form())),
            )
            prompts[at] = Prompt(turns, MAX_TOKENS)
        waiting = [at for at in waiting if found[at] is None]
    return found


def _answers(prompts: Sequence[Prompt], model: Completions, cache: Kept | None) -> Any:
    """Each prompt's number with its answer: those that are kept first."""
    if cache is None:
        yield from model.complete(prompts)
        return
    from instructrec.instructions.teachers.cache import Asked

    asked = [Asked(model.name, version(), model.parameters, prompt) for prompt in prompts]
    kept = cache.get(asked)
    missing = [at for at, one in enumerate(asked) if one.key not in kept]
    for at, one in enumerate(asked):
        if one.key in kept:
            yield at, kept[one.key]
    for number, answer in model.complete([prompts[at] for at in missing]):
        at = missing[number]
        yield at, answer if answer.error else cache.put([(asked[at], answer)])[0]
