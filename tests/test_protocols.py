"""Filters: one value over any column."""

from __future__ import annotations

import polars as pl
import pytest

from instructrec.errors import UsageError
from instructrec.protocols import Condition, Filters

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "title": ["Red mug", "Blue mug", "Race car", "Map"],
        "price": [5.0, 30.0, None, 12.0],
        "brand": ["Acme", None, "Bold", "Acme"],
        "categories": [["Kitchen", "Mugs"], ["Kitchen"], ["Toys"], None],
        "in_stock": [True, False, True, None],
    }
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("price<=12", "ad"),
        ("price<12", "a"),
        ("price >= 12", "bd"),
        ("brand==Acme", "ad"),
        ("brand!=Acme", "bc"),
        ("categories has kitchen", "ab"),
        ("title has MUG", "ab"),
        ("brand in Acme|Bold", "acd"),
        ("in_stock==true", "ac"),
    ],
)
def test_a_condition_keeps_the_items_that_meet_it(text: str, kept: str) -> None:
    mask = Filters.parse([text]).mask(ITEMS)
    assert "".join(ITEMS["item_id"].filter(pl.Series(mask))) == kept


def test_conditions_and_exclusions_hold_together() -> None:
    filters = Filters.parse(["price<=30", "categories has Kitchen"]).excluding(["b"])
    assert filters.mask(ITEMS).tolist() == [True, False, False, False]
    assert str(filters) == "price <= 30 and categories has Kitchen"


def test_no_filter_keeps_all() -> None:
    assert Filters().mask(ITEMS).tolist() == [True] * 4
    assert not Filters()


def test_what_is_no_filter_is_refused_with_the_cure() -> None:
    with pytest.raises(UsageError, match="is not a filter"):
        Filters.parse(["cheap"])
    with pytest.raises(UsageError, match="the items do not have"):
        Filters((Condition("colour", "==", "red"),)).mask(ITEMS)
    with pytest.raises(UsageError, match="is a number"):
        Filters.parse(["price<=cheap"]).mask(ITEMS)
