"""A description counts what is there, says what is missing, and draws it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_files import DAY, ITEMS, Load, T, Write

from instructrec.data.describe import describe, gini, top_share, write_description
from instructrec.folders import verify

LOG = "user_id,item_id,timestamp,rating,review\n" + "".join(
    f"{user},{item},{T + day * DAY},{rating},{review}\n"
    for user, item, day, rating, review in [
        ("u", "a", 0, 5, "fine"),
        ("u", "b", 1, 4, ""),
        ("u", "c", 2, 5, ""),
        ("v", "a", 40, 1, ""),
    ]
)


def test_counts_lengths_and_skew_are_those_of_the_rows(write: Write, load: Load) -> None:
    items = ITEMS + "d,Delta of the Nile\n"
    dataset = load(interactions=write("log.csv", LOG), items=write("items.csv", items))
    figures = describe(dataset).figures
    assert figures["counts"] == {
        "users": 2,
        "items": 4,
        "interactions": 4,
        "users_with_targets": 1,
        "repeats": 0,
        "density": 0.5,
        "sparsity": 0.5,
    }
    assert (figures["lengths"]["mean"], figures["lengths"]["max"]) == (2.0, 3.0)
    assert figures["titles"]["max"] == 4.0
    assert figures["popularity"]["items_without_interactions"] == 1
    assert figures["popularity"]["top_1_percent"] == 0.5
    assert figures["ratings"] == {"1": 1, "4": 1, "5": 2}
    assert figures["time"] == {"first": "2020-09-13", "last": "2020-10-23"}
    assert figures["filled"]["interactions"]["review"] == 0.25


def test_what_is_missing_is_named_with_what_follows(write: Write, load: Load) -> None:
    rich = load(interactions=write("log.csv", LOG), items=write("items.csv", ITEMS))
    assert set(describe(rich).figures["missing"]) == {
        *("categories", "queries", "profiles", "brand", "price", "description"),
    }
    poor = load(
        interactions=write("poor.csv", "user_id,item_id,position\nu,a,0\n"),
        items=write("items.csv", ITEMS),
    )
    missing = describe(poor).figures["missing"]
    assert "I1" in missing["reviews"]
    assert "I2" in missing["categories"]
    assert "time split" in missing["calendar"]


def test_a_catalogue_with_queries_alone_can_be_described(write: Write, load: Load) -> None:
    dataset = load(
        items=write("items.csv", ITEMS), queries=write("q.csv", "query,item_id\nthe first,a\n")
    )
    figures = describe(dataset).figures
    assert figures["queries"]["queries"] == 1
    assert figures["missing"]["interactions"] == "no history (P1, P2): product search only"


def test_pictures_are_drawn_the_same_each_time(write: Write, load: Load, tmp_path: Path) -> None:
    dataset = load(interactions=write("log.csv", LOG), items=write("items.csv", ITEMS))
    description = describe(dataset)
    manifests = []
    for name in ("one", "other"):
        write_description(description, dataset, tmp_path / name, replace=False)
        verify(tmp_path / name)
        manifests.append(json.loads((tmp_path / name / "manifest.json").read_text()))
    assert sorted(manifests[0]["files"]) == [
        *("description.json", "lengths.png", "popularity.png", "title_words.png"),
    ]
    assert manifests[0]["files"] == manifests[1]["files"]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).map(np.array))
def test_gini_is_the_mean_difference_of_all_pairs(counts: np.ndarray) -> None:
    mean = counts.mean()
    pairs = np.abs(counts[:, None] - counts[None, :]).mean()
    assert gini(counts) == pytest.approx(pairs / (2 * mean) if mean else 0.0)
    assert 0 <= top_share(counts, 0.1) <= 1
