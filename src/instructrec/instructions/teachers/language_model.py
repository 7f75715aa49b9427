"""A teacher that asks a language model, keeps what it paid for, and checks what comes back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from instructrec.errors import ModelError
from instructrec.instructions.teachers.base import (
    Answer,
    Ask,
    Completions,
    Prompt,
    Teacher,
    Written,
)
from instructrec.instructions.teachers.budget import Budget
from instructrec.instructions.teachers.cache import AnswerCache, Asked
from instructrec.instructions.teachers.prompting import Job, PromptBook
from instructrec.instructions.teachers.rules import RulesTeacher
from instructrec.protocols import SILENT, Progress

ASKED_AGAIN = 2
"""How often a wrong answer is asked again, with its faults named."""
REFUSED = "refused"
"""The fault of a request that got no answer at all."""
_TOLD_EVERY = 15.0
"""Seconds between two lines of progress."""


@runtime_checkable
class InBatches(Protocol):
    """Completions that can hand out answers several at a time, so that one write keeps them."""

    def complete_in_batches(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, Answer]]]:
        """As `Completions.complete`, with all that came in since the last time."""
        ...


@dataclass
class _Chain:
    """One job on its way: what was asked, what came, and what of it can be used."""

    job: Job
    prompt: Prompt
    texts: list[str | None]
    faults: list[str]
    keys: list[str] = field(default_factory=list)

    def take(self, book: PromptBook, answer: Answer) -> bool:
        """Read an answer; whether every ask has its text now. What was good before stays."""
        for at, reading in enumerate(book.read(self.job, answer.text)):
            if self.texts[at] is None:
                self.faults[at] = reading.fault
                self.texts[at] = None if reading.fault else reading.text
        if not any(self.faults):
            return True
        self.prompt = book.again(self.job, answer.text, self.faults)
        return False


class LanguageModelTeacher:
    """Asks a model for every text that it should write; rules write what it could not.

    Asks that one request can answer are sent as one. Every answer is looked up in the cache
    first, and kept there before it is read. A wrong answer is asked again with its faults named,
    at most `ASKED_AGAIN` times; then the failure is recorded and the fallback writes the text,
    marked as such. What comes out depends on the answers alone, never on when they came.

    Args:
        completions: Who answers.
        book: How is asked and how answers are read.
        cache: Of answers.
        fallback: Who writes where no answer can be used, and what no model is asked for.
        budget: What may be spent; no limit when left out.
        progress: Told how far it is, how fast, and what it cost so far.

    Source: docs/paper.md §2; the paper's §3.2 has GPT-3.5 in this place.
    """

    in_workers = False
    writes_queries = True

    def __init__(
        self,
        completions: Completions,
        book: PromptBook,
        cache: AnswerCache,
        fallback: Teacher | None = None,
        *,
        budget: Budget | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.completions, self.book, self.cache = completions, book, cache
        self.fallback = fallback or RulesTeacher()
        self.budget = budget or Budget()
        self.progress = progress
        self.name = completions.name
        self.language = book.language
        self.expected: int | None = None
        """Requests that are to be sent in all, where that was reckoned before."""
        self.failed: Counter[str] = Counter()
        """Texts that the fallback wrote, by what was wrong with the model's."""
        self.found = 0
        """Answers that were in the cache."""
        self._meter = _Meter(self)

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """One answer an ask, in order (see `Teacher`).

        Raises:
            ModelError: The model cannot be reached; what it answered is kept.
            BudgetError: The budget has no room for another request; likewise.
            FolderError: The cache cannot be read or written; likewise.
        """
        chains = [self._chain(job) for job in self.book.group(asks)]
        waiting = chains
        for _ in range(1 + ASKED_AGAIN):
            waiting = self._asked(waiting)
        texts: dict[int, str] = {}
        self._record(chains)
        for chain in chains:
            places = zip(chain.job.places, chain.texts, strict=True)
            texts |= {place: text for place, text in places if text is not None}
        left = [place for place in range(len(asks)) if place not in texts]
        written = dict(zip(left, self.fallback.write([asks[place] for place in left]), strict=True))
        return [
            Written(texts[place], self.name) if place in texts else written[place]
            for place in range(len(asks))
        ]

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides its texts beside its name, as a corpus records it; nothing else."""
        return deciding(self.completions, self.book)

    def asked(self, prompt: Prompt) -> Asked:
        """What decides the answer to a prompt."""
        return Asked(self.name, self.book.version, self.completions.parameters, prompt)

    def told(self) -> str:
        """What this teacher did, in one line for people."""
        parts = [f"{self.budget.answers:,} answers paid for ({self.budget.told()})"]
        parts.append(f"{self.found:,} from the cache {self.cache.path}")
        retried = getattr(self.completions, "retried", None)
        if retried:
            parts.append(f"{retried.total():,} requests sent again ({_counts(retried)})")
        if self.failed:
            parts.append(f"{self.failed.total():,} texts left to rules ({_counts(self.failed)})")
        return f"{self.name}: {'; '.join(parts)}"

    def _chain(self, job: Job) -> _Chain:
        size = len(job.asks)
        return _Chain(job, self.book.prompt(job), [None] * size, [REFUSED] * size)

    def _asked(self, chains: list[_Chain]) -> list[_Chain]:
        """One round; the chains that are to be asked again."""
        answers = self._answers([chain.prompt for chain in chains])
        again = []
        for chain, answer in zip(chains, answers, strict=True):
            if not answer.error:
                chain.keys.append(self.asked(chain.prompt).key)
                if not chain.take(self.book, answer):
                    again.append(chain)
        return again

    def _answers(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """One answer a prompt, in order: from the cache, or sent for, each request once."""
        asked = [self.asked(prompt) for prompt in prompts]
        keys = [one.key for one in asked]
        known = self.cache.get(asked)
        self.found += len(known)
        missing = {key: one for key, one in zip(keys, asked, strict=True) if key not in known}
        kept = bool(known)
        for one, answer in self._sent(list(missing.values())):
            kept = kept or not answer.error
            known[one.key] = answer
        if missing and not kept and not self.budget.answers:
            error = next(iter(known.values())).error
            raise ModelError(
                f"{self.name} answers no request: {error}", "Check the model and the parameters"
            )
        return [known[key] for key in keys]

    def _sent(self, asked: list[Asked]) -> Iterator[tuple[Asked, Answer]]:
        """Send what the budget has room for until all is answered or there is no more room."""
        while asked:
            room = self.budget.room(one.prompt for one in asked)
            if not room:
                raise self.budget.spent_error(self.cache.path)
            now, asked = asked[:room], asked[room:]
            title = f"asking {self.name}"
            for pair in self.progress.track(self._kept(now), title, total=len(now)):
                yield pair
                self._meter.tell()

    def _kept(self, asked: list[Asked]) -> Iterator[tuple[Asked, Answer]]:
        """Answers as they come, each in the cache before it is handed on."""
        for batch in in_batches(self.completions, [one.prompt for one in asked]):
            answered = [(asked[at], answer) for at, answer in batch if not answer.error]
            for _, answer in answered:
                self.budget.add(answer.prompt_tokens, answer.completion_tokens)
            kept = self.cache.put(answered)
            yield from zip((one for one, _ in answered), kept, strict=True)
            yield from ((asked[at], answer) for at, answer in batch if answer.error)

    def _record(self, chains: Sequence[_Chain]) -> None:
        failed = []
        for chain in chains:
            if faults := [fault for fault in chain.faults if fault]:
                self.failed.update(faults)
                failed.append((self.asked(self.book.prompt(chain.job)), faults, chain.keys))
        if failed:
            self.cache.fail(failed)


def in_batches(
    completions: Completions, prompts: Sequence[Prompt]
) -> Iterator[list[tuple[int, Answer]]]:
    """Answers as they come: all there are at a time, where they come faster than they are kept."""
    if isinstance(completions, InBatches):
        return completions.complete_in_batches(prompts)
    return ([one] for one in completions.complete(prompts))


class _Meter:
    """Says now and then how fast it goes, what it cost and how long it will take."""

    def __init__(self, teacher: LanguageModelTeacher) -> None:
        self._teacher = teacher
        self._start = self._told = time.monotonic()
        self._began = False
        self._every = _TOLD_EVERY

    def tell(self) -> None:
        """Say it, if the last time is long enough ago."""
        now = time.monotonic()
        if not self._began:
            self._began, self._start, self._told = True, now, now
        if now - self._told < self._every:
            return
        self._told = now
        budget, expected = self._teacher.budget, self._teacher.expected
        rate = budget.answers / max(now - self._start, 1e-3)
        of = f" of about {expected:,}" if expected else ""
        line = f"{budget.answers:,}{of} answers, {rate:.1f}/s, {budget.told()}"
        if expected and rate:
            line += f", about {_duration(max(expected - budget.answers, 0) / rate)} left"
        self._teacher.progress.note(f"{self._teacher.name}: {line}")


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def deciding(completions: Completions, book: PromptBook) -> dict[str, Any]:
    """What decides the texts of a language model beside its name."""
    return {
        "prompts": book.version,
        "language": book.language,
        "max_words": dict(book.limits),
        "model": dict(completions.parameters),
    }
