"""How a language model is asked for annotations, and how its answers are read (paper §3.2)."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

import jinja2

from instructrec.errors import DataError, UsageError
from instructrec.instructions.annotations import SPECIFIC_VIEW
from instructrec.instructions.teachers._answers import Reading, Rules, field_values
from instructrec.instructions.teachers._prompt_files import Wordings, filled, read_wordings
from instructrec.instructions.teachers.base import Ask, ItemFacts, Message, Prompt

__all__ = ["LANGUAGES", "Job", "PromptBook", "Reading"]

LANGUAGES = ("en", "zh")
LONGEST_HISTORY = 20
"""Items of a history that are told, the latest ones (docs/paper.md §2)."""
LONGEST_REVIEW = 2_000
"""Reviews of so many characters or more are not asked about (docs/paper.md §2)."""
MAX_TOKENS = 512
_LONGEST_ECHO = 2_000
"""Characters of a wrong answer that are shown to the model again."""
_LONGEST_VALUE = 300
"""Characters of a title, a label or a brand that are told."""

_TAG = re.compile(r"<[^<>]{0,200}>")


@dataclass(frozen=True)
class Job:
    """Asks that one request answers.

    Attributes:
        kind: ``preference``, ``intention`` or ``query``.
        asks: Of the same user, split and history; or of the same review; or one query. No view
            twice.
        places: Where each stands among the asks that were grouped.
    """

    kind: str
    asks: tuple[Ask, ...]
    places: tuple[int, ...]


class PromptBook:
    """The prompts of one language, and what their answers must be like.

    Args:
        wordings: As a file has them.
        max_words: Words a text may have at most (Chinese: characters), instead of the file's.

    Attributes:
        language: Of the texts.
        limits: Words or characters a text may have at most, by kind of job.

    Example:
        >>> book = PromptBook.load("en")
        >>> item = ItemFacts("Night Drive", ("Music", "Soul"))
        >>> views = ("what_i_want", "what_it_is_like")
        >>> asks = [Ask("intention", view, "u", "i", item=item, review="Warm!") for view in views]
        >>> (job,) = book.group(asks)
        >>> [reading.fault for reading in book.read(job, '{"what_i_want": "I want Night Drive."}')]
        ['title', 'structure']

    Source: docs/paper.md §2; the wording is ours.
    """

    def __init__(self, wordings: Wordings, max_words: int | None = None) -> None:
        self._wordings = wordings
        self.limits = wordings.longest.limits(max_words)
        self._rules = Rules(wordings, self.limits)
        self.language = wordings.language

    @classmethod
    def load(cls, name: str | Path, *, max_words: int | None = None) -> PromptBook:
        """The prompts of a language that ships (``en``, ``zh``), or of a file of your own.

        Args:
            name: A language or the path of a YAML file with the keys of ``prompts/en.yaml``.
            max_words: Words a text may have at most, where characters count: characters.

        Raises:
            UsageError: There is neither such a language nor such a file.
            DataError: The file cannot be read, or lacks or misnames a key or a slot.
        """
        if str(name) in LANGUAGES:
            return cls(_packaged(str(name)), max_words)
        path = Path(name)
        if not path.is_file():
            raise UsageError(
                f"there are no prompts {str(name)!r}",
                f"Use one of {', '.join(LANGUAGES)}, or the path of a YAML file",
            )
        return cls(_read(path.read_bytes(), str(path)), max_words)

    @cached_property
    def version(self) -> str:
        """Language and version, such as ``en-1``."""
        return f"{self.language}-{self._wordings.version}"

    def asks_model(self, ask: Ask) -> bool:
        """Whether a model is asked at all.

        It is not for specific intentions (labels and limits are joined, not written), where there
        is nothing to tell from, and for reviews of `LONGEST_REVIEW` characters or more.
        """
        if ask.view not in self._wordings.fields or ask.view == SPECIFIC_VIEW:
            return False
        if ask.kind == "preference":
            return bool(ask.history)
        if ask.view == "query":
            return ask.item is not None and bool(self._facts(ask.item))
        return 0 < len(_review_of(ask)) < LONGEST_REVIEW

    def group(self, asks: Sequence[Ask]) -> list[Job]:
        """Asks that go into one request; those that no model is asked are left out.

        Returns:
            Jobs in order of their first ask; at most three preferences or two intentions each.
        """
        jobs: dict[tuple[object, ...], list[int]] = {}
        had: Counter[tuple[object, ...]] = Counter()
        for place, ask in enumerate(asks):
            if self.asks_model(ask):
                key = _key(ask)
                turn = had[key, ask.view]
                had[key, ask.view] += 1
                jobs.setdefault((key, turn), []).append(place)
        return [
            Job(_kind(asks[places[0]]), tuple(asks[at] for at in places), tuple(places))
            for places in jobs.values()
        ]

    def prompt(self, job: Job) -> Prompt:
        """What is asked; texts of the shop stand between marks as data that is never obeyed."""
        first = job.asks[0]
        values = self._values(job)
        if job.kind == "preference":
            items = [self._item(item) for item in first.history[-LONGEST_HISTORY:]]
            values["history"] = "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1))
        elif job.kind == "query":
            values["facts"] = self._facts(first.item or ItemFacts(""))
        else:
            item = self._item(first.item or ItemFacts(""))
            values |= {"item": item, "review": _review_of(first)}
        text = filled(getattr(self._wordings.prompts, job.kind), values)
        messages = (Message("system", self._wordings.system), Message("user", text))
        return Prompt(messages, MAX_TOKENS)

    def again(self, job: Job, answer: str, faults: Sequence[str]) -> Prompt:
        """The same question with the answer it got and what is wrong with that.

        Args:
            job: What was asked.
            answer: What came back.
            faults: Of each ask of the job, as `read` tells them; ``""`` where there is none.
        """
        values = self._values(job)
        told = [
            f"- {ask.view}: {filled(self._wordings.faults[fault], {'limit': values['limit']})}"
            for ask, fault in zip(job.asks, faults, strict=True)
            if fault
        ]
        text = filled(self._wordings.again, {"faults": "\n".join(told), "form": values["form"]})
        first = self.prompt(job)
        shown = Message("assistant", answer[:_LONGEST_ECHO].strip() or "{}")
        return replace(first, messages=(*first.messages, shown, Message("user", text)))

    def read(self, job: Job, answer: str) -> list[Reading]:
        """The texts of an answer, one an ask of the job, in order, each with its fault if any.

        Never raises, whatever the answer is.
        """
        values = field_values(answer, [ask.view for ask in job.asks])
        if values is None:
            fault = "refusal" if self._rules.refuses(answer) else "structure"
            return [Reading("", fault) for _ in job.asks]
        return [self._rules.reading(ask, values.get(ask.view)) for ask in job.asks]

    def _values(self, job: Job) -> dict[str, str]:
        views = [ask.view for ask in job.asks]
        told = [self._wordings.fields[view] for view in views]
        named = [f"- {view}: {text}" for view, text in zip(views, told, strict=True)]
        fields = told if job.kind == "query" else named
        form = json.dumps(dict.fromkeys(views, "..."))
        limit = str(self.limits[job.kind])
        return {"fields": "\n".join(fields), "form": form, "limit": limit}

    def _item(self, item: ItemFacts) -> str:
        values = {
            "title": _value(item.title),
            "labels": _labels(item),
            "rating": f"{item.rating:g}" if item.rating is not None else "",
        }
        return filled(self._wordings.item, values)

    def _facts(self, item: ItemFacts) -> str:
        values = {
            "labels": _joined(item.categories),
            "brand": _value(item.brand),
            "attributes": _joined(f"{name}: {value}" for name, value in item.attributes),
            "price": f"{item.price:g}" if item.price is not None else "",
        }
        return filled(self._wordings.facts, values)


@lru_cache(maxsize=len(LANGUAGES))
def _packaged(language: str) -> Wordings:
    source = files("instructrec.instructions") / "prompts" / f"{language}.yaml"
    return _read(source.read_bytes(), f"{language}.yaml")


def _read(content: bytes, name: str) -> Wordings:
    try:
        return read_wordings(content)
    except (ValueError, jinja2.TemplateError) as error:
        told = " ".join(str(error).split())
        raise DataError(f"the prompts of {name}: {told}", "Mend the file") from None


def _kind(ask: Ask) -> str:
    return "query" if ask.view == "query" else ask.kind


def _key(ask: Ask) -> tuple[object, ...]:
    if ask.kind == "preference":
        return ("preference", ask.user_id, ask.split, ask.history)
    if ask.view == "query":
        return ("query", ask.item_id, ask.item)
    return ("intention", ask.user_id, ask.item_id, ask.item, ask.review)


def _review_of(ask: Ask) -> str:
    return bare(ask.review or (ask.item.review if ask.item else ""))


def bare(text: str) -> str:
    """A text of the shop as it may stand in a prompt: no mark-up, no angle brackets, one line."""
    unescaped = html.unescape(text)
    return " ".join(_TAG.sub(" ", unescaped).replace("<", " ").replace(">", " ").split())


def _value(text: str) -> str:
    return bare(text)[:_LONGEST_VALUE]


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value for text in texts if (value := _value(text))))


def _labels(item: ItemFacts) -> str:
    return _joined((*item.categories, *(value for _, value in item.attributes)))
