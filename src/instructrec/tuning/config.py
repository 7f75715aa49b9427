"""Every setting of tuning, documented in place."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instructrec.errors import UsageError
from instructrec.instructions.schema import Scenario

STRATEGIES = ("turned-around", "relatedness", "chain-of-thought")
TASKS = ("T0", "T1", "T2", "T3")

DEFAULT_EPOCHS = 3
"""How long tuning takes when neither epochs nor steps nor a budget are set."""


class TuneConfig(BaseModel):
    """What decides a tuned model.

    At most one of ``epochs``, ``steps`` and ``budget`` may be set. The paper leaves learning
    rate, batch, optimiser, epochs and mixing open (docs/paper.md §4); these are our choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "tiny-causal"
    """A name of `instructrec.backbones.SHAPES` (made from nothing), or what
    `instructrec.backbones.load` takes: a folder, a hub name, a name of the pretrained table."""
    vocab_size: int = Field(8192, ge=300)
    """Tokens of the tokenizer that is trained for a backbone made from nothing."""
    seed: int = Field(0, ge=0)
    """Seeds starting weights, the order of examples, dropout and the draw of validation users."""
    epochs: int | None = Field(None, ge=1)
    """Passes over the training rows; the steps they take are counted before training."""
    steps: int | None = Field(None, ge=1)
    """Updates of the weights."""
    budget: float | None = Field(None, ge=5)
    """Seconds for all of tuning. After a short measurement it is turned into a number of steps
    once; a run that is resumed obeys that number, whatever time it takes."""
    batch_tokens: int = Field(4096, ge=64)
    """Tokens of one update at most, padding included."""
    pieces: int = Field(4, ge=1)
    """How many length buckets an update is put together from, so that it does not consist of
    requests of one length, which would mean of one kind. Each piece is a forward and backward
    pass of its own; on a CPU four small ones are also faster than one large one."""
    learning_rate: float | None = Field(None, gt=0)
    """The peak. Left out: 3e-3 for tiny and 1.5e-3 for mini backbones made from nothing, 2e-4 for
    pretrained ones, 1e-3 for LoRA."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises to its peak; then it falls to zero
    along a cosine."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's, on matrices alone."""
    clip: float = Field(1.0, gt=0)
    """The longest gradient that is followed in full."""
    span_loss_weight: float = Field(1.0, ge=0)
    """What a token of a history title weighs beside a token of the response (causal only)."""
    null_share: float = Field(0.03, ge=0, le=1)
    """Share of rows that are seen a second time with nothing but ``null_prompt`` before the title,
    so that the likelihood "without the user" of the ``pmi`` rule is a learnt one."""
    null_prompt: str = Field("Recommend an item.", min_length=1)
    """The text that says nothing of the user."""
    candidates_share: float = Field(0.0, ge=0, le=1)
    """Share of reranking rows whose prompt lists the candidates. The ranker leaves them out, so
    that their order cannot matter; listing them in training would double its cost."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Small models see each row too seldom to need any."""
    max_tokens: int = Field(512, ge=16)
    """Tokens of an example at most (paper §4); the oldest titles go first."""
    validations: int = Field(8, ge=1)
    """How often the model is validated, at equal distances, the last time at the end."""
    validate_every: int | None = Field(None, ge=1)
    """Steps between validations; overrides ``validations``."""
    validation_users: int = Field(500, ge=1)
    """Requests of one validation, shared equally by the scenarios."""
    patience: int | None = Field(4, ge=1)
    """Tuning stops after so many validations in a row without a better one; never when none."""
    choice_users: int = Field(300, ge=1)
    """Requests on which each template and scoring rule is tried after training, at most."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward and backward pass; weights and optimiser stay in float32."""
    threads: int | None = Field(None, ge=1)
    """Threads torch computes with on a CPU. Left out: its own choice; under a budget whichever of
    that, half of it and one is fastest in the trial, since on a busy machine threads wait for each
    other. What was chosen is kept with the plan, since it decides the last bits."""
    lora: int | None = Field(None, ge=1)
    """Rank of LoRA adapters on all linear layers of a pretrained backbone; merged when saved."""
    mix: dict[str, float] = Field(default_factory=dict)
    """Share of the rows of a kind that is used in an epoch, drawn anew each time; 1 for what is
    not named. Keys: a scenario (``P1/P2,I0,T3``) or a task form (``T2``) for rows asked directly,
    a strategy (``turned-around``) for others. A scenario goes before a task form."""

    @field_validator("mix")
    @classmethod
    def _check_mix(cls, mix: dict[str, float]) -> dict[str, float]:
        for key, share in mix.items():
            if not 0 <= share <= 1:
                raise UsageError(f"the mix gives {key} the share {share}", "Use 0 to 1")
            if key not in STRATEGIES and key not in TASKS:
                Scenario.parse(key)
        return mix

    @model_validator(mode="after")
    def _check(self) -> TuneConfig:
        if sum(limit is not None for limit in (self.epochs, self.steps, self.budget)) > 1:
            raise UsageError(
                "epochs, steps and budget exclude each other", "Set one of them, or none"
            )
        if self.max_tokens > self.batch_tokens // self.pieces:
            raise UsageError(
                f"an example of {self.max_tokens} tokens does not fit a piece of "
                f"{self.batch_tokens // self.pieces} tokens",
                "Raise batch_tokens, or lower max_tokens or pieces",
            )
        return self

    def share(self, scenario: str, strategy: str) -> float:
        """Which share of the rows of a single scenario and strategy an epoch uses."""
        if strategy != "direct":
            return self.mix.get(strategy, 1.0)
        single = Scenario.parse(scenario)
        for key, share in self.mix.items():
            if "," in key and Scenario.parse(key).covers(single):
                return share
        return self.mix.get(scenario[-2:], 1.0)

    def peak(self, is_new: bool) -> float:
        """The learning rate's peak.

        Args:
            is_new: Whether the backbone is made from nothing.
        """
        if self.learning_rate is not None:
            return self.learning_rate
        if not is_new:
            return 1e-3 if self.lora else 2e-4
        return 3e-3 if self.backbone.startswith("tiny") else 1.5e-3
