"""Text from a language model in memory: conversations in, answers out, in bounded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from instructrec.backbones.base import Backbone
from instructrec.backbones.common import Language, pad
from instructrec.backbones.limits import is_out_of_memory
from instructrec.backbones.loading import load
from instructrec.errors import ModelError, UsageError
from instructrec.hashing import stable_hash
from instructrec.protocols import Chat, Generated

BATCH_TOKENS = {"cpu": 8192}
"""Tokens that a batch may come to, answers included; `_ON_A_GPU` on other devices."""
_ON_A_GPU = 65536


class Generator:
    """A `TextGenerator` over a transformers model, causal or sequence-to-sequence.

    A causal model with a chat template is asked by it; others read the turns as paragraphs of one
    text. Whatever stands in a turn is read as ordinary text: no words of a review can end a turn
    or speak for somebody else.

    Prompts of like length are batched, with padding on the left of causal ones, so that no batch
    is longer than ``batch_tokens``; where memory runs out the batch is halved.

    Args:
        backbone: From `instructrec.backbones.load`.
        temperature: 0 takes the likeliest token each time; else tokens are drawn.
        seed: Seeds the draws, with each conversation's own words: an answer does not depend on
            what it is batched with, but for rounding.
        batch_tokens: Tokens that a batch may come to, answers included.

    Raises:
        UsageError: The model is exported, which writes no text.

    Example:
        >>> Generator(load("smollm2-135m-instruct"))  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        batch_tokens: int | None = None,
    ) -> None:
        if not isinstance(backbone, Language):
            raise UsageError(
                f"{backbone.name} is an exported model, which only ranks",
                "Name the model that it was made of",
            )
        self.backbone = backbone
        self.temperature = temperature
        self.seed = seed
        usual = BATCH_TOKENS.get(backbone.device.type, _ON_A_GPU)
        self.batch_tokens = batch_tokens or usual
        self._frames: dict[tuple[str, ...], list[list[int]] | None] = {}

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        temperature: float = 0.0,
        seed: int = 0,
        batch_tokens: int | None = None,
    ) -> Generator:
        """Load a model (see `instructrec.backbones.load` for names, dtypes, devices, errors)."""
        backbone = load(path_or_name, dtype, device)
        return cls(backbone, temperature=temperature, seed=seed, batch_tokens=batch_tokens)

    def prompt_ids(self, chat: Chat) -> list[int]:
        """Token ids of a conversation, up to where its answer begins."""
        codec = self.backbone.codec
        chat = [(role, words.strip()) for role, words in chat]
        frame = self._frame(tuple(role for role, _ in chat)) if self._has_template else None
        if frame is None and self._has_template and len(chat) > 1 and chat[0][0] == "system":
            # Some templates know no system: what it says then opens the first turn.
            chat = [(chat[1][0], f"{chat[0][1]}\n\n{chat[1][1]}"), *chat[2:]]
            frame = self._frame(tuple(role for role, _ in chat))
        if frame is None:
            text = "\n\n".join(words for _, words in chat)
            return [*codec.head, *codec.ids([text])[0], *codec.tail[False]]
        ids = list(frame[0])
        said = codec.ids([words for _, words in chat])
        for words, between in zip(said, frame[1:], strict=True):
            ids += words + between
        return ids

    @property
    def _has_template(self) -> bool:
        is_causal = self.backbone.family == "causal"
        return is_causal and bool(getattr(self.backbone.tokenizer, "chat_template", None))

    def _frame(self, roles: tuple[str, ...]) -> list[list[int]] | None:
        """Ids of what a chat template puts around turns of these roles; none where it cannot."""
        if roles not in self._frames:
            self._frames[roles] = _frame_of(self.backbone.tokenizer, roles)
        return self._frames[roles]

    @cached_property
    def _ends(self) -> list[int]:
        config = getattr(self.backbone.model, "generation_config", None)
        more = getattr(config, "eos_token_id", None)
        ends = [self.backbone.codec.end[0]]
        ends += more if isinstance(more, list) else [] if more is None else [more]
        return list(dict.fromkeys(ends))

    def generate(
        self, chats: Sequence[Chat], max_new_tokens: Sequence[int]
    ) -> Iterator[tuple[int, Generated]]:
        """See `TextGenerator.generate`; longest answers and prompts first.

        A prompt that leaves no room in the model's window has an error for an answer.

        Raises:
            ModelError: There is not even memory for one conversation.
        """
        prompts = [self.prompt_ids(chat) for chat in chats]
        waiting: list[int] = []
        for at, (ids, room) in enumerate(zip(prompts, max_new_tokens, strict=True)):
            if self._window is not None and len(ids) + room > self._window:
                told = f"the prompt's {len(ids)} tokens and {room} more exceed {self._window}"
                yield at, Generated("", len(ids), 0, told)
            else:
                waiting.append(at)
        waiting.sort(key=lambda at: (-max_new_tokens[at], -len(prompts[at]), at))
        for batch in self._batches(waiting, prompts, max_new_tokens):
            yield from self._answered(batch, prompts, max_new_tokens[batch[0]])

    @cached_property
    def _window(self) -> int | None:
        """Tokens that a causal model has positions for."""
        if self.backbone.family == "seq2seq":
            return None
        positions = getattr(self.backbone.model.config, "max_position_embeddings", None)
        return None if positions is None else int(positions)

    def _batches(
        self, order: list[int], prompts: list[list[int]], rooms: Sequence[int]
    ) -> Iterator[list[int]]:
        batch: list[int] = []
        longest = 0
        for at in order:
            longest = max(longest, len(prompts[at]))
            size = (len(batch) + 1) * (longest + rooms[at])
            if batch and (rooms[at] != rooms[batch[0]] or size > self.batch_tokens):
                yield batch
                batch, longest = [], len(prompts[at])
            batch.append(at)
        if batch:
            yield batch

    def _answered(
        self, batch: list[int], prompts: list[list[int]], room: int
    ) -> Iterator[tuple[int, Generated]]:
        try:
            answers = self._written([prompts[at] for at in batch], room)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ModelError(
                    f"{self.backbone.name} has no memory for a prompt of "
                    f"{len(prompts[batch[0]])} tokens",
                    "Take a smaller model, or shorter texts",
                ) from error
            half = len(batch) // 2
            yield from self._answered(batch[:half], prompts, room)
            yield from self._answered(batch[half:], prompts, room)
            return
        for at, ids in zip(batch, answers, strict=True):
            text = self.backbone.tokenizer.decode(ids, skip_special_tokens=True).strip()
            yield at, Generated(text, len(prompts[at]), len(ids))

    def _written(self, prompts: list[list[int]], room: int) -> list[list[int]]:
        """Ids of each answer, its end token included."""
        model, is_causal = self.backbone.model, self.backbone.family == "causal"
        padding = self.backbone.tokenizer.pad_token_id
        padding = self._ends[0] if padding is None else int(padding)
        ids, mask = pad(prompts, padding, left=is_causal)
        draws: list[Any] = []
        if self.temperature > 0:
            draws.append(_Drawn(prompts, self.temperature, self.seed))
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=room,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                logits_processor=draws,
                pad_token_id=padding,
                eos_token_id=self._ends,
            )
        return [self._cut(line) for line in out[:, ids.shape[1] if is_causal else 1 :].tolist()]

    def _cut(self, ids: list[int]) -> list[int]:
        end = next((at for at, token in enumerate(ids) if token in self._ends), len(ids) - 1)
        return ids[: end + 1]


