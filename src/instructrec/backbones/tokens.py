"""How an instruction becomes token ids: own cues, chat templates, or plain text."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from instructrec.backbones.base import MAX_CANDIDATE_TOKENS, EncodedExample, Prompt
from instructrec.backbones.vocabulary import BOS, END, ITEM, SAY, is_own
from instructrec.errors import ModelError

_SEPARATOR = re.compile(r"[\s\W\d_]*")
"""What may be dropped together with a title: line breaks, numbers, signs; never words."""

_MARK = "\u27e6instruction\u27e7"
_CACHE_LIMIT = 200_000

TITLE_FORMS = frozenset({"item", "which"})
"""Response forms that are a title; all others are words."""


@dataclass
class Codec:
    """Texts to ids for one tokenizer; special tokens inside a text are read as ordinary text.

    Attributes:
        tokenizer: A fast transformers tokenizer.
        head: Ids before a prompt.
        tail: Ids after a prompt, for titles and for words.
        title_head: Ids before a title, in the history and as a response.
        end: Ids after a response, and after a title of the history that has a head.
        space: What stands before every title and response, so that a word at the start of a
            title has the token it has elsewhere.
        own: Whether the tokenizer is ours, so that titles are tokenised apart from the words.
    """

    tokenizer: Any
    head: list[int] = field(default_factory=list)
    tail: dict[bool, list[int]] = field(default_factory=lambda: {True: [], False: []})
    title_head: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    space: str = ""
    own: bool = False
    _known: dict[str, list[int]] = field(default_factory=dict, repr=False)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts, nothing added; texts seen lately are remembered."""
        missing = list(dict.fromkeys(text for text in texts if text not in self._known))
        if missing:
            if len(self._known) + len(missing) > _CACHE_LIMIT:
                self._known.clear()
                missing = list(dict.fromkeys(texts))
            self._known.update(zip(missing, self._encode(missing), strict=True))
        return [self._known[text] for text in texts]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        return [code.ids for code in backend.encode_batch(texts, add_special_tokens=False)]

    def responses(
        self, texts: Sequence[str], max_tokens: int = MAX_CANDIDATE_TOKENS
    ) -> list[list[int]]:
        """Ids of titles or words and their end, cut to ``max_tokens``; no text: the end alone."""
        room = max_tokens - len(self.end)
        padded = [self.space + text if text else "" for text in texts]
        return [ids[:room] + self.end for ids in self.ids(padded)]

    def prompt(self, prompt: Prompt | str, max_tokens: int, is_title: bool) -> EncodedExample:
        """Ids of a prompt with its cue, and where history titles stand in them.

        Raises:
            ModelError: ``max_tokens`` does not even hold the cues.
        """
        tail = self.tail[is_title]
        room = max_tokens - len(self.head) - len(tail)
        if room < 1:
            raise ModelError(f"{max_tokens} tokens leave no room for a prompt", "Allow more tokens")
        if isinstance(prompt, str):
            pieces = [Piece(self.ids([prompt])[0])]
        else:
            pieces = self._cut(prompt) if self.own else self._whole(prompt)
        ids = list(self.head)
        spans = []
        for piece in fit(pieces, room):
            if piece.is_title:
                spans.append((len(ids) + len(self.title_head), len(ids) + len(piece.ids)))
            ids += piece.ids
        return EncodedExample(ids + tail, [], spans)

    def _cut(self, prompt: Prompt) -> list[Piece]:
        """Words and titles tokenised apart, a title as a response is."""
        text, at, texts = prompt.text, 0, []
        for start, end in prompt.title_spans:
            texts += [text[at:start].removesuffix(self.space), text[start:end]]
            at = end
        texts.append(text[at:])
        words, titles = self.ids(texts[::2]), texts[1::2]
        if self.title_head:
            marked = [self.title_head + ids for ids in self.responses(titles)]
        else:
            marked = self.ids([self.space + title for title in titles])
        pieces = [Piece(words[0])]
        for title, between, ids in zip(marked, texts[2::2], words[1:], strict=True):
            pieces += [Piece(title, is_title=True), Piece(ids, _separates(between))]
        return [*pieces[:-1], Piece(words[-1])]

    def _whole(self, prompt: Prompt) -> list[Piece]:
        """The text tokenised in one go, as the checkpoint saw text, then cut at the titles."""
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        code = backend.encode(prompt.text, add_special_tokens=False)
        pieces, at, last = [], 0, 0
        starts, ends = ([offset[side] for offset in code.offsets] for side in (0, 1))
        for start, end in prompt.title_spans:
            first = bisect_right(ends, start, lo=at)
            stop = bisect_left(starts, end, lo=first)
            pieces.append(Piece(code.ids[at:first], _separates(prompt.text[last:start])))
            pieces.append(Piece(code.ids[first:stop], is_title=True))
            at, last = stop, end
        pieces.append(Piece(code.ids[at:]))
        return [replace(pieces[0], is_separator=False), *pieces[1:]]


