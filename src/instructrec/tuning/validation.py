"""Requests of the validation split, and how often a model finds their targets (paper §4.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec import metrics
from instructrec.backbones import Backbone, Likelihoods
from instructrec.errors import DataError
from instructrec.instructions.corpus import Corpus, instruction_of, pool_of
from instructrec.instructions.schema import Instruction
from instructrec.instructions.templating import Template, render
from instructrec.protocols import SILENT, Progress

BATCH = 64
"""Requests scored together."""


@dataclass(frozen=True)
class Panel:
    """The requests of one scenario that every choice about it is made on.

    Attributes:
        scenario: A single scenario, as written.
        instructions: n requests without a list of candidates.
        titles: The candidates of each, the target first; the others were drawn by user id.
        templates: The templates that ask for the scenario directly, in order of id.
    """

    scenario: str
    instructions: Sequence[Instruction]
    titles: Sequence[Sequence[str]]
    templates: Sequence[Template]

    def __len__(self) -> int:
        return len(self.instructions)

    def take(self, count: int) -> Panel:
        """The first requests; they stand in a random order."""
        return Panel(self.scenario, self.instructions[:count], self.titles[:count], self.templates)


def gather_panels(
    corpus: Corpus, count: int, *, held_out: Collection[str] = (), seed: int = 0
) -> list[Panel]:
    """Draw validation requests of every scenario in the corpus.

    Args:
        corpus: With a validation split.
        count: Requests of each scenario, at most.
        held_out: User ids that no choice may look at.
        seed: Seeds the draw.

    Raises:
        DataError: There is no validation request.
    """
    everything = corpus.scan("validation")
    drawn = (
        everything.filter(pl.col("user_id").is_null() | ~pl.col("user_id").is_in(sorted(held_out)))
        .select("row", "scenario")
        .collect()
    )
    chosen: dict[str, list[int]] = {}
    for scenario in drawn["scenario"].unique().sort().to_list():
        numbers = drawn.filter(pl.col("scenario") == scenario)["row"].to_numpy()
        rng = np.random.default_rng([seed, len(numbers)])
        chosen[scenario] = rng.permutation(numbers)[:count].tolist()
    wanted = sorted({row for numbers in chosen.values() for row in numbers})
    frame = everything.filter(pl.col("row").is_in(wanted)).collect()
    by_row = {row["row"]: row for row in frame.iter_rows(named=True)}
    panels = [
        _panel(corpus, scenario, [by_row[row] for row in numbers])
        for scenario, numbers in chosen.items()
    ]
    if not panels:
        raise DataError(
            f"{corpus.folder} has no validation request to choose by",
            "Import users with three interactions or more, or hold out fewer users",
        )
    return panels


def _panel(corpus: Corpus, scenario: str, rows: Sequence[Mapping[str, Any]]) -> Panel:
    titles = [_target_first(row) for row in rows]
    asked = [instruction_of({**row, "candidates": []}) for row in rows]
    return Panel(scenario, asked, titles, pool_of(corpus.bank, scenario, "direct", "item"))


def _target_first(row: Mapping[str, Any]) -> list[str]:
    """The candidates' titles as the ranker has them: on one line."""
    pairs = zip(row["candidates"], row["candidate_ids"], strict=True)
    others = [title for title, item_id in pairs if item_id != row["item_id"]]
    return [" ".join(title.split()) for title in (row["item"], *others)]


def panel_likelihoods(
    backbone: Backbone,
    panel: Panel,
    max_tokens: int,
    template: Template | None = None,
    progress: Progress = SILENT,
    title: str = "",
) -> list[Likelihoods]:
    """Likelihoods of every candidate of a panel.

    Args:
        backbone: The model.
        panel: n requests.
        max_tokens: Tokens of a prompt at most.
        template: The wording; each template in turn when left out.
        progress: Told how far it is.
        title: What to report it under.
    """
    pool = panel.templates if template is None else [template]
    prompts = [
        render(pool[number % len(pool)], instruction)
        for number, instruction in enumerate(panel.instructions)
    ]
    ids = backbone.prompt_ids(prompts, max_tokens)
    return likelihoods(backbone, ids, panel.titles, progress, title)


def likelihoods(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    titles: Sequence[Sequence[str]],
    progress: Progress = SILENT,
    title: str = "",
) -> list[Likelihoods]:
    """Likelihoods of each prompt's candidates, prompts of like length together."""
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    found: list[Likelihoods | None] = [None] * len(prompts)
    batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    for batch in progress.track(batches, title) if title else batches:
        candidates = [backbone.candidate_ids(titles[number]) for number in batch]
        scored = backbone.token_log_likelihoods([prompts[n] for n in batch], candidates)
        for number, one in zip(batch, scored, strict=True):
            found[number] = one
    return [one for one in found if one is not None]


def ranks_of(scores: Iterable[NDArray[np.float64]]) -> NDArray[np.int64]:
    """Rank of the first candidate in each list, ties against it."""
    return np.array([metrics.ranks(line[None])[0] for line in scores], dtype=np.int64)


def validate(
    backbone: Backbone, panels: Sequence[Panel], max_tokens: int, progress: Progress = SILENT
) -> dict[str, float]:
    """HR@1 by scenario under the sum rule, each request worded by the templates in turn."""
    hits = {}
    for panel in panels:
        found = panel_likelihoods(
            backbone, panel, max_tokens, progress=progress, title=f"validating {panel.scenario}"
        )
        ranks = ranks_of(one.sums for one in found)
        hits[panel.scenario] = float(metrics.hit_rate(ranks, 1).mean())
    return hits
