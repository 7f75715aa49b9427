"""Causal backbones: Llama, Qwen, Mistral, GPT-2 and their like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from instructrec.backbones.base import (
    MAX_CANDIDATE_TOKENS,
    MAX_TOKENS,
    Batch,
    EncodedExample,
    LossParts,
    Prompt,
)
from instructrec.backbones.common import Language, pad
from instructrec.backbones.likelihoods import TreeInput
from instructrec.backbones.limits import is_out_of_memory
from instructrec.backbones.unshared import UnsharedMemory, follow_unshared, read_unshared


@dataclass(frozen=True)
class CausalMemory:
    """Keys and values of prompts that were read.

    Attributes:
        last: (prompts, width) hidden state of each prompt's last token.
        layers: For each layer keys and values, (prompts, heads, tokens, head width).
        lengths: (prompts,) how many of the tokens are the prompt's; the others are padding.
    """

    last: Tensor
    layers: list[tuple[Tensor, Tensor]]
    lengths: Tensor

    def select(self, rows: Tensor) -> CausalMemory:
        """Some of the prompts."""
        rows = rows.to(self.last.device)
        layers = [(keys[rows], values[rows]) for keys, values in self.layers]
        return CausalMemory(self.last[rows], layers, self.lengths[rows])


class CausalBackbone(Language):
    """A causal language model; every title of the history is a target as well."""

    family = "causal"

    def encode(
        self,
        rendered: Prompt | str,
        response: str,
        max_tokens: int = MAX_TOKENS,
        asks: str = "item",
    ) -> EncodedExample:
        """See `base.Backbone.encode`; ``max_tokens`` holds prompt and response."""
        return self.example(rendered, response, max_tokens, asks)

    def collate(self, examples: Sequence[EncodedExample]) -> Batch:
        """See `base.Backbone.collate`."""
        ids, mask = pad([one.prompt + one.response for one in examples], self._pad_id)
        width = ids.shape[1]
        response: list[int] = []
        span: list[int] = []
        for row, one in enumerate(examples):
            base, cut = row * width, len(one.prompt)
            response += range(base + cut, base + len(one))
            span += [base + at for start, end in one.spans for at in range(start, end) if at]
        flat = ids.flatten()
        response_at, span_at = (torch.tensor(at, dtype=torch.long) for at in (response, span))
        return Batch(
            ids, mask, None, response_at - 1, flat[response_at], span_at - 1, flat[span_at]
        )

    def loss_parts(self, batch: Batch) -> LossParts:
        """See `base.Backbone.loss_parts`."""
        # Padding stands on the right, where a causal model never looks: no mask is needed.
        hidden = self._body(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        return self.parts(hidden.flatten(0, 1), batch)

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 128) -> list[str]:
        """See `base.Backbone.generate`."""
        self.model.eval()
        ids, mask = pad(self.prompt_ids(prompts, asks="words"), self._pad_id, left=True)
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=self._pad_id,
                eos_token_id=self.codec.end[0],
            )
        texts = self.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]

    def read(self, prompts: Sequence[Sequence[int]]) -> CausalMemory | UnsharedMemory:
        """See `likelihoods.TreeReader`."""
        longest = max(map(len, prompts)) + MAX_CANDIDATE_TOKENS
        window = window_of(self.model.config)
        if not self.can_share or (window is not None and longest > window):
            return read_unshared(self._states, prompts, self.limits.prompt_tokens)
        return self._read(prompts)

    def follow(self, memory: CausalMemory | UnsharedMemory, tree: TreeInput) -> Tensor:
        """See `likelihoods.TreeReader`; all candidates share the prompt's keys and values."""
        if isinstance(memory, UnsharedMemory):
            return follow_unshared(self._states, memory, tree)
        return self._follow(memory, tree)

    @cached_property
    def can_share(self) -> bool:
        """Whether candidates may hang below one reading of their prompt.

        So it is for every architecture whose layers see other tokens through a mask and
        positions alone; that this one is of the kind is tried out, once, on a few tokens.
        """
        ids = torch.arange(1, 9) % self.model.config.get_text_config().vocab_size
        prompt, first, second = ids[:4].tolist(), ids[4:8].tolist(), ids[[4, 7, 5]].tolist()
        depths = torch.tensor([[0, 1, 2, 3, 1, 2]])
        mask = torch.ones(6, 6, dtype=torch.bool).tril()
        mask[4:, 1:4] = False
        tree = TreeInput(torch.tensor([first + second[1:]]), depths, mask[None])
        self.model.eval()
        with torch.inference_mode():
            try:
                packed = self._follow(self._read([prompt]), tree)[0]
            except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
                if is_out_of_memory(error):
                    raise
                return False
            plain = torch.cat(
                [self._states([prompt + first])[0, 4:], self._states([prompt + second])[0, 5:]]
            )
        gap = (packed - plain).norm() / plain.norm()
        return bool(gap < (1e-3 if self.model.dtype == torch.float32 else 5e-2))

    def _states(self, sequences: list[list[int]]) -> Tensor:
        ids, mask = (part.to(self.device) for part in pad(sequences, self._pad_id))
        hidden: Tensor = self._body(
            input_ids=ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return hidden

    def _read(self, prompts: Sequence[Sequence[int]]) -> CausalMemory:
        from transformers import DynamicCache

        ids, mask = pad(prompts, self._pad_id)
        cache = DynamicCache()
        hidden = self._body(
            input_ids=ids.to(self.device), past_key_values=cache, use_cache=True
        ).last_hidden_state
        lengths = mask.sum(1).to(self.device)
        last = hidden[torch.arange(len(lengths), device=self.device), lengths - 1]
        return CausalMemory(last, [(layer.keys, layer.values) for layer in cache.layers], lengths)

    def _follow(self, memory: CausalMemory, tree: TreeInput) -> Tensor:
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(memory.layers):
            cache.update(keys, values, index)
        width = memory.layers[0][0].shape[2]
        seen = torch.arange(width, device=self.device) < memory.lengths[:, None]
        rows, nodes = tree.tokens.shape
        allowed = torch.cat(
            [seen[:, None].expand(rows, nodes, width), tree.mask.to(self.device)], dim=-1
        )
        hidden: Tensor = self._body(
            input_ids=tree.tokens.to(self.device),
            attention_mask=additive(allowed, self.model.dtype)[:, None],
            position_ids=memory.lengths[:, None] + tree.depths.to(self.device),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def head_output(self, logits: Tensor) -> Tensor:
        """Some architectures scale (Granite, Cohere) or squash (Gemma) their logits."""
        config = self.model.config
        if scaling := getattr(config, "logits_scaling", None):
            logits = logits / scaling
        if scale := getattr(config, "logit_scale", None):
            logits = logits * scale
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    @property
    def _body(self) -> Any:
        return self.model.base_model

    @property
    def _pad_id(self) -> int:
        pad_id = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad_id is None else pad_id)


def window_of(config: Any) -> int | None:
    """How far back a model of sliding attention sees, None where it sees everything."""
    config = config.get_text_config()
    layers = getattr(config, "layer_types", None)
    if layers is not None and "sliding_attention" not in layers:
        return None
    window = getattr(config, "sliding_window", None)
    return None if window is None else int(window)


def additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to add to attention scores: 0 where allowed, the lowest number elsewhere."""
    zero = torch.zeros((), dtype=dtype, device=allowed.device)
    return torch.where(allowed, zero, torch.finfo(dtype).min)
