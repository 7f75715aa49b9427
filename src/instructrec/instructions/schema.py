"""The instruction format: preference, intention, task form, context and scenario (paper §3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from instructrec.errors import UsageError


class TaskForm(StrEnum):
    """What is asked: judge one item, compare two, name one of all, or rerank candidates."""

    POINTWISE = "T0"
    PAIRWISE = "T1"
    MATCHING = "T2"
    RERANKING = "T3"


class IntentionKind(StrEnum):
    """How much the user says they want now: nothing, something vague, something specific."""

    NONE = "I0"
    VAGUE = "I1"
    SPECIFIC = "I2"


@dataclass(frozen=True)
class Preference:
    """What a user likes in general.

    Attributes:
        history: Titles of the items interacted with, oldest first (P1).
        history_ids: Their item ids, as long as ``history``, or empty when only titles are known.
        profile: Facts about the user, in words; empty when unknown.
        text: The preference in natural language (P2); empty when unknown.
    """

    history: tuple[str, ...] = ()
    history_ids: tuple[str, ...] = ()
    profile: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        if self.history_ids and len(self.history_ids) != len(self.history):
            raise ValueError("history_ids must be empty or as long as history")

    @property
    def form(self) -> str:
        """``P0``, ``P1``, ``P2`` or ``P1+P2``."""
        present = [name for name, has in (("P1", self.history), ("P2", self.text)) if has]
        return "+".join(present) or "P0"


@dataclass(frozen=True)
class Intention:
    """What a user wants now, in words, and whether that is vague (I1) or specific (I2)."""

    text: str = ""
    kind: IntentionKind = IntentionKind.NONE

    def __post_init__(self) -> None:
        if bool(self.text) != (self.kind is not IntentionKind.NONE):
            raise ValueError("an intention has a text exactly when its kind is not I0")


@dataclass(frozen=True)
class Context:
    """Circumstances of a request; each empty when unknown."""

    time: str = ""
    place: str = ""
    device: str = ""
    occasion: str = ""

    def __str__(self) -> str:
        """The known circumstances in one phrase, ``""`` when there are none."""
        return ", ".join(
            part for part in (self.time, self.place, self.device, self.occasion) if part
        )


@dataclass(frozen=True)
class Instruction:
    """One request: what the user likes, what they want now and what is asked.

    Attributes:
        preference: See `Preference`.
        intention: See `Intention`.
        task: See `TaskForm`.
        context: See `Context`.
        candidates: Titles to judge (one), compare (two) or rerank (any number); may be empty for
            reranking, where the candidates then reach the model only as what it scores.
        user_id: Whose request it is, when known; never rendered.
    """

    preference: Preference = field(default_factory=Preference)
    intention: Intention = field(default_factory=Intention)
    task: TaskForm = TaskForm.RERANKING
    context: Context = field(default_factory=Context)
    candidates: tuple[str, ...] = ()
    user_id: str | None = None

    @property
    def scenario(self) -> Scenario:
        """The single scenario this instruction is an instance of."""
        return Scenario(((self.preference.form,), (self.intention.kind.value,), (self.task.value,)))

    @property
    def known(self) -> str:
        """What is known of the request, the key of fusion weights: ``P,I0``, ``P0,I`` or ``P,I``.

        A request with neither preference nor intention counts as ``P,I0``.
        """
        has_preference = self.preference.form != "P0"
        has_intention = self.intention.kind is not IntentionKind.NONE
        if has_preference and has_intention:
            return "P,I"
        return "P0,I" if has_intention else "P,I0"


_PREFERENCES = ("P0", "P1", "P2", "P1+P2")
_AXES = (_PREFERENCES, ("I0", "I1", "I2"), tuple(task.value for task in TaskForm))


@dataclass(frozen=True)
class Scenario:
    """A kind of request as the paper writes it, such as ``P1/P2,I0,T3``.

    Attributes:
        axes: The alternatives of preference, intention and task form, each in the order written.
    """

    axes: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

    @classmethod
    def parse(cls, text: str) -> Scenario:
        """Read a scenario.

        ``/`` separates alternatives, ``+`` means both at once, angle brackets are allowed, and the
        paper's ``P1,P2,T3`` (table 7: the stated preference stands where the query would) is read
        as ``P1+P2,I0,T3``.

        Args:
            text: For example ``"P1/P2,I0,T3"`` or ``"⟨P0, I1/I2, T3⟩"``.

        Raises:
            UsageError: The text is not a scenario.
        """
        parts = [part.strip() for part in text.strip().strip("⟨⟩<>").split(",")]
        if len(parts) == 3 and parts[1].startswith("P"):
            parts = [f"{parts[0]}+{parts[1]}", "I0", parts[2]]
        if len(parts) != 3:
            raise _not_a_scenario(text)
        axes = []
        for part, allowed in zip(parts, _AXES, strict=True):
            names = tuple(_canonical(name.strip().upper()) for name in part.split("/"))
            if any(name not in allowed for name in names) or len(set(names)) != len(names):
                raise _not_a_scenario(text)
            axes.append(names)
        return cls((axes[0], axes[1], axes[2]))

    def __str__(self) -> str:
        """The scenario as `parse` reads it."""
        return ",".join("/".join(axis) for axis in self.axes)

    def singles(self) -> Iterator[Scenario]:
        """Every combination of the alternatives, one report row each, in the order written."""
        for preference, intention, task in product(*self.axes):
            yield Scenario(((preference,), (intention,), (task,)))

    @property
    def is_single(self) -> bool:
        """Whether no axis has alternatives."""
        return all(len(axis) == 1 for axis in self.axes)

    def covers(self, other: Scenario) -> bool:
        """Whether every alternative of ``other`` is one of this scenario's."""
        return all(
            set(theirs) <= set(ours) for ours, theirs in zip(self.axes, other.axes, strict=True)
        )


def _canonical(name: str) -> str:
    return "+".join(sorted(re.split(r"\s*\+\s*", name))) if "+" in name else name


def _not_a_scenario(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a scenario",
        'Write preference,intention,task form, such as "P1/P2,I0,T3" '
        "(P0 P1 P2 P1+P2 · I0 I1 I2 · T0 T1 T2 T3)",
    )
