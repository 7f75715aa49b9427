"""Words of titles and wishes, in any script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.retrieval._words import STOP_WORDS, is_latin, stem, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Racing GAMES for kids", ["racing", "game", "kid"]),
        ("The Who", ["the", "who"]),
        ("Pokémon’s batteries, boxes & glasses", ["pokemon", "battery", "box", "glass"]),
        ("don't stop", ["don't", "stop"]),
        ("xbox-360 bus", ["xbox", "360", "bus"]),
        ("红色连衣裙 dress", ["红色", "色连", "连衣", "衣裙", "dress"]),
        ("茶", ["茶"]),
        ("がん かん", ["がん", "かん"]),
        ("", []),
        ("?! …", []),
    ],
)
def test_a_text_becomes_its_words(text, found):
    assert words(text) == found


def test_one_and_many_are_the_same_word():
    for one, many in [("story", "stories"), ("watch", "watches"), ("brush", "brushes")]:
        assert stem(one) == stem(many)
    assert stem("gas") == "gas"
    assert stem("class") == stem("classes") == "class"


@given(st.text())
def test_any_text_has_words_without_spaces_and_the_same_ones_in_capitals(text):
    found = words(text)
    assert all(word and not any(letter.isspace() for letter in word) for word in found)
    assert words(f"  {text}\t") == found


@given(st.lists(st.sampled_from(sorted(STOP_WORDS)), min_size=1), st.sampled_from(["kart", "rose"]))
def test_stop_words_never_hide_a_telling_word(small, telling):
    assert words(" ".join([*small, telling])) == [telling]


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("a gift", True),
        ("Überraschung für Omi", True),
        ("红色连衣裙", False),
        ("подарок", False),
        ("42", False),
        ("iPhone 手机", True),
    ],
)
def test_an_english_encoder_is_asked_only_for_latin_script(text, latin):
    assert is_latin(text) is latin
