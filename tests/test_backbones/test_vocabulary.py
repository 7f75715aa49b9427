"""Our tokenizer loses nothing and is made the same way every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from instructrec.backbones import train_tokenizer
from instructrec.backbones.vocabulary import SPECIAL_TOKENS, is_own

from .conftest import TITLES, foreign_tokenizer, history

TEXTS = [history(list(TITLES)).text, *TITLES]


@given(st.text())
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_the_same_texts_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        train_tokenizer(iter(TEXTS), vocab_size=400).save_pretrained(tmp_path / name)
    one, two = ((tmp_path / name / "tokenizer.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_it_survives_the_ordinary_transformers_way(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert read(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert read.decode(read(text)["input_ids"]) == text
    assert (read.pad_token, read.eos_token, read.bos_token) == ("<pad>", "<end>", "<bos>")


def test_special_tokens_come_first_and_the_size_is_kept(tokenizer: Any) -> None:
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    assert len(tokenizer) <= 420


def test_the_number_that_starts_a_line_is_one_token() -> None:
    made = train_tokenizer(["x\n7. y\n12. z"] * 5, vocab_size=300)
    assert made.tokenize("x\n7. y\n12. z", split_special_tokens=True)[1] == "Ċ7."


def test_only_our_tokenizers_count_as_ours(tokenizer: Any) -> None:
    assert is_own(tokenizer)
    assert not is_own(foreign_tokenizer())


@pytest.mark.shared
def test_every_real_title_comes_back(tokenizer: Any, shared_data: Path) -> None:
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    for path in sorted(shared_data.glob("*/items.parquet")):
        titles = pl.read_parquet(path, columns=["title"])["title"].drop_nulls().to_list()
        codes = backend.encode_batch([f" {title}" for title in titles], add_special_tokens=False)
        read = backend.decode_batch([code.ids for code in codes])
        assert read == [f" {title}" for title in titles]
