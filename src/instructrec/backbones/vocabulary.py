"""Our own tokenizer: a lossless byte-level BPE trained on a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

VOCABULARY_SIZE = 8192

PAD, END, BOS, ITEM, SAY = "<pad>", "<end>", "<bos>", "<item>", "<say>"
SPECIAL_TOKENS = (PAD, END, BOS, ITEM, SAY)
"""Padding; the end of a title or response; the start of a prompt; a title follows; words follow."""

_WORDS = r"\n\d{1,3}\.| ?\p{L}+| ?\p{N}{1,4}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Where tokens may not cross: words with the space before them, numbers, signs, and the number
that starts a line of a history (which so becomes one token)."""


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = VOCABULARY_SIZE, min_frequency: int = 2
) -> Any:
    """Train a byte-level BPE tokenizer.

    Any text survives it: ``decode(encode(text))`` is ``text``. The same texts in the same order
    give the same bytes. Titles are always tokenised with one space before them, so that a word
    has one token whether it starts a title or not; feed titles that way or within sentences.

    Args:
        texts: What the model will read and write: rendered instructions, responses, titles.
        vocab_size: How many tokens at most, special tokens and the 256 bytes among them.
        min_frequency: How often a pair must occur to become a token.

    Returns:
        A ``transformers.PreTrainedTokenizerFast``.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        bos_token=BOS,
        extra_special_tokens=[ITEM, SAY],
        clean_up_tokenization_spaces=False,
    )


def is_own(tokenizer: Any) -> bool:
    """Whether a tokenizer was made by `train_tokenizer`, so that its cues may be used."""
    vocabulary = tokenizer.get_vocab()
    return all(token in vocabulary for token in SPECIAL_TOKENS)
