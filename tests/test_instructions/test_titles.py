"""A title given away is found, however it is spelt; ordinary words are not taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.instructions.titles import copied

TITLE = "The Legend of Zelda: Breath of the Wild"


@pytest.mark.parametrize(
    ("text", "title", "how"),
    [
        ("I want the legend of zelda breath of the wild!", TITLE, "copy"),
        ("I want Legend of Zelda, Breath of the Wild", TITLE, "near-copy"),
        ("something like The Legend of Zelda - Breth of the Wild", TITLE, "near-copy"),
        ("The Legend of Zelda: a Breath of the Wild", TITLE, "near-copy"),
        ("a wild legend told in one breath", TITLE, ""),
        ("a game about the wild", TITLE, ""),
        ("I want speed legnds ultimate now", "Speed Legends Ultimate", "near-copy"),
        ("legends of speed, the ultimate ride", "Speed Legends Ultimate", ""),
        ("They love soul.", "Love", "copy"),
        ("They are loving.", "Love", ""),
        ("night and drive", "Night Drive", ""),
        ("They love soul in concert.", "In Concert 2", ""),
        ("我想要塞尔达传说那样的游戏", "塞尔达传说", "copy"),
        ("我想要塞尔达的传说", "塞尔达传说", "near-copy"),
        ("我想要一个传说", "塞尔达传说", ""),
        ("", TITLE, ""),
        ("anything", "!!!", ""),
    ],
)
def test_copies_and_near_copies(text: str, title: str, how: str) -> None:
    assert copied(text, title) == how


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6),
    st.lists(st.sampled_from("uvwxyz"), max_size=6),
    st.lists(st.sampled_from("uvwxyz"), max_size=6),
)
def test_a_whole_title_is_found_wherever_it_stands(
    title: list[str], before: list[str], after: list[str]
) -> None:
    text = " ".join([*before, *title, *after]).upper()
    assert copied(text, " ".join(title)) == "copy"
    assert not copied(" ".join([*before, *after]), " ".join(title))
