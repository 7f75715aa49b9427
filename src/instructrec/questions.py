"""One request to a `Recommender` as a value, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from instructrec.errors import UsageError
from instructrec.instructions.schema import Context, Instruction, TaskForm
from instructrec.protocols import Filters

POOL = 100
"""Candidates that retrieval hands to ranking."""

Evidence = Literal["all", "lm", "without_lm"]


@dataclass(frozen=True)
class Question:
    """One request; every field may be left out.

    Attributes:
        user: A user of the dataset; one that is not in it is welcome as a stranger (P0).
        history: Item ids or titles, oldest first, instead of the user's own history.
        recent: Item ids that the user took since the dataset was made, oldest first; they are
            joined to the user's own history.
        preference: What the user likes, in words (P2).
        wish: What they want now, in words; limits said in it are kept as filters.
        k: How many items to answer.
        filters: Further limits.
        context: Circumstances.
        evidence: ``all``, ``lm`` for the likelihood of the language model alone, or
            ``without_lm`` for all but that, which is cheap.
        task: ``T3`` reranks (the candidates given, else what retrieval finds), ``T0`` judges
            candidates, ``T1`` compares two, ``T2`` names one of the whole catalogue.
        candidates: Titles or item ids.
        owned: Whether items of the history may be answered.
        pool: Candidates that retrieval hands to ranking; k at least.
    """

    user: str | None = None
    history: tuple[str, ...] | None = None
    recent: tuple[str, ...] = ()
    preference: str = ""
    wish: str = ""
    k: int = 10
    filters: Filters | None = None
    context: Context | None = None
    evidence: Evidence = "all"
    task: str = "T3"
    candidates: tuple[str, ...] = ()
    owned: bool = False
    pool: int = POOL

    def form(self) -> TaskForm:
        """The task form.

        Raises:
            UsageError: There is no such form, or the number of items or candidates is wrong.
        """
        if self.k < 1:
            raise UsageError(f"{self.k} items cannot be answered", "Ask for one at least")
        try:
            form = TaskForm(self.task.upper())
        except ValueError:
            raise UsageError(f"{self.task!r} is not a task form", "Use T0, T1, T2 or T3") from None
        given = len(set(self.candidates))
        if form is TaskForm.POINTWISE and not given:
            raise UsageError("T0 judges an item and none is given", "Add --candidate TITLE")
        if form is TaskForm.PAIRWISE and given != 2:
            raise UsageError(
                f"T1 compares two items and {given} are given", "Add --candidate TITLE twice"
            )
        if form is TaskForm.MATCHING and given:
            raise UsageError(
                "T2 names one item of the whole catalogue and takes no candidates",
                "Leave them out, or use T3 to rerank them",
            )
        return form


def something_known(instruction: Instruction) -> bool:
    """Whether anything is known of the request: a history, a preference or a wish."""
    return instruction.preference.form != "P0" or bool(instruction.intention.text)


def check_something_known(instruction: Instruction) -> None:
    """Refuse a request that the language model cannot be asked alone.

    Raises:
        UsageError: Nothing is known.
    """
    if not something_known(instruction):
        raise UsageError(
            "the language model has nothing to go by", "Give a user, a history or a wish"
        )
