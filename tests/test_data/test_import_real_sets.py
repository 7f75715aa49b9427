"""The real sets come in whole, by the commands of the handbook."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from raw_files import Load

pytestmark = pytest.mark.shared


@pytest.mark.parametrize(
    ("name", "settings", "users", "items", "events", "dropped"),
    [
        (
            "amazon-games",
            {"columns": "timestamp=position,categories=platform+kind", "clock": "order"},
            *(50_546, 16_859, 452_986, {}),
        ),
        ("amazon-beauty", {}, 22_363, 12_101, 198_502, {}),
        ("digital-music", {}, 2_490, 7_419 - 69, 6_908, {"items": {"no title": 69}}),
        (
            "amazon-multidomain",
            {},
            *(354 - 5, 3_228 - 74, 3_455 - 74 - 3),
            {
                "items": {"no title": 74},
                "interactions": {
                    "its item has no title": 74,
                    "repeats a user and item (the first is kept)": 3,
                },
            },
        ),
    ],
)
def test_all_that_has_a_title_comes_in(
    shared_data: Path,
    load: Load,
    name: str,
    settings: dict[str, str],
    users: int,
    items: int,
    events: int,
    dropped: dict[str, dict[str, int]],
) -> None:
    folder = shared_data / name
    dataset = load(
        interactions=folder / "interactions.parquet",
        items=folder / "items.parquet",
        max_rejected=0.0,
        **settings,
    )
    found = dataset.interactions.select(pl.col("user_id").n_unique(), pl.len()).collect().row(0)
    assert (*found, len(dataset.catalogue)) == (users, events, items)
    assert dataset.manifest["import"]["dropped"] == dropped
    assert dataset.clock == ("order" if name in ("amazon-games", "amazon-beauty") else "ms")
    if name == "amazon-games":
        # What the paper counts: sequences cut at their last twenty.
        assert dataset.sequences.lengths.clip(max=20).sum() == 410_907


def test_movie_search_comes_in_without_interactions(shared_data: Path, load: Load) -> None:
    folder = shared_data / "movie-search"
    dataset = load(
        items=folder / "items.parquet", queries=folder / "queries.parquet", max_rejected=0.01
    )
    assert dataset.queries is not None
    # One film that was judged is not in the catalogue.
    assert dataset.queries.height == 384_755 - 374
    assert dataset.manifest["import"]["bad"] == {"queries": {"item_id is not in the items": 374}}
    assert dataset.queries["query_id"].n_unique() == 16_279
    assert len(dataset.catalogue) == 9_750
    assert dataset.catalogue.items.schema["categories"] == pl.List(pl.String)
    assert dataset.catalogue.items.schema["actors"] == pl.List(pl.String)
