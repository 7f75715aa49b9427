"""What both families of backbones share: texts to ids, batches, saving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from instructrec.backbones._quiet import quiet
from instructrec.backbones.base import (
    MAX_CANDIDATE_TOKENS,
    MAX_TOKENS,
    EncodedExample,
    Family,
    Likelihoods,
    LossParts,
    Prompt,
)
from instructrec.backbones.likelihoods import (
    Memory,
    TreeInput,
    memory_log_likelihoods,
    tree_log_likelihoods,
)
from instructrec.backbones.limits import Cost, Limits
from instructrec.backbones.tokens import TITLE_FORMS, Codec, codec_for

_INNER = ("intermediate_size", "d_ff", "n_inner")
"""Names of the feed-forward width in configurations."""


VOCABULARY_SLICE = {"cpu": 2048}
"""Tokens whose logits are made at once where only their sum is wanted; all on other devices."""


class Language:
    """A transformers model with its tokenizer; see `base.Backbone` for what it can do.

    Args:
        model: A transformers model.
        tokenizer: Its fast tokenizer.
        name: What it was made or loaded from.
    """

    family: Family

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.codec: Codec = codec_for(tokenizer, causal=self.family == "causal")
        self._limits: Limits | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.device
        return device

    @property
    def limits(self) -> Limits:
        """The most that is read at once; what is fastest on the device unless set."""
        return self._limits or Limits.usual(self.device.type)

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits

    def bound_memory(self, mebibytes: float) -> None:
        """Read no more at once than about so many MiB hold, beside the weights.

        One prompt and a small block of candidates are always read, whatever they take.
        """
        self.limits = Limits.usual(self.device.type).within(mebibytes, self._cost())

    def _cost(self) -> Cost:
        config = self.model.config.get_text_config()
        size, width = self.model.dtype.itemsize, int(config.hidden_size)
        inner = next(
            (found for name in _INNER if (found := getattr(config, name, None))), 4 * width
        )
        layers, heads = int(config.num_hidden_layers), int(config.num_attention_heads)
        return Cost(
            token=size * (2 * layers * width + 6 * width + 3 * int(inner)),
            pair=size * 3 * heads + 9,
            row=self.vocabulary * (4 + size),
        )

    @property
    def vocabulary(self) -> int:
        """How many tokens the output head knows."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    def prompt_ids(
        self, prompts: Sequence[Prompt | str], max_tokens: int = MAX_TOKENS, asks: str = "item"
    ) -> list[list[int]]:
        """See `base.Backbone.prompt_ids`."""
        is_title, max_tokens = asks in TITLE_FORMS, self._room(max_tokens)
        return [self.codec.prompt(prompt, max_tokens, is_title).prompt for prompt in prompts]

    def _room(self, max_tokens: int) -> int:
        """``max_tokens``, or as many as the positions of a causal model leave for a prompt."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if self.family == "seq2seq" or positions is None:
            return max_tokens
        return min(max_tokens, max(int(positions) - MAX_CANDIDATE_TOKENS, 16))

    def candidate_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See `base.Backbone.candidate_ids`."""
        return self.codec.responses(texts)

    def token_log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[Sequence[int]]],
        constrained: bool = False,
    ) -> list[Likelihoods]:
        """See `base.Backbone.token_log_likelihoods`."""
        self.model.eval()
        return tree_log_likelihoods(self, prompts, candidates, constrained)

    def memory_log_likelihoods(
        self, memory: Memory, candidates: Sequence[Sequence[int]]
    ) -> Likelihoods:
        """See `base.Backbone.memory_log_likelihoods`."""
        self.model.eval()
        return memory_log_likelihoods(self, memory, candidates)

    def save(self, folder: Path) -> None:
        """See `base.Backbone.save`."""
        with quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def read(self, prompts: Sequence[Sequence[int]]) -> Memory:
        """See `likelihoods.TreeReader`."""
        raise NotImplementedError

    def follow(self, memory: Any, tree: TreeInput) -> Tensor:
        """See `likelihoods.TreeReader`."""
        raise NotImplementedError

    def head_input(self, hidden: Tensor) -> Tensor:
        """Hidden states as the output head takes them."""
        return hidden

    def head_output(self, logits: Tensor) -> Tensor:
        """Logits as the model means them, from what its output head gives."""
        return logits

    def logits(self, hidden: Tensor) -> Tensor:
        """See `likelihoods.TreeReader`."""
        head = self.model.get_output_embeddings()
        return self.head_output(_at_least_float32(head(self.head_input(hidden))))

    def log_normalizers(self, hidden: Tensor) -> Tensor:
        """See `likelihoods.TreeReader`; a slice of the vocabulary at a time, so that its logits
        stay in the cache and are never written to memory."""
        head, rows = self.model.get_output_embeddings(), self.head_input(hidden)
        bias = getattr(head, "bias", None)
        width = VOCABULARY_SLICE.get(hidden.device.type, len(head.weight))
        most = torch.full((len(rows), 1), -torch.inf, device=rows.device, dtype=_wide(rows.dtype))
        total = torch.zeros_like(most)
        buffer = torch.empty((len(rows), width), device=rows.device, dtype=rows.dtype)
        for start in range(0, len(head.weight), width):
            weight = head.weight[start : start + width]
            logits = buffer[:, : len(weight)]
            torch.mm(rows, weight.t(), out=logits)
            if bias is not None:
                logits += bias[start : start + width]
            scores = self.head_output(_at_least_float32(logits))
            before, most = most, torch.maximum(most, scores.amax(dim=-1, keepdim=True))
            # What is e^80 times less likely than the likeliest token changes no digit of the sum,
            # and numbers so small are slow to compute with.
            odds = scores.sub_(most).clamp_(min=-80).exp_().sum(dim=-1, keepdim=True)
            total = total * (before - most).exp() + odds
        return (most + total.log())[:, 0]

    def edge_logits(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """See `likelihoods.TreeReader`; only the needed rows of the vocabulary are touched."""
        head = self.model.get_output_embeddings()
        rows = _at_least_float32(self.head_input(hidden))
        chosen: Tensor = (rows * head.weight[tokens]).sum(-1)
        if getattr(head, "bias", None) is not None:
            chosen = chosen + head.bias[tokens]
        return self.head_output(_at_least_float32(chosen))

    def example(
        self, rendered: Prompt | str, response: str, max_tokens: int, asks: str
    ) -> EncodedExample:
        """Prompt and response ids of one example, the response cut to half of ``max_tokens``."""
        max_tokens = self._room(max_tokens)
        target = self.codec.responses([response], max_tokens=max(max_tokens // 2, 2))[0]
        room = max_tokens - (len(target) if self.family == "causal" else 0)
        return replace(self.codec.prompt(rendered, room, asks in TITLE_FORMS), response=target)

    def parts(self, hidden: Tensor, batch: Any) -> LossParts:
        """The loss of a batch from its flattened hidden states."""
        count = len(batch.response_at)
        at = torch.cat([batch.response_at, batch.span_at])
        labels = torch.cat([batch.response_labels, batch.span_labels])
        nll = F.cross_entropy(self.logits(hidden[at]), labels, reduction="none")
        tokens = [torch.tensor(n, device=nll.device) for n in (count, len(labels) - count)]
        return LossParts(nll[:count].sum(), tokens[0], nll[count:].sum(), tokens[1])


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(_wide(values.dtype))


def pad(rows: Sequence[Sequence[int]], value: int, left: bool = False) -> tuple[Tensor, Tensor]:
    """Rows of ids as one (rows, longest) tensor, and the mask of what is not padding."""
    width = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), width), value, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for line, row in enumerate(rows):
        span = slice(width - len(row), width) if left else slice(0, len(row))
        ids[line, span] = torch.tensor(row, dtype=torch.long)
        mask[line, span] = 1
    return ids, mask
