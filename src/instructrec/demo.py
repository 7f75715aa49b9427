"""The demo: a made-up shop, a run on it, and three requests that show what it can do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from instructrec.answers import Recommendation
from instructrec.build import run_stages
from instructrec.protocols import SILENT, Progress
from instructrec.recommender import Recommender
from instructrec.stages import RunConfig, encoder_is_here, made_up, stages_of

WISH = "a gift for my son who likes racing, under 30"
VAGUE = "something to read for a child at bedtime"
SHOWN = 5
"""Items that an example shows."""


class DemoConfig(BaseModel):
    """What the demo makes; its defaults take a few minutes on two cores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(default=3000, ge=50)
    """Shoppers of the marketplace."""
    items: int = Field(default=1500, ge=50)
    """Items of the marketplace."""
    seed: int = 0
    """Seeds everything."""
    backbone: str = "tiny-causal"
    """Chosen by what validated best in the time that a demo may take."""
    steps: int | None = Field(default=800, ge=1)
    """Updates of tuning."""
    budget: float | None = Field(default=None, ge=10)
    """Seconds for everything, instead of steps."""
    test_users: int | None = Field(default=800, ge=10)
    """Test requests of each scenario, drawn at random."""
    fusion_users: int = Field(default=200, ge=10)
    """Validation requests of each scenario that the weights are fitted on."""
    spread_users: int = Field(default=100, ge=0)
    """Validation requests on which the templates are compared."""
    corpus: dict[str, Any] = Field(
        default_factory=lambda: {
            "rates": {
                "T0": 0.1,
                "T1": 0.1,
                "T2": 0.1,
                "T3": 1.0,
                "turned-around": 0.1,
                "relatedness": 0.1,
                "chain-of-thought": 0.1,
            }
        }
    )
    """Further settings of the corpus: few minutes are best spent on what is measured."""
    tuning: dict[str, Any] = Field(
        default_factory=lambda: {"validations": 2, "validation_users": 330, "choice_users": 50}
    )
    """Further settings of tuning."""

    def run(self) -> RunConfig:
        """The settings of the run."""
        return RunConfig(
            backbone=self.backbone,
            budget=self.budget,
            steps=None if self.budget is not None else self.steps,
            seed=self.seed,
            fusion_users=self.fusion_users,
            test_users=self.test_users,
            spread_users=self.spread_users,
            corpus=self.corpus,
            tuning=self.tuning,
        )


@dataclass(frozen=True)
class Example:
    """One request and its answer.

    Attributes:
        title: What it shows.
        asked: The request as somebody would type it.
        answer: With everything there is.
        without: The same without the text encoder, where that is to be compared.
    """

    title: str
    asked: str
    answer: Recommendation
    without: Recommendation | None = None


def make_demo(run: Path, config: DemoConfig, progress: Progress = SILENT) -> list[str]:
    """Make the demo's run, or go on with it.

    Returns:
        Names of the stages that were made.
    """
    dataset = made_up(config.users, config.items, config.seed)
    return run_stages(run, stages_of(config.run(), dataset, progress), progress)


def examples(run: Path) -> Iterator[Example]:
    """Three requests answered: a shopper, a shopper with a wish, a stranger with a wish."""
    recommender = Recommender.load(run)
    user = _talkative(recommender)
    yield Example(
        "A shopper who says nothing: their history alone",
        f"instructrec recommend {run} --user {user} --k {SHOWN}",
        recommender.recommend(user=user, k=SHOWN),
    )
    yield Example(
        "The same shopper with a wish: history and words; a limit said in words is kept",
        f'instructrec recommend {run} --user {user} --want "{WISH}" --k {SHOWN}',
        recommender.recommend(user=user, wish=WISH, k=SHOWN),
    )
    with_encoder = encoder_is_here()
    yield Example(
        "A stranger, whose words are not the catalogue's",
        f'instructrec recommend {run} --want "{VAGUE}" --k {SHOWN}',
        recommender.recommend(wish=VAGUE, k=SHOWN),
        recommender.without("dense", "similar").recommend(wish=VAGUE, k=SHOWN)
        if with_encoder
        else None,
    )


def _talkative(recommender: Recommender) -> str:
    """The first user whose history is of the usual length."""
    sequences = recommender.dataset.sequences
    usual = int(np.median(sequences.lengths))
    return sequences.user_ids[int(np.argmin(np.abs(sequences.lengths - usual)))]
