"""README.md of a tuned model: what it is, how it was made, how to use it, what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from instructrec.backbones import SHAPES
from instructrec.instructions.corpus import Corpus
from instructrec.training import State
from instructrec.tuning.choice import Choice
from instructrec.tuning.config import TuneConfig


def write_card(
    folder: Path,
    corpus: Corpus,
    config: TuneConfig,
    facts: Mapping[str, Any],
    state: State,
    choice: Choice,
) -> None:
    """Write the model card; it holds no time, so the same tuning gives the same bytes.

    Args:
        folder: A model folder.
        corpus: What it was tuned on.
        config: How.
        facts: The manifest's entries.
        state: Where training ended.
        choice: Template and scoring rule.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    source = files("instructrec.tuning").joinpath("card.md.jinja").read_text(encoding="utf-8")
    text = environment.from_string(source).render(
        is_new=config.backbone in SHAPES,
        is_causal=facts["family"] == "causal",
        backbone=Path(config.backbone).name if Path(config.backbone).is_dir() else config.backbone,
        config=config,
        peak=config.peak(config.backbone in SHAPES),
        facts=facts,
        rows=corpus.manifest["rows"],
        last=state.curve[-1] if state.curve else {},
        validations=state.validations,
        best=state.best,
        rule=str(choice.rule),
        chosen=choice.chosen,
        spread=_spread(choice),
        null_prompt=choice.null_prompt,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _spread(choice: Choice) -> dict[str, tuple[float, float]]:
    """The lowest and highest HR@1 that the templates of a scenario reach under the rule."""
    found = {}
    for scenario, tried in choice.tried.items():
        hits = [figures[str(choice.rule)]["HR@1"] for figures in tried.values()]
        found[scenario] = (min(hits), max(hits))
    return found
