"""What a person types becomes an intention and the limits said in it."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.instructions.wishes import Vocabulary, parse_request
from instructrec.protocols import Filters


class Shop:
    items = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": ["x", "y"],
            "price": [1.0, 2.0],
            "brand": ["Acme", "Bold & Co"],
            "categories": [["Books", "Racing"], ["Toys & Games", "Board Games"]],
            "in_stock": [True, False],
        }
    )


@pytest.mark.parametrize(
    ("text", "kind", "filters"),
    [
        ("a gift for my son who likes racing, under 30", "I1", "price <= 30.0"),
        (
            "only board games between $10 and 20 euros",
            "I2",
            "price >= 10.0 and price <= 20.0 and categories has Board Games",
        ),
        ("something for kids under 12 years", "I1", ""),
        ("gifts under 30 for kids over 8", "I2", "price <= 30.0"),
        ("puzzles for people over 60", "I2", ""),
        ("a gift for kids under $12", "I2", "price <= 12.0"),
        ("a gift for my son under 15", "I1", "price <= 15.0"),
        ("toys for children under 25", "I2", "price <= 25.0"),
        ("Racing books by Acme", "I2", "brand == Acme"),
        ("Racing books, but not by Acme again", "I2", "brand != Acme"),
        ("not another book by Acme", "I2", "brand != Acme"),
        ("not too expensive, by Acme", "I2", "brand == Acme"),
        ("not from the racing section", "I2", ""),
        ("no more than 30", "I2", "price <= 30.0"),
        ("books, nothing over 50", "I2", "price <= 50.0"),
        ("not under $20", "I2", "price >= 20.0"),
        ("board games, but no racing this time, under 30", "I2", "price <= 30.0"),
        ("a game for 2 to 4 players, up to 25$", "I2", "price <= 25.0"),
        ("Toys & Games, Board Games", "I2", ""),
        ("only a board game please", "I2", "categories has Board Games"),
        ("", "I0", ""),
        ("I want it in stock, over $1,200.50", "I1", "price >= 1200.5 and in_stock == True"),
    ],
)
def test_limits_said_in_words_become_filters(text: str, kind: str, filters: str) -> None:
    intention, found = parse_request(text, Shop())
    assert (intention.kind, str(found)) == (kind, filters)
    assert intention.text == text


def test_a_limit_on_what_the_catalogue_does_not_have_is_no_filter() -> None:
    class Bare:
        items = Shop.items.select("item_id", "title")

    assert parse_request("under 30, only board games, by Acme, in stock", Bare())[1] == Filters()


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    intention, filters = parse_request(text, Vocabulary.of(Shop()))
    assert intention.text == " ".join(text.split())
    filters.mask(Shop.items)
