"""Negatives are uniform, seeded by key alone, and lists come from files as described."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.data.catalogue import Catalogue
from instructrec.errors import DataError, UsageError
from instructrec.negatives import from_candidates_file, sample_negatives


def shop(items: int) -> Catalogue:
    ids = [f"i{number:05}" for number in range(items)]
    return Catalogue(pl.DataFrame({"item_id": ids, "title": ids}))


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_barred_for_all_count_as_seen_by_each(data: st.DataObject) -> None:
    items = data.draw(st.integers(2, 120))
    row = st.integers(0, items - 1)
    seen = data.draw(st.lists(st.lists(row, max_size=20).map(lambda r: rows(*r)), min_size=1))
    barred = rows(*data.draw(st.lists(row, max_size=60, unique=True)))
    targets = np.array([data.draw(row) for _ in seen], dtype=np.int64)
    keys = [f"u{number}" for number in range(len(seen))]
    told = [np.concatenate([own, barred]) for own in seen]
    expected = sample_negatives(shop(items), targets, told, keys, n=5)
    found = sample_negatives(shop(items), targets, seen, keys, n=5, barred=barred)
    assert found.tolist() == expected.tolist()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_negatives_are_distinct_new_and_never_the_target(data: st.DataObject) -> None:
    items = data.draw(st.integers(2, 60))
    n = data.draw(st.integers(1, 12))
    row = st.integers(0, items - 1)
    seen = data.draw(st.lists(st.lists(row, max_size=40).map(lambda r: rows(*r)), min_size=1))
    targets = np.array([data.draw(row) for _ in seen], dtype=np.int64)
    keys = [f"u{number}" for number in range(len(seen))]
    found = sample_negatives(shop(items), targets, seen, keys, n=n)
    assert np.array_equal(found[:, 0], targets)
    for line, before, target in zip(found, seen, targets, strict=True):
        drawn = line[1:][line[1:] >= 0].tolist()
        possible = items - len({*before.tolist(), int(target)})
        assert len(drawn) == len(set(drawn)) == min(n, possible)
        assert not {*before.tolist(), int(target)} & set(drawn)
        assert (line[1 + len(drawn) :] == -1).all()


def test_a_users_negatives_do_not_depend_on_the_other_users() -> None:
    catalogue, rng = shop(3_000), np.random.default_rng(0)
    keys = [f"u{number}" for number in range(200)]
    seen = [rng.integers(0, 3_000, rng.integers(0, 30)) for _ in keys]
    targets = rng.integers(0, 3_000, len(keys))
    together = sample_negatives(catalogue, targets, seen, keys)
    order = rng.permutation(len(keys))[:50]
    apart = sample_negatives(
        catalogue, targets[order], [seen[u] for u in order], [keys[u] for u in order]
    )
    assert np.array_equal(together[order], apart)


def test_more_negatives_begin_with_the_same_ones() -> None:
    catalogue, targets, seen = shop(3_000), rows(4, 5), [rows(1), rows(2, 3)]
    few = sample_negatives(catalogue, targets, seen, ["a", "b"], n=9)
    many = sample_negatives(catalogue, targets, seen, ["a", "b"], n=99)
    assert np.array_equal(few, many[:, :10])


def test_another_seed_or_key_gives_other_negatives() -> None:
    catalogue, targets, seen = shop(3_000), rows(4), [rows(1)]
    drawn = {
        tuple(sample_negatives(catalogue, targets, seen, [key], seed=seed)[0].tolist())
        for key in ("a", "b", "c")
        for seed in (0, 1)
    }
    assert len(drawn) == 6


def test_every_item_is_drawn_equally_often() -> None:
    users, items = 20_000, 100
    keys = [f"u{number}" for number in range(users)]
    nothing = [rows()] * users
    found = sample_negatives(shop(items), np.zeros(users, dtype=np.int64), nothing, keys)
    for column in range(1, 10):
        counts = np.bincount(found[:, column], minlength=items)[1:]
        expected = users / (items - 1)
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        # 98 degrees of freedom: mean 98, standard deviation 14.
        assert chi_square < 98 + 5 * 14


def test_another_process_with_another_hash_seed_draws_the_same() -> None:
    script = (
        "import numpy as np, polars as pl\n"
        "from instructrec.data.catalogue import Catalogue\n"
        "from instructrec.negatives import sample_negatives\n"
        "ids = [f'i{n:05}' for n in range(500)]\n"
        "shop = Catalogue(pl.DataFrame({'item_id': ids, 'title': ids}))\n"
        "found = sample_negatives(shop, np.array([3]), [np.array([1, 2])], ['user'])\n"
        "print(found.tolist())\n"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    here = sample_negatives(shop(500), rows(3), [rows(1, 2)], ["user"]).tolist()
    assert answers == {f"{here}\n"}


def test_fifty_thousand_users_take_less_than_two_seconds() -> None:
    catalogue, rng, users = shop(17_000), np.random.default_rng(0), 50_000
    seen = [rng.integers(0, 17_000, 8) for _ in range(users)]
    targets = rng.integers(0, 17_000, users)
    keys = [f"u{number}" for number in range(users)]
    start = time.process_time()
    sample_negatives(catalogue, targets, seen, keys)
    assert time.process_time() - start < 2


LISTS = {"a": ["i00003", "i00001", "i00002", "i00004"], "b": ["i00005", "i00006", "gone"]}


def write(folder: Path, form: str) -> Path:
    path = folder / f"lists.{form.partition(' ')[0]}"
    frame = pl.DataFrame({"user_id": list(LISTS), "candidates": list(LISTS.values())})
    joined = frame.with_columns(pl.col("candidates").list.join(" "))
    match form:
        case "parquet":
            frame.write_parquet(path)
        case "csv":
            joined.write_csv(path)
        case "csv json":
            encoded = [json.dumps(ids) for ids in LISTS.values()]
            frame.with_columns(candidates=pl.Series(encoded)).write_csv(path)
        case "tsv":
            joined.write_csv(path, separator="\t")
        case "jsonl":
            frame.write_ndjson(path)
        case "jsonl joined":
            joined.write_ndjson(path)
    return path


@pytest.mark.parametrize("form", ["parquet", "csv", "csv json", "tsv", "jsonl", "jsonl joined"])
def test_the_target_is_dropped_then_the_first_are_taken_then_it_is_added(
    tmp_path: Path, form: str
) -> None:
    path = write(tmp_path, form)
    found = from_candidates_file(path, shop(9), ["b", "x", "a", None], rows(5, 0, 1, 0), first=2)
    assert found.requests.tolist() == [0, 2]
    assert found.candidates.tolist() == [[5, 6, -1], [1, 3, 2]]
    assert found.unknown == 1


def test_a_request_without_any_rival_is_not_won_by_default(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    lists = [["gone"], ["i00001"], ["i00003"], ["i00004"]]
    pl.DataFrame({"user_id": ["a", "b", "c", None], "candidates": lists}).write_parquet(path)
    found = from_candidates_file(path, shop(9), ["a", "b", "c", None], rows(1, 1, 1, 1), first=2)
    assert found.requests.tolist() == [2]
    assert found.candidates.tolist() == [[1, 3, -1]]
    assert found.unknown == 1
    with pytest.raises(UsageError, match="no candidates for any"):
        from_candidates_file(path, shop(9), ["a", "b"], rows(1, 1), first=2)


def test_history_stays_in_the_lists_unless_it_is_to_be_dropped(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet")
    for drop, expected in ((False, [1, 3, 2]), (True, [1, 2, 4])):
        found = from_candidates_file(
            path, shop(9), ["a"], rows(1), [rows(3)], first=2, drop_history=drop
        )
        assert found.candidates.tolist() == [expected]


def test_one_of_several_strategies_must_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    pl.DataFrame(
        {"strategy": ["r", "s"], "user_id": ["a", "a"], "candidates": [["i00003"], ["i00004"]]}
    ).write_parquet(path)
    found = from_candidates_file(path, shop(9), ["a"], rows(1), strategy="s", first=1)
    assert found.candidates.tolist() == [[1, 4]]
    with pytest.raises(UsageError, match="--strategy r or s"):
        from_candidates_file(path, shop(9), ["a"], rows(1))
    with pytest.raises(UsageError, match="Use one of r, s"):
        from_candidates_file(path, shop(9), ["a"], rows(1), strategy="t")


def test_what_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        from_candidates_file(path, shop(9), ["a"], rows(1))

    with pytest.raises(DataError, match="there is no file"):
        read(tmp_path / "absent.parquet")
    (tmp_path / "broken.parquet").write_text("not Parquet")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "broken.parquet")
    (tmp_path / "lists.txt").write_text("a b")
    with pytest.raises(UsageError, match="no known format"):
        read(tmp_path / "lists.txt")
    (tmp_path / "columns.csv").write_text("user,items\na,i00003\n")
    with pytest.raises(DataError, match="no column 'user_id'"):
        read(tmp_path / "columns.csv")
    (tmp_path / "twice.csv").write_text("user_id,candidates\na,i00003\na,i00004\n")
    with pytest.raises(DataError, match="several lists for user 'a'"):
        read(tmp_path / "twice.csv")
    (tmp_path / "strangers.csv").write_text("user_id,candidates\nz,i00003\n")
    with pytest.raises(UsageError, match="no candidates for any"):
        read(tmp_path / "strangers.csv")
