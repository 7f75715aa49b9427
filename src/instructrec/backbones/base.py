"""What every backbone can do, and the values that pass through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instructrec.backbones.limits import Limits

Family = Literal["seq2seq", "causal"]

MAX_TOKENS = 512
"""How many tokens a prompt may have unless set otherwise (paper §4)."""

MAX_CANDIDATE_TOKENS = 256
"""A longer title is cut to this many tokens, the end token included."""


class Prompt(Protocol):
    """A rendered instruction: its text and where the history's titles stand in it.

    `instructrec.instructions.templating.Rendered` is one; a plain string stands for a text
    without marked titles.
    """

    @property
    def text(self) -> str:
        """What the model reads."""
        ...

    @property
    def title_spans(self) -> tuple[tuple[int, int], ...]:
        """Character spans of the history's titles, in order."""
        ...


@dataclass(frozen=True)
class EncodedExample:
    """One instruction and its response as token ids.

    Attributes:
        prompt: The ids before the response: encoder input for a sequence-to-sequence model; for a
            causal one everything up to and including the cue.
        response: The ids of the response, end token included.
        spans: Which ids of ``prompt`` are a title of the history with its end token, as half-open
            ranges; empty for a sequence-to-sequence model, which learns from the response alone.
    """

    prompt: list[int]
    response: list[int]
    spans: list[tuple[int, int]]

    def __len__(self) -> int:
        """All tokens: what a batch is bucketed by."""
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class Batch:
    """Examples padded to one length, with the places where a token is to be predicted.

    Attributes:
        input_ids: (batch, tokens) int64.
        attention_mask: (batch, tokens) int64, 1 where a token stands.
        decoder_input_ids: (batch, response tokens), None for a causal model.
        response_at: (k,) places in the flattened hidden states that predict a response token.
        response_labels: (k,) what they should predict.
        span_at: (m,) as ``response_at`` for the titles of the history.
        span_labels: (m,) as ``response_labels``.
    """

    input_ids: Tensor
    attention_mask: Tensor
    decoder_input_ids: Tensor | None
    response_at: Tensor
    response_labels: Tensor
    span_at: Tensor
    span_labels: Tensor

    @property
    def tokens(self) -> int:
        """How many tokens the model reads, padding left out."""
        read = int(self.attention_mask.sum())
        return read if self.decoder_input_ids is None else read + len(self.response_labels)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        decoder = self.decoder_input_ids
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            None if decoder is None else decoder.to(device),
            self.response_at.to(device),
            self.response_labels.to(device),
            self.span_at.to(device),
            self.span_labels.to(device),
        )


class LossParts(NamedTuple):
    """Summed negative log-likelihoods (nats) with gradients, and how many tokens each sums over."""

    response_nll: Tensor
    response_tokens: Tensor
    span_nll: Tensor
    span_tokens: Tensor


@dataclass(frozen=True)
class Likelihoods:
    """Log-likelihoods of one prompt's candidates.

    Attributes:
        sums: (candidates,) float64, natural logarithms summed over a candidate's tokens.
        lengths: (candidates,) int64, how many tokens each has, end token included.
    """

    sums: NDArray[np.float64]
    lengths: NDArray[np.int64]


class Backbone(Protocol):
    """A language model that can be tuned on instructions and asked for likelihoods.

    Attributes:
        name: What it was made or loaded from.
        model: The transformers model.
        tokenizer: Its tokenizer.
        limits: The most that is read at once when candidates are scored.
    """

    name: str
    model: Any
    tokenizer: Any
    limits: Limits

    @property
    def family(self) -> Family:
        """``seq2seq`` or ``causal``."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        ...

    def prompt_ids(
        self,
        prompts: Sequence[Prompt | str],
        max_tokens: int = MAX_TOKENS,
        asks: str = "item",
    ) -> list[list[int]]:
        """Token ids before the response.

        Args:
            prompts: Rendered instructions or plain texts.
            max_tokens: A longer prompt loses its oldest titles first (see `tokens.fit`).
            asks: The response form; ``item`` and ``which`` ask for a title, others for words.
        """
        ...

    def candidate_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of titles or answers, tokenised apart from any prompt, end token included."""
        ...

    def encode(
        self,
        rendered: Prompt | str,
        response: str,
        max_tokens: int = MAX_TOKENS,
        asks: str = "item",
    ) -> EncodedExample:
        """An instruction and its response as one training example of at most ``max_tokens``."""
        ...

    def collate(self, examples: Sequence[EncodedExample]) -> Batch:
        """Pad examples into a batch on the CPU."""
        ...

    def loss_parts(self, batch: Batch) -> LossParts:
        """Summed token losses of a batch, response and history titles apart, in float32."""
        ...

    def token_log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[Sequence[int]]],
        constrained: bool = False,
    ) -> list[Likelihoods]:
        """Log-likelihood of every candidate after its prompt; each prompt is encoded once.

        Args:
            prompts: n prompts as `prompt_ids` gives them.
            candidates: n lists of candidates as `candidate_ids` gives them.
            constrained: Renormalise at each step over the tokens that the prompt's candidates
                allow, instead of over the vocabulary.

        Raises:
            ModelError: A likelihood is not a number, or there is not even memory for one prompt.
        """
        ...

    def bound_memory(self, mebibytes: float) -> None:
        """Lower ``limits`` so that scoring takes about so many MiB beside the weights."""
        ...

    def read(self, prompts: Sequence[Sequence[int]]) -> Any:
        """See `likelihoods.TreeReader`."""
        ...

    def memory_log_likelihoods(
        self, memory: Any, candidates: Sequence[Sequence[int]]
    ) -> Likelihoods:
        """See `likelihoods.memory_log_likelihoods`: after one prompt that `read` has read."""
        ...

    def follow(self, memory: Any, tree: Any) -> Tensor:
        """See `likelihoods.TreeReader`."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """See `likelihoods.TreeReader`."""
        ...

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 128) -> list[str]:
        """Greedy text after each prompt, in words."""
        ...

    def save(self, folder: Path) -> None:
        """Write config, weights (safetensors) and tokenizer in the ordinary transformers layout."""
        ...
