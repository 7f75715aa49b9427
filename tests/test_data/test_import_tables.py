"""Any CSV, TSV, Parquet or JSON-lines file comes in by a column map, plain or packed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from raw_files import DAY, ITEMS, Load, T, Write, events_of

from instructrec.errors import UsageError
from instructrec.folders import sha256

EVENTS = [("u", "a", T), ("u", "b", T + DAY), ("v", "b", T), ("v", "c", T + 2 * DAY)]
FRAME = pl.DataFrame(EVENTS, schema=["user_id", "item_id", "timestamp"], orient="row")


def _as_jsonl(frame: pl.DataFrame) -> str:
    return "".join(json.dumps(row) + "\n" for row in frame.iter_rows(named=True))


@pytest.mark.parametrize(
    ("name", "separator"),
    [("i.csv", ","), ("i.tsv", "\t"), ("i.csv.gz", ","), ("i.txt", ";"), ("i.psv", "|")],
)
def test_delimited_text_is_read_whatever_separates_it(
    write: Write, load: Load, name: str, separator: str
) -> None:
    text = FRAME.write_csv(separator=separator)
    dataset = load(interactions=write(name, text), items=write("items.csv", ITEMS))
    assert events_of(dataset) == EVENTS


@pytest.mark.parametrize("name", ["i.jsonl", "i.jsonl.gz"])
def test_json_lines_are_read(write: Write, load: Load, name: str) -> None:
    dataset = load(interactions=write(name, _as_jsonl(FRAME)), items=write("items.csv", ITEMS))
    assert events_of(dataset) == EVENTS


def test_parquet_is_read_and_whole_number_ids_become_text(
    write: Write, load: Load, tmp_path: Path
) -> None:
    numbers = FRAME.with_columns(pl.col("user_id").replace_strict({"u": 7, "v": 12}))
    numbers.write_parquet(tmp_path / "i.parquet")
    dataset = load(interactions=tmp_path / "i.parquet", items=write("items.csv", ITEMS))
    assert [user for user, *_ in events_of(dataset)] == ["12", "12", "7", "7"]


def test_a_column_map_renames_and_joins(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("i.csv", "uid,thing,pos\nu,a,0\nu,b,1\n"),
        items=write("items.csv", "thing,label,platform,kind\na,Alpha,PC,game\nb,Beta,,\n"),
        columns="user_id=uid,item_id=thing,timestamp=pos,title=label,categories=platform+kind",
        clock="order",
    )
    items = dataset.catalogue.items
    assert items["categories"].to_list() == [["PC", "game"], []]
    assert items["platform"].to_list() == ["PC", None]
    assert items["title"].to_list() == ["Alpha", "Beta"]
    assert "label" not in items.columns
    assert dataset.clock == "order"


def test_a_map_may_name_the_table_it_speaks_of(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("i.csv", "id,item,ts\nu,a,1600000000000\n"),
        items=write("items.csv", "id,title\na,Alpha\n"),
        columns={"interactions.user_id": "id", "items.item_id": "id"},
    )
    assert events_of(dataset) == [("u", "a", T)]


def test_usual_names_need_no_map_and_a_position_means_order(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("i.csv", "UserId,asin,position\nu,a,0\nu,b,1\n"),
        items=write("items.csv", "asin,name\na,Alpha\nb,Beta\n"),
    )
    assert dataset.clock == "order"
    assert events_of(dataset) == [("u", "a", 0), ("u", "b", 1)]


def test_without_a_time_the_order_of_lines_counts_if_that_is_said(write: Write, load: Load) -> None:
    files = {
        "interactions": write("i.csv", "user_id,item_id\nu,b\nu,a\nv,a\n"),
        "items": write("items.csv", ITEMS),
    }
    with pytest.raises(UsageError, match=r"no column timestamp.*--clock order"):
        load(**files)
    assert [row[:2] for row in events_of(load(**files, clock="order"))] == [
        ("u", "b"),
        ("u", "a"),
        ("v", "a"),
    ]


def test_times_in_seconds_and_dates_become_milliseconds(write: Write, load: Load) -> None:
    moment = int(datetime(2020, 1, 2, 10, 30, tzinfo=UTC).timestamp() * 1000)
    said = [
        str(moment),
        str(moment // 1000),
        "2020-01-02T10:30:00Z",
        "2020-01-02 10:30:00",
        "2020-01-02T12:30:00+02:00",
        "2020-01-02T10:30:00.000",
        "2020-01-02 10:30",
    ]
    items = write("items.csv", ITEMS)
    for text in said:
        file = write("i.csv", f"user_id,item_id,timestamp\nu,a,{text}\n")
        assert events_of(load(interactions=file, items=items)) == [("u", "a", moment)], text
    file = write("i.csv", f"user_id,item_id,timestamp\nu,a,{moment / 1000}\n")
    assert events_of(load(interactions=file, items=items, time_unit="s"))[0][2] == moment


def test_dates_of_parquet_become_milliseconds(write: Write, load: Load, tmp_path: Path) -> None:
    frame = FRAME.with_columns(pl.from_epoch("timestamp", time_unit="ms").cast(pl.Datetime("us")))
    items = write("items.csv", ITEMS)
    utc = frame.with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))
    tokyo = utc.with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"))
    for zoned in (frame, utc, tokyo):
        zoned.write_parquet(tmp_path / "i.parquet")
        assert events_of(load(interactions=tmp_path / "i.parquet", items=items)) == EVENTS


def test_equal_times_keep_the_order_of_the_file(write: Write, load: Load) -> None:
    rows = "".join(f"u,{item},{T}\n" for item in "cab")
    file = write("i.csv", "user_id,item_id,timestamp\n" + rows)
    dataset = load(interactions=file, items=write("items.csv", ITEMS))
    assert [item for _, item, _ in events_of(dataset)] == ["c", "a", "b"]


def test_item_columns_get_their_kinds_and_further_ones_are_kept(write: Write, load: Load) -> None:
    items = write(
        "items.csv",
        "item_id,title,price,categories,in_stock,year,weight_kg,code,added_at\n"
        'a,"Al,\n pha","$1,299.00",A > B|C,yes,1999,1.5,007,2020-01-01\n'
        "b,Beta,12,X;Y,0,2001,2,12,2020-01-02\n",
    )
    dataset = load(interactions=write("i.csv", FRAME.write_csv()), items=items)
    frame = dataset.catalogue.items
    assert frame.rows()[0] == (
        *("a", "Al, pha", ["A", "B", "C"], 1299.0, "USD", True, 1577836800000),
        *(1999, 1.5, "007"),
    )
    assert frame["price"].to_list() == [1299.0, 12.0]
    assert frame["in_stock"].to_list() == [True, False]


def test_one_file_may_tell_of_items_and_interactions(write: Write, load: Load) -> None:
    text = (
        "user_id,item_id,timestamp,title,brand,session\n"
        f"u,a,{T},,Acme,s1\nv,a,{T},Alpha,Acme,s2\nv,b,{T},Beta,,s2\nw,c,{T},,,s3\n"
    )
    file = write("log.csv", text)
    for given in ({}, {"items": file}):
        dataset = load(interactions=file, **given)
        items = dataset.catalogue.items
        assert items.to_dicts()[1] == {"item_id": "b", "title": "Beta", "brand": None}
        assert dataset.catalogue.titles == ["Alpha", "Beta"]
        assert len(events_of(dataset)) == 3
        assert dataset.manifest["import"]["dropped"] == {
            "interactions": {"its item has no title": 1}
        }


def test_interactions_without_titles_ask_for_items(write: Write, load: Load) -> None:
    with pytest.raises(UsageError, match=r"i\.csv tells no titles.*--items FILE"):
        load(interactions=write("i.csv", FRAME.write_csv()))


def test_queries_and_users_come_along(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("i.csv", FRAME.write_csv()),
        items=write("items.csv", ITEMS),
        queries=write(
            "q.csv", "query_id,text,item_id,relevance\nq1,the first,a,1\nq1,the first,b,0\n"
        ),
        users=write("u.csv", "user_id,age\nv,31\nu,27\n"),
    )
    assert dataset.queries is not None and dataset.users is not None
    assert dataset.queries.rows() == [
        ("q1", "the first", "a", 1.0),
        ("q1", "the first", "b", 0.0),
    ]
    assert dataset.users.rows() == [("u", 27), ("v", 31)]


def test_a_catalogue_with_queries_needs_no_interactions(write: Write, load: Load) -> None:
    dataset = load(
        items=write("items.csv", ITEMS), queries=write("q.csv", "query,item_id\nfirst,a\nlast,c\n")
    )
    assert dataset.queries is not None
    assert dataset.queries.rows() == [("first", "first", "a", 1.0), ("last", "last", "c", 1.0)]
    assert dataset.split("items").train().lengths.sum() == 0


def test_a_file_without_a_header_has_numbered_columns(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("i.csv", f"a,u,5.0,{T}\nb,u,4.0,{T + DAY}\n"),
        items=write("items.csv", "a,Alpha\nb,Beta\n"),
        columns="user_id=2,item_id=1,rating=3,timestamp=4,items.item_id=1,items.title=2",
        header=False,
    )
    assert events_of(dataset) == [("u", "a", T), ("u", "b", T + DAY)]


def test_the_same_input_makes_the_same_bytes(write: Write, load: Load) -> None:
    files = {
        "interactions": write("i.csv", FRAME.write_csv() + "u,zz,1600000000000\n"),
        "items": write("items.csv", ITEMS),
    }
    one, other = load(**files, seed=3), load(**files, seed=3)
    assert one.manifest["files"] == other.manifest["files"]
    assert sha256(one.folder / "manifest.json") == sha256(other.folder / "manifest.json")


def test_blocks_join_without_a_seam(
    write: Write, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instructrec.data.readers.delimited.BLOCK", 1 << 12)
    rows = [("u", f"i{n}", T + n) for n in range(1, 2000)]
    frame = pl.DataFrame(rows, schema=FRAME.schema, orient="row")
    lines = frame.write_csv().splitlines(keepends=True)
    lines[1500] = "u,i1500\n"
    lines[1700] = "u,i1700,never\n"
    items = "item_id,title\n" + "".join(f'i{n},"Title\n{n}"\n' for n in range(1, 2000))
    dataset = load(interactions=write("i.csv", "".join(lines)), items=write("items.csv", items))
    assert len(events_of(dataset)) == 1997
    rejected = [json.loads(line) for line in (dataset.folder / "rejected.jsonl").open()]
    assert [(row["line"], row["text"]) for row in rejected] == [
        (1501, "u,i1500"),
        (1701, "u,i1700,never"),
    ]
