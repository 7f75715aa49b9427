"""Items may join and change under a recommender that is in use."""

from __future__ import annotations

import pytest

from instructrec.errors import UsageError
from instructrec.protocols import Filters
from instructrec.updating import changed_items, with_items

COMET = {"item_id": "e1", "title": "Comet Racer", "categories": ["Games", "Racing"], "price": 9.0}


def test_a_new_item_can_be_recommended_before_anybody_took_it(recommender, run):
    changed = with_items(recommender, run, [COMET])
    answer = changed.recommend(wish="comet racer", k=3)
    assert answer.items[0].item_id == "e1"
    assert answer.items[0].facts["price"] == 9.0


def test_histories_and_evidence_stay_with_their_items_when_rows_move(recommender, run):
    changed = with_items(recommender, run, [COMET])  # sorts first, so that every row moves
    for user in ("ann", "bob", "cat"):
        before, after = (one.recommend(user=user, k=8) for one in (recommender, changed))
        assert after.instruction == before.instruction
        ours = [item.item_id for item in after.items if item.item_id != "e1"]
        assert ours == [item.item_id for item in before.items]


def test_a_changed_price_counts_for_filters_and_the_old_recommender_stays_as_it_was(
    recommender, run
):
    changed = with_items(recommender, run, [{"item_id": "g2", "price": 10.0}])
    cheap = Filters.parse(["price<=12", "categories has Racing"])
    assert [item.item_id for item in changed.recommend(filters=cheap).items] == ["g2"]
    assert recommender.recommend(filters=cheap).items == ()
    assert changed.catalogue.titles == recommender.catalogue.titles


def test_the_later_of_two_changes_holds_and_untold_columns_stay(recommender):
    items = recommender.catalogue.items
    changes = [{"item_id": "g2", "price": 1.0}, {"item_id": "g2", "price": 2.0, "brand": "Acme"}]
    changed = changed_items(items, changes)
    (row,) = changed.filter(changed["item_id"] == "g2").to_dicts()
    assert (row["title"], row["price"], row["brand"]) == ("Turbo Kart Deluxe", 2.0, "Acme")
    assert changed["item_id"].to_list() == items["item_id"].to_list()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"item_id": "new"}, "no title"),
        ({"item_id": "g2", "title": " "}, "no title"),
        ({"item_id": "g2", "shoe_size": 4}, "no column 'shoe_size'"),
        ({"item_id": "g2", "price": "cheap"}, "not of its column's type"),
    ],
)
def test_a_change_that_cannot_be_is_refused(recommender, change, said):
    with pytest.raises(UsageError, match=said):
        changed_items(recommender.catalogue.items, [change])
