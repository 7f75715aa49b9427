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
from instructrec.backbones.likelihoods import Memory, TreeInput, tree_log_likelihoods
from instructrec.backbones.tokens import TITLE_FORMS, Codec, codec_for


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

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.device
        return device

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

    def edge_logits(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """See `likelihoods.TreeReader`; only the needed rows of the vocabulary are touched."""
        head = self.model.get_output_embeddings()
        chosen: Tensor = (self.head_input(hidden) * head.weight[tokens]).sum(-1)
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


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


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
