"""How an answer is shown to a person: the items with their reasons, and the instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from instructrec.answers import Recommendation, Recommended

_STYLES = {
    "preference": "cyan",
    "intention": "bold green",
    "context": "magenta",
    "task": "dim",
}
_MARKS = {"preference": "P", "intention": "I", "context": "C"}


def answer_view(answer: Recommendation, *, instruction: bool = True) -> RenderableType:
    """The whole answer.

    Args:
        answer: What a recommender said.
        instruction: Whether the text that the language model was given is shown.
    """
    blocks: list[RenderableType] = []
    if answer.answer:
        chance = answer.items[0].probability if answer.items else None
        sure = f" (probability {chance:.2f})" if chance is not None else ""
        blocks.append(Text(f"{answer.answer}{sure}", style="bold"))
    if answer.filters:
        blocks.append(Text(f"kept as a limit: {' and '.join(answer.filters)}"))
    blocks += [Text(f"note: {note}", style="yellow") for note in answer.notes]
    if answer.items:
        blocks.append(items_table(answer.items))
    if instruction and answer.instruction:
        blocks += [Text(), *_instruction(answer)]
    took = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in answer.seconds.items())
    if took:
        blocks.append(Text(took, style="dim"))
    return Group(*blocks)


def items_table(items: tuple[Recommended, ...]) -> Table:
    """Items with score, price, evidence and what speaks for them."""
    table = Table(box=None, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("item", ratio=3)
    table.add_column("price", justify="right")
    table.add_column("score", justify="right")
    judged = any(item.probability is not None for item in items)
    if judged:
        table.add_column("probability", justify="right")
    table.add_column("evidence", ratio=3)
    table.add_column("speaks for it", ratio=4)
    for place, item in enumerate(items, 1):
        price = item.facts.get("price")
        cells: list[RenderableType] = [
            str(place),
            Text(item.title),
            "" if price is None else f"{price:g}",
            f"{item.score:.2f}",
        ]
        if judged:
            cells.append(f"{item.probability or 0.0:.2f}")
        table.add_row(*cells, _evidence(item), Text(_because(item)))
    return table


def _evidence(item: Recommended) -> str:
    # What would be shown as +0.00 says nothing.
    heard = ((name, value) for name, value in item.evidence.items() if abs(value) >= 0.005)
    told = sorted(heard, key=lambda pair: -abs(pair[1]))
    return " ".join(f"{name} {value:+.2f}" for name, value in told)


def _because(item: Recommended) -> str:
    parts = []
    if item.because.words:
        parts.append("words: " + ", ".join(item.because.words))
    if item.because.history:
        parts.append("history: " + "; ".join(title for title, _ in item.because.history))
    return " · ".join(parts)


def _instruction(answer: Recommendation) -> list[Text]:
    """The text, its preference as [P …], its intention as [I …], its context as [C …]."""
    text = Text()
    for part in answer.parts:
        mark = _MARKS.get(part.kind)
        text.append(f"[{mark} {part.text}]" if mark else part.text, style=_STYLES[part.kind])
    head = Text(
        f"The language model was told ({answer.scenario}; "
        "P preference, I intention, C context, the rest is the task):",
        style="bold",
    )
    return [head, text]
