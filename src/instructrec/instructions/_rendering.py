"""Fills a template with an instruction's values and says where the history's titles stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import jinja2
import jinja2.meta
from jinja2.sandbox import SandboxedEnvironment

from instructrec.errors import UsageError
from instructrec.instructions.schema import Instruction, IntentionKind, Scenario

SLOTS = (
    "history",
    "profile",
    "preference",
    "intention",
    "query",
    "context",
    "candidates",
    "candidate",
    "first",
    "second",
    "item",
    "answer",
)
"""Everything a template may name.

``query`` is the intention where there is one, else the stated preference; ``item`` is the target's
title; ``answer`` is what a judgement calls for (Yes, No, or the title chosen).
"""

_OPEN, _CLOSE = "\ue000", "\ue001"
"""Private-use characters around each history title while it is rendered; values may not hold them,
so that whatever a title says, its place in the text is known."""
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")


@dataclass(frozen=True)
class Template:
    """One task, in one wording or several.

    Attributes:
        id: For example ``A1``.
        scenarios: Which parts of an instruction take part, in the prompt or in the response.
        strategy: ``direct``, ``turned-around``, ``relatedness`` or ``chain-of-thought``.
        asks: What the response is made of: ``item``, ``yes-no``, ``which``, ``preference``,
            ``query``, ``history``, or some of them joined by ``+`` in the order answered.
        prompt: A Jinja2 source: the wording used where a template is named.
        response: A Jinja2 source.
        family: ``A`` recommendation, ``B`` search, ``C`` personalised search (the paper's), ``D``
            comparison, ``E`` scenarios beyond the paper's templates.
        slots: The names that prompt and response use, and each further wording with the response.
        wordings: Further prompts that say the same; training draws among all.
    """

    id: str
    scenarios: tuple[Scenario, ...]
    strategy: str
    asks: str
    prompt: str
    response: str
    family: str
    slots: tuple[str, ...] = ()
    wordings: tuple[str, ...] = ()

    @cached_property
    def versions(self) -> tuple[Template, ...]:
        """This template in each of its wordings, each with that one alone; first its own prompt."""
        first = replace(self, wordings=())
        return (first, *(replace(first, prompt=prompt) for prompt in self.wordings))

    @cached_property
    def needs(self) -> frozenset[tuple[bool, bool, bool]]:
        """(history, stated preference, intention) that an instruction must have, alternatives."""
        singles = [single for scenario in self.scenarios for single in scenario.singles()]
        return frozenset(
            ("P1" in preference, "P2" in preference, intention != "I0")
            for (preference,), (intention,), _ in (single.axes for single in singles)
        )

    def fits(self, instruction: Instruction) -> bool:
        """Whether the instruction has all that one of the template's scenarios calls for."""
        preference = instruction.preference
        has_history, has_text = bool(preference.history), bool(preference.text)
        has_intention = instruction.intention.kind is not IntentionKind.NONE
        return any(
            has_history >= history and has_text >= text and has_intention >= intention
            for history, text, intention in self.needs
        )


@dataclass(frozen=True)
class Rendered:
    """A filled template.

    Attributes:
        text: What the model reads.
        title_spans: Start and end of each title of the history in ``text``, in characters;
            ``text[start:end]`` is the title with its whitespace collapsed.
    """

    text: str
    title_spans: tuple[tuple[int, int], ...] = ()


def render(
    template: Template,
    instruction: Instruction,
    *,
    item: str = "",
    extra: Mapping[str, str] | None = None,
) -> Rendered:
    """Fill a template's prompt.

    Values are data: they are never evaluated, and line breaks in them become spaces.

    Args:
        template: How it is asked.
        instruction: What is asked; what it has beyond the template's slots is left out.
        item: The target's title, which turned-around templates give away.
        extra: Values of further slots, or other values of these (see `SLOTS`).

    Raises:
        UsageError: The instruction lacks what the template needs.

    Source: paper §3.1 and §3.3.
    """
    _check_fit(template, instruction)
    values = _values(instruction, item, extra or {})
    marked = _compiled(template.prompt).render(values)
    if _OPEN not in marked:
        return Rendered(marked)
    text, spans, at = [], [], 0
    for number, part in enumerate(_MARKS.split(marked)):
        if number % 2:
            spans.append((at, at + len(part)))
        text.append(part)
        at += len(part)
    return Rendered("".join(text), tuple(spans))


def render_response(
    template: Template, instruction: Instruction, *, item: str, **values: str
) -> str:
    """Fill a template's response.

    Args:
        template: How it was asked.
        instruction: What was asked.
        item: The target's title.
        values: Further slots, such as ``answer``.

    Raises:
        UsageError: The instruction lacks what the template needs.
    """
    _check_fit(template, instruction)
    marked = _compiled(template.response).render(_values(instruction, item, values))
    return _MARKS.sub("", marked)


def clean(value: str) -> str:
    """A value on one line: whitespace collapsed, the marks around titles removed."""
    if _OPEN in value or _CLOSE in value:
        value = _MARKS.sub("", value)
    return " ".join(value.split())


def used_slots(source: str) -> set[str]:
    """The names a Jinja2 source uses.

    Raises:
        jinja2.TemplateSyntaxError: It is no Jinja2.
    """
    return jinja2.meta.find_undeclared_variables(_environment().parse(source))


def _check_fit(template: Template, instruction: Instruction) -> None:
    if not template.fits(instruction):
        wanted = "; ".join(str(scenario) for scenario in template.scenarios)
        raise UsageError(
            f"template {template.id} asks {wanted}, the instruction is {instruction.scenario}",
            "Take a template that covers its scenario",
        )
    needed = 2 if "second" in template.slots else 1 if "candidate" in template.slots else 0
    if len(instruction.candidates) < needed:
        raise UsageError(
            f"template {template.id} judges {needed} candidate{'s' * (needed > 1)}, "
            f"the instruction has {len(instruction.candidates)}",
            "Give the instruction its candidates",
        )


def _values(instruction: Instruction, item: str, extra: Mapping[str, str]) -> dict[str, str]:
    preference, candidates = instruction.preference, instruction.candidates
    intention, text = clean(instruction.intention.text), clean(preference.text)
    values = {
        "history": _numbered(preference.history),
        "profile": clean(preference.profile),
        "preference": text,
        "intention": intention,
        "query": intention or text,
        "context": clean(str(instruction.context)),
        "candidates": "\n".join(f"- {clean(title)}" for title in candidates),
        "candidate": clean(candidates[0]) if candidates else "",
        "first": clean(candidates[0]) if candidates else "",
        "second": clean(candidates[1]) if len(candidates) > 1 else "",
        "item": clean(item),
        "answer": "",
    }
    for name, value in extra.items():
        values[name] = clean(value)
    return values


def _numbered(titles: Iterable[str]) -> str:
    return "\n".join(
        f"{number}. {_OPEN}{clean(title)}{_CLOSE}" for number, title in enumerate(titles, 1)
    )


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)


@lru_cache(maxsize=4096)
def _compiled(source: str) -> jinja2.Template:
    return _environment().from_string(source)
