"""Every setting of the rivals that learn, what their search tries, and what each may cost."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instructrec.retrieval.settings import TrainingConfig, check_heads


class Budget(BaseModel):
    """What finding and training one rival may cost: the same for each of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training_seconds: float = Field(900, ge=1)
    """Of the final training, on all training rows."""
    trials: int = Field(6, ge=1)
    """Settings that are tried before, the defaults first; 1 tries nothing else. Our
    language model is tuned once, by its defaults: its rule and template alone are chosen."""
    trial_users: int = Field(10_000, ge=1)
    """Users whose sequences a trial learns from, drawn once for all trials."""
    trial_seconds: float = Field(60, ge=1)
    """Of one trial."""


class RivalConfig(TrainingConfig):
    """What all rivals that learn have in common."""

    space: ClassVar[dict[str, tuple[Any, ...]]] = {
        "learning_rate": (5e-4, 1e-3, 2e-3, 4e-3),
        "dropout": (0.1, 0.2, 0.3, 0.5),
        "dimensions": (64, 128),
    }
    """What the search draws from, setting by setting; the rest stays as it is."""

    learning_rate: float = Field(1e-3, gt=0)
    """The peak."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; then it falls to zero along a cosine."""
    dimensions: int = Field(64, ge=4)
    """Length of an item vector."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the states that is left out, drawn anew at every update."""
    max_history: int = Field(50, ge=2)
    """Items of a history that are read, the latest. A longer sequence is learnt in pieces."""
    batch: int = Field(128, ge=2)
    """Sequences or examples of an update."""
    validation_users: int = Field(2000, ge=1)
    """Requests of a validation, at most."""
    softmax_items: int = Field(65536, ge=2)
    """Items that a target is compared with in an update: the whole catalogue up to so many, a
    sample beyond."""
    usual_epochs: int = Field(12, ge=1)
    """Passes when neither epochs nor steps nor a budget are set."""


class AttentionConfig(RivalConfig):
    """What rivals with attention have besides."""

    layers: int = Field(2, ge=1)
    """Layers of attention."""
    heads: int = Field(2, ge=1)
    """Attention heads of a layer."""

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        check_heads(self.dimensions, self.heads)
        return self


class SASRecConfig(AttentionConfig):
    """SASRec with item ids only; the recipe of docs/paper.md §7."""


class GRU4RecConfig(RivalConfig):
    """GRU4Rec."""

    space: ClassVar[dict[str, tuple[Any, ...]]] = {
        **RivalConfig.space,
        "hidden": (64, 128, 256),
    }

    hidden: int = Field(128, ge=4)
    """Length of the recurrent state."""
    layers: int = Field(1, ge=1)
    """Recurrent layers."""


class BERT4RecConfig(AttentionConfig):
    """BERT4Rec. A pass teaches fewer targets than a causal one, so it makes more of them."""

    space: ClassVar[dict[str, tuple[Any, ...]]] = {
        **RivalConfig.space,
        "mask_share": (0.2, 0.3, 0.5),
    }

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the states that is left out, drawn anew at every update."""
    mask_share: float = Field(0.3, gt=0, lt=1)
    """Share of the items of a sequence that are masked and to be told."""
    last_share: float = Field(0.2, ge=0, le=1)
    """Share of the sequences of which the last item alone is masked, as when it is used."""
    usual_epochs: int = Field(30, ge=1)
    """Passes when neither epochs nor steps nor a budget are set."""


class TwoTowerConfig(RivalConfig):
    """The two-tower matcher of histories and items."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the states that is left out, drawn anew at every update."""
    hidden: int = Field(256, ge=4)
    """Width of the user tower's hidden layer."""
    decay: float = Field(0.8, gt=0, le=1)
    """What an item of the history counts against the one after it."""


class TextConfig(RivalConfig):
    """What rivals that read words have besides."""

    buckets: int = Field(32768, ge=16)
    """Vectors that words and their three-letter pieces share, by hash."""
    hidden: int = Field(256, ge=4)
    """Width of a tower's hidden layer."""
    temperature: float = Field(0.05, gt=0)
    """What cosines are divided by."""


class DSSMConfig(TextConfig):
    """DSSM."""

    batch: int = Field(256, ge=2)
    """Pairs of an update: each item is a negative for what was said of the others."""
    dimensions: int = Field(128, ge=4)
    """Length of an item vector."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the states that is left out, drawn anew at every update."""


class TEMConfig(AttentionConfig, TextConfig):
    """TEM."""

    layers: int = Field(1, ge=1)
    """Layers of attention."""
    max_history: int = Field(20, ge=2)
    """Items of a history that are read, the latest."""
    batch: int = Field(256, ge=2)
    """Examples of an update."""
    softmax_items: int = Field(4096, ge=2)
    """Items that a target is compared with in an update: the texts of all would cost too much."""
    unsaid_share: float = Field(0.1, ge=0, lt=1)
    """Share of the examples that are learnt without their words."""
