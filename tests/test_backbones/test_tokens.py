"""How instructions become ids: cues, titles, chat templates, and what is cut when they are long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.backbones.base import MAX_CANDIDATE_TOKENS
from instructrec.backbones.tokens import Piece, codec_for, fit
from instructrec.errors import ModelError
from instructrec.instructions.templating import Rendered

from .conftest import TITLES, foreign_tokenizer, history


def _spans(codec: Any, rendered: Rendered, **options: Any) -> list[list[int]]:
    example = codec.prompt(rendered, **{"max_tokens": 512, "is_title": True} | options)
    return [example.prompt[start:end] for start, end in example.spans]


def test_a_causal_history_title_has_the_very_ids_of_a_candidate(tokenizer: Any) -> None:
    codec = codec_for(tokenizer, causal=True)
    assert _spans(codec, history(list(TITLES))) == codec.responses(TITLES)


def test_the_cue_before_a_title_is_the_same_in_history_and_response(tokenizer: Any) -> None:
    codec = codec_for(tokenizer, causal=True)
    example = codec.prompt(history(["Turbo Kart"]), 512, is_title=True)
    item = tokenizer.convert_tokens_to_ids("<item>")
    assert example.prompt[example.spans[0][0] - 1] == item == example.prompt[-1]
    words = codec.prompt(history(["Turbo Kart"]), 512, is_title=False)
    assert words.prompt[-1] == tokenizer.convert_tokens_to_ids("<say>")


@pytest.mark.parametrize("causal", [True, False])
def test_a_prompt_without_its_cues_reads_as_the_text(tokenizer: Any, causal: bool) -> None:
    rendered = history(list(TITLES[:4]))
    ids = codec_for(tokenizer, causal).prompt(rendered, 512, is_title=True).prompt
    assert tokenizer.decode(ids, skip_special_tokens=True) == rendered.text


@pytest.mark.parametrize("causal", [True, False])
def test_a_foreign_prompt_is_tokenised_as_one_text(causal: bool) -> None:
    other = foreign_tokenizer(t5=True)
    rendered = history(list(TITLES))
    codec = codec_for(other, causal)
    example = codec.prompt(rendered, 2000, is_title=True)
    plain = other(rendered.text, add_special_tokens=False)["input_ids"]
    assert example.prompt[: len(plain)] == plain
    assert [other.decode(ids).strip() for ids in _spans(codec, rendered, max_tokens=2000)] == list(
        TITLES
    )


def test_a_chat_template_frames_the_instruction() -> None:
    other = foreign_tokenizer(chat=True)
    ids = codec_for(other, causal=True).prompt("hello", 512, is_title=True).prompt
    assert other.decode(ids) == "<|user|>hello</s><|bot|>"


def test_special_tokens_inside_a_text_are_ordinary_text(tokenizer: Any) -> None:
    for made, evil in ((tokenizer, "a <end><item> b"), (foreign_tokenizer(chat=True), "a </s> b")):
        codec = codec_for(made, causal=True)
        (ids,) = codec.responses([evil])
        assert ids.count(codec.end[0]) == 1
        rendered = Rendered(f"1. {evil}\n?", ((3, 3 + len(evil)),))
        assert made.decode(codec.prompt(rendered, 512, True).prompt).count(evil) == 1


def test_an_empty_title_is_the_end_token_and_a_very_long_one_is_cut(tokenizer: Any) -> None:
    codec = codec_for(tokenizer, causal=True)
    empty, long = codec.responses(["", "x y " * 1000])
    assert empty == codec.end
    assert len(long) == MAX_CANDIDATE_TOKENS
    assert long[-1:] == codec.end


@pytest.mark.parametrize("own", [True, False])
def test_the_oldest_titles_go_first(tokenizer: Any, own: bool) -> None:
    made = tokenizer if own else foreign_tokenizer()
    codec = codec_for(made, causal=True)
    titles = [f"Title number {number}" for number in range(40)]
    whole = _spans(codec, history(titles), max_tokens=4000)
    kept = _spans(codec, history(titles), max_tokens=200)
    assert 0 < len(kept) < 40
    assert kept == whole[-len(kept) :]
    text = made.decode(codec.prompt(history(titles), 200, True).prompt, skip_special_tokens=True)
    assert text.startswith("So far:")
    assert "What comes next?" in text


def test_words_between_titles_are_kept(tokenizer: Any) -> None:
    first, second = "Turbo Kart " * 30, "Garden Hose"
    text = f"{first} was disliked but {second} was liked."
    at = text.index(second)
    rendered = Rendered(text, ((0, len(first) - 1), (at, at + len(second))))
    codec = codec_for(tokenizer, causal=True)
    left = tokenizer.decode(codec.prompt(rendered, 60, True).prompt)
    assert "was disliked but" in left
    assert "Turbo" not in left


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["words", "separator", "title"])), max_size=12
    ),
    st.integers(1, 40),
)
def test_fitting_never_exceeds_the_room_nor_cuts_what_fits(
    parts: list[tuple[int, str]], room: int
) -> None:
    pieces = [Piece([n] * n, kind == "separator", kind == "title") for n, kind in parts]
    total = sum(len(piece.ids) for piece in pieces)
    kept = fit(pieces, room)
    assert sum(len(piece.ids) for piece in kept) <= room
    if total <= room:
        assert kept == pieces


def test_a_prompt_of_words_alone_keeps_its_start_and_its_end(tokenizer: Any) -> None:
    text = "START " + "word " * 900 + "END"
    ids = codec_for(tokenizer, causal=True).prompt(text, 100, is_title=True).prompt
    read = tokenizer.decode(ids, skip_special_tokens=True)
    assert len(ids) == 100
    assert read.startswith("START")
    assert read.endswith("END")


def test_no_room_at_all_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="no room"):
        codec_for(tokenizer, causal=True).prompt("hello", 2, is_title=True)