class _Drawn:
    """Turns the likeliest token into a drawn one, by each prompt's own generator (Gumbel's trick).

    The likeliest of logits / temperature + Gumbel noise is a draw from their softmax.
    """

    def __init__(self, prompts: list[list[int]], temperature: float, seed: int) -> None:
        self.temperature = temperature
        self.generators = [
            torch.Generator().manual_seed(stable_hash(seed, *ids) % 2**63) for ids in prompts
        ]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        width = scores.shape[-1]
        noise = torch.stack(
            [torch.empty(width).exponential_(generator=one) for one in self.generators]
        )
        return scores.float() / self.temperature - noise.log().to(scores.device)


def _frame_of(tokenizer: Any, roles: tuple[str, ...]) -> list[list[int]] | None:
    marks = [f"\u27e6turn {number}\u27e7" for number in range(len(roles))]
    turns = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception:  # whatever a template raises by itself: it knows no such role or order
        return None
    places = [text.find(mark) for mark in marks]
    if -1 in places or places != sorted(places):
        return None
    edges = [0]
    for at, mark in zip(places, marks, strict=True):
        edges += [at, at + len(mark)]
    pieces = [text[start:stop] for start, stop in pairwise([*edges, len(text)])][::2]
    backend = tokenizer.backend_tokenizer
    before, backend.encode_special_tokens = backend.encode_special_tokens, False
    try:
        return [backend.encode(piece, add_special_tokens=False).ids for piece in pieces]
    finally:
        backend.encode_special_tokens = before
