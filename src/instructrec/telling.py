"""What a request and its answer look like to others: the model's prompt in parts, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from instructrec.answers import Part, PartKind, split_parts
from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction, TaskForm
from instructrec.protocols import Rows, Scores
from instructrec.questions import something_known

if TYPE_CHECKING:
    from instructrec.ranking.ranker import Ranker

ANSWER_SCHEMA = pl.Schema(
    {
        "user_id": pl.String(),
        "rank": pl.Int64(),
        "item_id": pl.String(),
        "title": pl.String(),
        "score": pl.Float32(),
    }
)
"""Columns of the answers to many users."""


def told_to(
    lm: Ranker,
    titles: Sequence[str],
    instruction: Instruction,
    rows: Rows,
    form: TaskForm,
    *,
    alone: bool,
) -> tuple[str, tuple[Part, ...]]:
    """What the language model is given, whole and in parts.

    Among other evidence it scores items one by one, whatever is asked; alone it is asked in
    the task's own form.

    Args:
        lm: The language model.
        titles: By row.
        instruction: The request.
        rows: Its candidates.
        form: The task form asked.
        alone: Whether nothing else answers.

    Raises:
        UsageError: No template covers the request.
    """
    if not something_known(instruction):
        return "", ()
    judged = form in (TaskForm.POINTWISE, TaskForm.PAIRWISE)
    if form is TaskForm.MATCHING or (alone and judged and len(rows)):
        named = tuple(titles[row] for row in rows[:2].tolist())
        rendered = lm.question(replace(instruction, task=form, candidates=named))
    else:
        rendered = lm.render(instruction)
    marked: dict[PartKind, list[tuple[int, int]]] = {
        "preference": list(rendered.title_spans),
    }
    said: tuple[tuple[PartKind, str], ...] = (
        ("preference", instruction.preference.text),
        ("preference", instruction.preference.profile),
        ("intention", instruction.intention.text),
        ("context", str(instruction.context)),
    )
    for kind, text in said:
        at = rendered.text.find(text) if text else -1
        if at >= 0:
            marked.setdefault(kind, []).append((at, at + len(text)))
    return rendered.text, split_parts(rendered.text, marked)


def answer_table(
    catalogue: Catalogue, users: Sequence[str], rows: Rows, scores: Scores, k: int
) -> pl.DataFrame:
    """The k best of each user as a frame of `ANSWER_SCHEMA`.

    Args:
        catalogue: The items.
        users: n user ids.
        rows: (n, candidates) catalogue rows, -1 for none.
        scores: Of these.
        k: How many a user gets at most.
    """
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    best = np.take_along_axis(rows, order, axis=1)
    kept = np.take_along_axis(scores, order, axis=1)
    lines, places = np.nonzero(best >= 0)
    chosen = best[lines, places].tolist()
    return pl.DataFrame(
        {
            "user_id": [users[line] for line in lines.tolist()],
            "rank": places + 1,
            "item_id": [catalogue.item_ids[row] for row in chosen],
            "title": [catalogue.titles[row] for row in chosen],
            "score": kept[lines, places],
        },
        schema=ANSWER_SCHEMA,
    )
