"""How a model turns likelihoods into scores: scoring.json beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from instructrec.errors import FolderError
from instructrec.folders import read_json, write_json

SCORING = "scoring.json"
TRIED = "templates.json"
"""Beside it: scenario → template → HR@1, NDCG@5 and requests on validation, under the rule."""

Rule = Literal["sum", "mean", "pmi", "constrained"]
RULES: tuple[Rule, ...] = ("sum", "mean", "pmi", "constrained")
LongHistory = Literal["recent", "chunks"]


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
    spelled: int | None = Field(None, ge=1)
    """The latest titles of a history that a prompt spells out: no more than in training, since a
    model does not make sense of longer histories than it was tuned on (docs/long-histories.md).
    All of them when none, as for a checkpoint that was not tuned here."""
    long_history: LongHistory = "recent"
    """What becomes of older titles: ``recent`` leaves them to the other evidence; ``chunks`` adds
    what the model says after each chunk of ``spelled`` titles, read apart and remembered."""
    chunk_weight: float = Field(0.3, ge=0, allow_inf_nan=False)
    """Under ``chunks``: what the mean gain over chunks of a candidate's log-likelihood, against
    that without the user, counts beside the score of the recent titles."""
    chunk_memory: float = Field(256.0, ge=0, allow_inf_nan=False)
    """MiB that chunks which were read may take; the longest unused go first."""

    @model_validator(mode="after")
    def _chunks_add_up(self) -> Self:
        if self.long_history == "chunks":
            if self.spelled is None:
                raise ValueError("chunks need to know how many titles are spelled out: set spelled")
            if self.rule not in ("sum", "pmi"):
                raise ValueError(f"chunks add up with the rules sum and pmi, not with {self.rule}")
            if self.list_candidates:
                raise ValueError("chunks are read without candidates; do not list them")
        return self

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
