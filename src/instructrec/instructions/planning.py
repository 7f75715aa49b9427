"""What a corpus will cost before anything is sent: requests, tokens and money."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructrec.data.dataset import Dataset
from instructrec.instructions.annotate import batches
from instructrec.instructions.partitions import asks_of_partition, cut
from instructrec.instructions.rows import CorpusConfig
from instructrec.instructions.teachers.base import Ask, Teacher
from instructrec.instructions.teachers.budget import FREE, Price, prompt_tokens
from instructrec.instructions.teachers.language_model import LanguageModelTeacher
from instructrec.instructions.teachers.openai import OpenAICompletions
from instructrec.protocols import SILENT, Progress

KINDS = ("preference", "intention", "query")
TEXT_TOKENS = {"preference": 42, "intention": 38, "query": 16}
"""About what one text of a kind takes in an answer, its field's name included: 28, 25 and 7
English words at 1.35 tokens, and some four for the name."""
OBJECT_TOKENS = 5
"""What the object around them takes."""
ENOUGH = 20
"""From so many cached answers on, what they took replaces the estimates."""


@dataclass
class Line:
    """Requests of one kind; tokens are those of what is still to be sent.

    Attributes:
        kind: One of `KINDS`.
        requests: In all.
        texts: That they are for.
        cached: Requests that are answered already and cost nothing.
        prompt_tokens: Estimated.
        completion_tokens: Estimated.
    """

    kind: str
    requests: int = 0
    texts: int = 0
    cached: int = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0


@dataclass(frozen=True)
class Plan:
    """What a teacher will be sent.

    Attributes:
        teacher: Its name.
        lines: By kind.
        price: None where it is unknown.
        measured: How many cached answers the estimates were set right by; 0 for none.
        cache: The file that holds answers; none where no model is asked.
    """

    teacher: str
    lines: tuple[Line, ...]
    price: Price | None
    measured: int = 0
    cache: Path | None = None

    @property
    def to_send(self) -> int:
        """Requests that are not answered yet."""
        return sum(line.requests - line.cached for line in self.lines)

    @property
    def prompt_tokens(self) -> int:
        """To be sent."""
        return round(sum(line.prompt_tokens for line in self.lines))

    @property
    def completion_tokens(self) -> int:
        """To be expected."""
        return round(sum(line.completion_tokens for line in self.lines))

    @property
    def usd(self) -> float | None:
        """To be expected; none where the price is unknown."""
        if self.price is None:
            return None
        return self.price.cost(self.prompt_tokens, self.completion_tokens)

    def told(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        sums = ("requests", "texts", "cached")
        return {
            "teacher": self.teacher,
            "kinds": [vars(line) for line in self.lines],
            **{name: sum(getattr(line, name) for line in self.lines) for name in sums},
            "to_send": self.to_send,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "usd": self.usd,
            "cache": None if self.cache is None else str(self.cache),
            "estimates_set_right_by": self.measured,
        }


def plan_corpus(
    dataset: Dataset, teacher: Teacher | None, config: CorpusConfig, progress: Progress = SILENT
) -> Plan:
    """Reckon what a teacher will be sent for a corpus; sends nothing.

    Tokens are estimated (`budget.tokens_of`, `TEXT_TOKENS`). Where the cache holds `ENOUGH`
    answers to these very requests, estimates are set right by what those took. Wrong answers that
    are asked again come on top.

    Args:
        dataset: A complete dataset.
        teacher: One that is no language model is sent nothing.
        config: As the corpus will be built with.
        progress: Told how far it is.
    """
    if not isinstance(teacher, LanguageModelTeacher):
        return Plan(teacher.name if teacher else "", (), FREE)
    dataset.check_protocol(config.protocol)
    counts = _Counts(teacher)
    parts = [part for part in cut(dataset, config.part) if part.table != "queries"]
    for part in progress.track(parts, "reckoning requests, in partitions"):
        counts.add(asks_of_partition(dataset, part, config, teacher))
    return counts.plan()


@contextlib.contextmanager
def asking_knowingly(
    dataset: Dataset, teacher: Teacher | None, config: CorpusConfig, progress: Progress = SILENT
) -> Iterator[None]:
    """Say what a language model will be sent before it is, and what it was sent afterwards.

    Args:
        dataset: See `plan_corpus`.
        teacher: See `plan_corpus`.
        config: See `plan_corpus`.
        progress: Told of both.

    Raises:
        UsageError: There is no key where one is needed.
    """
    if not isinstance(teacher, LanguageModelTeacher):
        yield
        return
    if isinstance(teacher.completions, OpenAICompletions):
        teacher.completions.check()
    plan = plan_corpus(dataset, teacher, config, progress)
    teacher.expected = plan.to_send
    tokens = f"{plan.prompt_tokens:,} tokens in, {plan.completion_tokens:,} out"
    cost = "at an unknown price" if plan.usd is None else f"about {plan.usd:,.2f} USD"
    progress.note(f"{plan.teacher}: {plan.to_send:,} requests to be sent, {tokens}, {cost}")
    try:
        yield
    finally:
        progress.note(teacher.told())


class _Counts:
    """Requests counted, and what was estimated and taken by those that are answered."""

    def __init__(self, teacher: LanguageModelTeacher) -> None:
        self.teacher = teacher
        self.lines = {kind: Line(kind) for kind in KINDS}
        self.estimated, self.took, self.measured = [0.0, 0.0], [0.0, 0.0], 0

    def add(self, asks: Iterable[Sequence[Ask]]) -> None:
        """Count the requests for some asks."""
        for batch in batches(asks):
            jobs = self.teacher.book.group(batch)
            prompts = [self.teacher.book.prompt(job) for job in jobs]
            asked = [self.teacher.asked(prompt) for prompt in prompts]
            known = self.teacher.cache.get(asked)
            for job, prompt, one in zip(jobs, prompts, asked, strict=True):
                line = self.lines[job.kind]
                line.requests += 1
                line.texts += len(job.asks)
                about = prompt_tokens(prompt), OBJECT_TOKENS + TEXT_TOKENS[job.kind] * len(job.asks)
                if answer := known.get(one.key):
                    line.cached += 1
                    self.measured += 1
                    for at, took in enumerate((answer.prompt_tokens, answer.completion_tokens)):
                        self.estimated[at] += about[at]
                        self.took[at] += took
                else:
                    line.prompt_tokens += about[0]
                    line.completion_tokens += about[1]

    def plan(self) -> Plan:
        """What came of it."""
        enough = self.measured >= ENOUGH and math.prod(self.took) > 0
        if enough:
            asks, says = (
                took / about for took, about in zip(self.took, self.estimated, strict=True)
            )
            for line in self.lines.values():
                line.prompt_tokens *= asks
                line.completion_tokens *= says
        for line in self.lines.values():
            line.prompt_tokens = round(line.prompt_tokens)
            line.completion_tokens = round(line.completion_tokens)
        price = self.teacher.budget.price
        lines = tuple(line for line in self.lines.values() if line.requests)
        measured = self.measured if enough else 0
        return Plan(self.teacher.name, lines, price, measured, self.teacher.cache.path)
