"""How a model turns likelihoods into scores: scoring.json beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from instructrec.errors import FolderError
from instructrec.folders import read_json, write_json

SCORING = "scoring.json"
TRIED = "templates.json"
"""Beside it: scenario → template → HR@1, NDCG@5 and requests on validation, under the rule."""

Rule = Literal["sum", "mean", "pmi", "constrained"]
RULES: tuple[Rule, ...] = ("sum", "mean", "pmi", "constrained")


class ScoringConfig(BaseModel):
    """What is chosen on validation users and stored with the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Rule = "sum"
    """``sum`` or ``mean`` of a candidate's token log-likelihoods; ``pmi``: the sum less
    ``pmi_weight`` times the log-likelihood without the user; ``constrained``: the sum,
    renormalised at each step over what the candidates at hand allow."""
    pmi_weight: float = Field(0.5, ge=0, allow_inf_nan=False)
    """How much of the log-likelihood without the user is taken off under ``pmi``."""
    null_prompt: str = ""
    """The text that stands for "without the user"."""
    templates: dict[str, str] = Field(default_factory=dict)
    """The template of each scenario; the first that covers it where none is named."""
    list_candidates: bool = False
    """Whether a prompt lists the candidates; then their order can matter."""
    orders: int = Field(1, ge=1)
    """Over so many orders of the listed candidates scores are averaged; 1 lists them as they are
    given, more make the ranking independent of that and cost as many times as much."""
    max_tokens: int = Field(512, ge=16)
    """Tokens of a prompt at most; the oldest titles go first."""

    @classmethod
    def untuned(cls) -> ScoringConfig:
        """For a checkpoint that was not tuned here: it knows wordings better than users, so all
        of what it says without the user is taken off (docs/paper.md §7)."""
        return cls(rule="pmi", pmi_weight=1.0, null_prompt="Recommend an item.")

    @classmethod
    def load(cls, folder: Path) -> ScoringConfig:
        """Read a model folder's scoring.json.

        Raises:
            FolderError: It is absent or not what this version writes.
        """
        try:
            return cls.model_validate(read_json(folder / SCORING))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise FolderError(
                f"{folder / SCORING}, {where}: {first['msg']}", "Tune the model again"
            ) from None

    def save(self, folder: Path) -> None:
        """Write scoring.json into a model folder."""
        write_json(folder / SCORING, self.model_dump())
