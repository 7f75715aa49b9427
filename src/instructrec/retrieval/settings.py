"""Every setting of the retrievers that learn, documented in place."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instructrec.errors import UsageError

DEFAULT_EPOCHS = 6
"""How long the sequential model trains when neither epochs nor steps nor a budget are set."""
FEWEST_STEPS = 216
"""Updates that it gets then at least: of few sequences, more epochs."""


class TrainingConfig(BaseModel):
    """What every training of a retriever has. Epochs or steps may be set, not both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(gt=0)
    """The peak."""
    warmup: float = Field(ge=0, lt=1)
    """Share of the steps in which the learning rate rises; then it falls to zero along a cosine."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's, on matrices alone."""
    clip: float = Field(1.0, gt=0)
    """The longest gradient that is followed in full."""
    epochs: int | None = Field(None, ge=1)
    """Passes over all examples."""
    steps: int | None = Field(None, ge=1)
    """Updates of the weights."""
    budget: float | None = Field(None, ge=1)
    """Seconds of training, at most. After a short measurement it is turned into a number of steps
    once; a training that is resumed obeys that number, whatever time it takes."""
    validations: int = Field(6, ge=1)
    """How often it is validated, at equal distances, the last time at the end."""
    patience: int | None = Field(2, ge=1)
    """Training stops after so many validations in a row without a better one; never when none."""
    seed: int = Field(0, ge=0)
    """Seeds starting weights, every draw and the order of examples."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise UsageError("epochs and steps exclude each other", "Set one of them, or none")
        return self


def check_heads(dimensions: int, heads: int) -> None:
    """Refuse a width that heads cannot share.

    Raises:
        UsageError: It is no multiple of them.
    """
    if dimensions % heads:
        raise UsageError(
            f"{dimensions} dimensions cannot be shared by {heads} heads",
            "Take a multiple of the heads",
        )


class SequentialConfig(TrainingConfig):
    """What decides a sequential retriever.

    The defaults are the recipe of docs/paper.md §7, but for six epochs instead of nine: on Video
    Games it validates best after five or six.
    """

    dimensions: int = Field(128, ge=4)
    """Length of an item vector."""
    layers: int = Field(2, ge=1)
    """Layers of causal attention."""
    heads: int = Field(2, ge=1)
    """Attention heads of a layer."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the states that is left out, drawn anew at every update."""
    id_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the items that go without their id vector in an update, so that the text alone
    learns to stand for an item that was never seen."""
    max_history: int = Field(50, ge=2)
    """Items of a history that are read, the latest. A longer sequence is learnt in pieces."""
    batch: int = Field(128, ge=1)
    """Sequences of an update."""
    learning_rate: float = Field(1e-3, gt=0)
    """The peak."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; then it falls to zero along a cosine."""
    validation_users: int = Field(2000, ge=1)
    """Users of a validation, at most."""
    softmax_items: int = Field(65536, ge=2)
    """Items that a target is compared with in an update: the whole catalogue up to so many, a
    sample beyond."""

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        check_heads(self.dimensions, self.heads)
        return self


class TowerConfig(TrainingConfig):
    """What decides the tuning of a text encoder as a two-tower."""

    layers: int = Field(2, ge=1)
    """How many of the encoder's layers learn, the last ones; the others stay as they are."""
    max_tokens: int = Field(64, ge=4)
    """Longer texts are cut while learning."""
    batch: int = Field(128, ge=2)
    """Pairs of an update: each item is a negative for what was said of the others."""
    temperature: float = Field(0.05, gt=0)
    """What cosines are divided by."""
    learning_rate: float = Field(5e-5, gt=0)
    """The peak."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; then it falls to zero along a cosine."""
    validation_pairs: int = Field(1000, ge=10)
    """Pairs of a validation, at most; twice as many decide whether tuning has helped."""
    validation_items: int = Field(2000, ge=10)
    """Items that validation targets are compared with during training, beside each other; all of
    the catalogue at the end."""
    pairs: int = Field(500_000, ge=2)
    """Training pairs at most, drawn at random."""
