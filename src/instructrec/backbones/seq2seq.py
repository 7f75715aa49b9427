"""Sequence-to-sequence backbones: T5, Flan-T5, mT5 and their like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from instructrec.backbones.base import MAX_TOKENS, Batch, EncodedExample, LossParts, Prompt
from instructrec.backbones.causal import additive
from instructrec.backbones.common import Language, pad
from instructrec.backbones.likelihoods import TreeInput


@dataclass(frozen=True)
class Seq2SeqMemory:
    """Prompts that were encoded.

    Attributes:
        last: (prompts, width) decoder state of the start token.
        encoded: (prompts, tokens, width) encoder states.
        mask: (prompts, 1, 1, tokens) additive mask of the encoder's padding.
        cross: For each decoder layer keys and values of the encoder states, computed once.
    """

    last: Tensor
    encoded: Tensor
    mask: Tensor
    cross: Any

    def select(self, rows: Tensor) -> Seq2SeqMemory:
        """Some of the prompts."""
        rows = rows.to(self.last.device)
        cross = _cross_cache([(k[rows], v[rows]) for k, v in _layers(self.cross)])
        return Seq2SeqMemory(self.last[rows], self.encoded[rows], self.mask[rows], cross)


class Seq2SeqBackbone(Language):
    """A T5-shaped model; it learns from the response alone."""

    family = "seq2seq"

    def encode(
        self,
        rendered: Prompt | str,
        response: str,
        max_tokens: int = MAX_TOKENS,
        asks: str = "item",
    ) -> EncodedExample:
        """See `base.Backbone.encode`; ``max_tokens`` holds the prompt."""
        example = self.example(rendered, response, max_tokens, asks)
        return EncodedExample(example.prompt, example.response, [])

    def collate(self, examples: Sequence[EncodedExample]) -> Batch:
        """See `base.Backbone.collate`."""
        ids, mask = pad([one.prompt for one in examples], self._pad_id)
        start = self.model.config.decoder_start_token_id
        decoder_ids, _ = pad([[start, *one.response[:-1]] for one in examples], self._pad_id)
        width = decoder_ids.shape[1]
        at = [
            row * width + step
            for row, one in enumerate(examples)
            for step in range(len(one.response))
        ]
        labels = [token for one in examples for token in one.response]
        none = torch.empty(0, dtype=torch.long)
        return Batch(ids, mask, decoder_ids, torch.tensor(at), torch.tensor(labels), none, none)

    def loss_parts(self, batch: Batch) -> LossParts:
        """See `base.Backbone.loss_parts`."""
        encoded = self.model.encoder(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask
        ).last_hidden_state
        hidden = self.model.decoder(
            input_ids=batch.decoder_input_ids,
            encoder_hidden_states=encoded,
            encoder_attention_mask=batch.attention_mask,
            use_cache=False,
        ).last_hidden_state
        return self.parts(hidden.flatten(0, 1), batch)

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 128) -> list[str]:
        """See `base.Backbone.generate`."""
        self.model.eval()
        ids, mask = pad(self.prompt_ids(prompts, asks="words"), self._pad_id)
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
            )
        texts = self.tokenizer.batch_decode(out, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def read(self, prompts: Sequence[Sequence[int]]) -> Seq2SeqMemory:
        """See `likelihoods.TreeReader`."""
        ids, mask = (part.to(self.device) for part in pad(prompts, self._pad_id))
        encoded = self.model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        cross_mask = additive(mask[:, None, None].bool(), self.model.dtype)
        memory = Seq2SeqMemory(encoded[:, 0], encoded, cross_mask, _cross_cache([]))
        nothing = torch.zeros((len(prompts), 0), dtype=torch.long)
        start = self._decode(memory, TreeInput(nothing, nothing, nothing[:, None].bool()))
        return Seq2SeqMemory(start[:, 0], encoded, cross_mask, memory.cross)

    def follow(self, memory: Seq2SeqMemory, tree: TreeInput) -> Tensor:
        """See `likelihoods.TreeReader`; candidates share cross-attention keys and values."""
        return self._decode(memory, tree)[:, 1:]

    def head_input(self, hidden: Tensor) -> Tensor:
        """Original T5 scales what goes into its tied head; v1.1 and Flan do not."""
        config = self.model.config
        is_scaled = getattr(config, "scale_decoder_outputs", False)  # mT5 has no such setting
        return hidden * float(config.d_model) ** -0.5 if is_scaled else hidden

    def _decode(self, memory: Seq2SeqMemory, tree: TreeInput) -> Tensor:
        """Decoder states of the start token and of tree nodes, (prompts, 1 + nodes, width).

        The decoder's own layers run on the packed tree: self-attention sees a node's ancestors
        by its mask and their distance by its position bias, cross-attention sees all nodes of a
        prompt as one long query against the prompt's keys and values.
        """
        decoder = self.model.decoder
        rows, nodes = tree.tokens.shape
        start = torch.full((rows, 1), self.model.config.decoder_start_token_id)
        tokens = torch.cat([start, tree.tokens], dim=1).to(self.device)
        places = torch.cat([torch.zeros_like(start), tree.depths + 1], dim=1).to(self.device)
        allowed = torch.ones((rows, nodes + 1, nodes + 1), dtype=torch.bool, device=self.device)
        allowed[:, 0, 1:] = False
        allowed[:, 1:, 1:] = tree.mask
        bias = self._position_bias(places) + additive(allowed, self.model.dtype)[:, None]
        hidden, cross_bias = decoder.embed_tokens(tokens), None
        no_mask = torch.zeros((), dtype=self.model.dtype, device=self.device)
        for block in decoder.block:
            hidden = block.layer[0](hidden, attention_mask=no_mask, position_bias=bias)[0]
            hidden, cross_bias = block.layer[1](
                hidden,
                key_value_states=memory.encoded,
                attention_mask=memory.mask,
                position_bias=cross_bias,
                past_key_values=memory.cross,
            )[:2]
            hidden = block.layer[-1](hidden)
        final: Tensor = decoder.final_layer_norm(hidden)
        return final

    def _position_bias(self, places: Tensor) -> Tensor:
        """(prompts, heads, nodes, nodes) relative position bias between tree nodes."""
        attention = self.model.decoder.block[0].layer[0].SelfAttention
        width = int(places.max()) + 1
        table = attention.compute_bias(width, width, device=self.device)[0]
        bias: Tensor = table[:, places[:, :, None], places[:, None, :]].transpose(0, 1)
        return bias

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)


def _cross_cache(layers: list[tuple[Tensor, Tensor]]) -> Any:
    from transformers import DynamicCache, EncoderDecoderCache

    cross = DynamicCache()
    for index, (keys, values) in enumerate(layers):
        cross.update(keys, values, index)
    cache = EncoderDecoderCache(DynamicCache(), cross)
    cache.is_updated = dict.fromkeys(range(len(layers)), True)
    return cache


def _layers(cache: Any) -> list[tuple[Tensor, Tensor]]:
    return [(layer.keys, layer.values) for layer in cache.cross_attention_cache.layers]
