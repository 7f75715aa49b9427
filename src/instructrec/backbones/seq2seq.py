"""Sequence-to-sequence backbones: T5, Flan-T5, mT5 and their like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from instructrec.backbones import t5_stacks
from instructrec.backbones.base import MAX_TOKENS, Batch, EncodedExample, LossParts, Prompt
from instructrec.backbones.common import Language, pad
from instructrec.backbones.likelihoods import TreeInput
from instructrec.backbones.t5_stacks import Layers


@dataclass
class Seq2SeqMemory:
    """Prompts that were encoded.

    Attributes:
        layers: For each decoder layer keys and values of the encoder states, computed once.
        mask: (prompts, 1, 1, tokens) additive mask of the encoder's padding; none where all
            prompts are of one length.
        decode: Decoder states of the start token and of a tree's nodes.
        start: (prompts, width) decoder state of the start token, once it is known.
    """

    layers: Layers
    mask: Tensor | None
    decode: Decode
    start: Tensor | None = None

    @property
    def last(self) -> Tensor:
        """(prompts, width) the state that predicts a first token; it comes with the first tree."""
        if self.start is None:
            rows = self.layers[0][0].shape[0]
            nothing = torch.zeros((rows, 0), dtype=torch.long)
            self.decode(self, TreeInput(nothing, nothing, nothing[:, :, None].bool()))
        assert self.start is not None
        return self.start

    def select(self, rows: Tensor) -> Seq2SeqMemory:
        """Some of the prompts."""
        rows = rows.to(self.layers[0][0].device)
        return Seq2SeqMemory(
            [(keys[rows], values[rows]) for keys, values in self.layers],
            None if self.mask is None else self.mask[rows],
            self.decode,
            None if self.start is None else self.start[rows],
        )


Decode = Callable[[Seq2SeqMemory, TreeInput], Tensor]


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
        encoded = t5_stacks.encode(self.model.encoder, ids, mask)
        is_padded = bool((mask == 0).any())
        return Seq2SeqMemory(
            t5_stacks.cross_layers(self.model.decoder, encoded),
            t5_stacks.padding(mask, encoded.dtype) if is_padded else None,
            self._decode,
        )

    def follow(self, memory: Seq2SeqMemory, tree: TreeInput) -> Tensor:
        """See `likelihoods.TreeReader`; candidates share cross-attention keys and values."""
        return self._decode(memory, tree)[:, 1:]

    def head_input(self, hidden: Tensor) -> Tensor:
        """Original T5 scales what goes into its tied head; v1.1 and Flan do not."""
        config = self.model.config
        is_scaled = getattr(config, "scale_decoder_outputs", False)  # mT5 has no such setting
        return hidden * float(config.d_model) ** -0.5 if is_scaled else hidden

    def _decode(self, memory: Seq2SeqMemory, tree: TreeInput) -> Tensor:
        """Decoder states of the start token and of tree nodes, (prompts, 1 + nodes, width)."""
        start = torch.full((len(tree.tokens), 1), self.model.config.decoder_start_token_id)
        tokens = torch.cat([start, tree.tokens], dim=1).to(self.device)
        groups, at = tree.lines_with_root()
        lines = t5_stacks.Lines(
            [torch.from_numpy(group).to(self.device) for group in groups],
            torch.from_numpy(at).to(self.device),
        )
        states = t5_stacks.decode(self.model.decoder, tokens, lines, memory.layers, memory.mask)
        memory.start = states[:, 0]
        return states

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)