@dataclass(frozen=True)
class Piece:
    """A run of ids: words, or a title of the history, or what stands between two titles."""

    ids: list[int]
    is_separator: bool = False
    is_title: bool = False


def _separates(text: str) -> bool:
    return _SEPARATOR.fullmatch(text) is not None


def fit(pieces: Sequence[Piece], room: int) -> list[Piece]:
    """Shorten a prompt to ``room`` tokens.

    The oldest titles go first, each with the separator after it (numbers of later lines stay as
    they were); the latest title stays as long as the words leave room for it. When the words
    alone are too long, their middle goes: the first quarter and the last three quarters of the
    room are kept, since what is asked stands at the end.

    Args:
        pieces: The prompt in order.
        room: The most ids that may be left.
    """
    total = sum(len(piece.ids) for piece in pieces)
    kept = list(pieces)
    while total > room and any(piece.is_title for piece in kept):
        oldest = next(index for index, piece in enumerate(kept) if piece.is_title)
        last = oldest + (oldest + 1 < len(kept) and kept[oldest + 1].is_separator)
        total -= sum(len(piece.ids) for piece in kept[oldest : last + 1])
        del kept[oldest : last + 1]
    if total > room:
        ids = [token for piece in kept for token in piece.ids]
        first = room // 4
        kept = [Piece(ids[:first] + ids[len(ids) - (room - first) :])]
    return kept


def own_codec(tokenizer: Any, causal: bool) -> Codec:
    """The layout of models made here.

    Causal: ``<bos> words <item> title <end> words … <item>``, every title of the history in the
    very form of a response, so that what is learnt of ``p(title | <item>, what came before)`` at
    every place of the history carries over to candidates. A response in words follows ``<say>``.
    Sequence-to-sequence: ``words <end>`` for the encoder, ``title <end>`` for the decoder.
    """
    token = tokenizer.convert_tokens_to_ids
    end = [token(END)]
    if not causal:
        return Codec(tokenizer, tail={True: end, False: end}, end=end, space=" ", own=True)
    return Codec(
        tokenizer,
        head=[token(BOS)],
        tail={True: [token(ITEM)], False: [token(SAY)]},
        title_head=[token(ITEM)],
        end=end,
        space=" ",
        own=True,
    )


def plain_codec(tokenizer: Any, causal: bool) -> Codec:
    """The layout for checkpoints that were not made here.

    Sequence-to-sequence: text and end token, as T5 was trained. Causal with a chat template: the
    instruction as the user's message, the candidate as the answer with the end-of-turn token.
    Other causal models: the instruction, a line ``Answer:``, the candidate and the end token.
    """
    end = [tokenizer.eos_token_id]
    if not causal:
        return Codec(tokenizer, tail={True: end, False: end}, end=end)
    if getattr(tokenizer, "chat_template", None):
        head, tail = _chat_frame(tokenizer)
        return Codec(tokenizer, head=head, tail={True: tail, False: tail}, end=end)
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    tail = tokenizer.encode("\nAnswer:", add_special_tokens=False)
    return Codec(tokenizer, head=bos, tail={True: tail, False: tail}, end=end, space=" ")


def _chat_frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": _MARK}], tokenize=False, add_generation_prompt=True
    )
    head, found, tail = text.partition(_MARK)
    if not found:
        raise ModelError(
            "the chat template of this model changes what the user says",
            "Use a model without a chat template or with an ordinary one",
        )
    return (
        tokenizer.encode(head, add_special_tokens=False),
        tokenizer.encode(tail, add_special_tokens=False),
    )


def codec_for(tokenizer: Any, causal: bool) -> Codec:
    """The layout that fits a tokenizer.

    Raises:
        ModelError: The tokenizer has no fast backend or no end token.
    """
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ModelError("this model has no fast tokenizer (tokenizer.json)", "Use another model")
    if tokenizer.eos_token_id is None:
        raise ModelError("this model's tokenizer has no end token", "Use another model")
    return (own_codec if is_own(tokenizer) else plain_codec)(tokenizer, causal)
