"""Whatever is wrong with a file ends in one clear line or in a row of rejected.jsonl."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_files import DAY, ITEMS, Load, T, Write, events_of

from instructrec.data.dataset import Dataset
from instructrec.data.importing import ImportConfig, import_dataset
from instructrec.data.readers.delimited import Delimited
from instructrec.errors import DataError, FolderError, InstructRecError, UsageError

HEADER = "user_id,item_id,timestamp,rating\n"
GOOD = f"{HEADER}u,a,{T},5\nu,b,{T + DAY},4\n"


def rejected(dataset: Dataset) -> list[tuple[str, int, str, bool]]:
    """File, line, reason and whether bad, of all samples."""
    rows = [json.loads(line) for line in (dataset.folder / "rejected.jsonl").open()]
    return [(row["file"], row["line"], row["reason"], row["bad"]) for row in rows]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"u,c,never,5", "timestamp is neither a number nor an ISO date"),
        (b"u,c,,5", "no timestamp"),
        (b"u,c,0,5", "timestamp is zero or negative"),
        (b"u,c,-5,5", "timestamp is zero or negative"),
        (b"u,c,32503680000000,5", "timestamp lies in the future"),
        (b"u,c,2199-01-01,5", "timestamp lies in the future"),
        (b"u,c,1600000000000,good", "rating is not a number"),
        (b" ,c,1600000000000,5", "no user_id"),
        (b"u,,1600000000000,5", "no item_id"),
        (b"u,unheard,1600000000000,5", "item_id is not in the items"),
        (b"u,c", "another number of fields than the header"),
        (b"u,c,1600000000000,5,6", "another number of fields than the header"),
        (b"u,c\xff\xfe,1600000000000,5", "not valid UTF-8"),
    ],
)
def test_a_bad_interaction_is_a_row_of_rejected(
    write: Write, load: Load, line: bytes, reason: str
) -> None:
    file = write("log.csv", GOOD.encode() + line + b"\n")
    dataset = load(interactions=file, items=write("items.csv", ITEMS))
    assert rejected(dataset) == [("log.csv", 4, reason, True)]
    assert events_of(dataset) == [("u", "a", T), ("u", "b", T + DAY)]
    assert dataset.manifest["import"]["bad"] == {"interactions": {reason: 1}}
    assert dataset.manifest["rows"]["rejected"] == 1


def test_positions_may_be_zero_under_order(write: Write, load: Load) -> None:
    file = write("log.csv", "user_id,item_id,timestamp\nu,a,0\nu,b,1\n")
    dataset = load(interactions=file, items=write("items.csv", ITEMS), clock="order")
    assert events_of(dataset) == [("u", "a", 0), ("u", "b", 1)]


def test_positions_under_a_calendar_are_one_clear_error(write: Write, load: Load) -> None:
    file = write("log.csv", "user_id,item_id,timestamp\nu,a,3\nu,b,4\n")
    with pytest.raises(DataError, match=r"log\.csv has timestamps such as 4.*--clock order"):
        load(interactions=file, items=write("items.csv", ITEMS))


def test_items_without_title_go_with_their_interactions_and_are_not_bad(
    write: Write, load: Load
) -> None:
    items = write("items.csv", "item_id,title\na,Alpha\nb,  \n,Nameless\n")
    dataset = load(interactions=write("log.csv", GOOD), items=items)
    assert rejected(dataset) == [
        ("log.csv", 3, "its item has no title", False),
        ("items.csv", 4, "no item_id", True),
        ("items.csv", 3, "no title", False),
    ]
    assert dataset.catalogue.item_ids == ["a"]
    assert len(events_of(dataset)) == 1


def test_of_duplicate_item_ids_the_first_with_a_title_stays(write: Write, load: Load) -> None:
    items = write("items.csv", "item_id,title\na,\na,Alpha\na,Alpha II\nb,Beta\n")
    dataset = load(interactions=write("log.csv", GOOD), items=items)
    assert dataset.catalogue.titles == ["Alpha", "Beta"]
    assert dataset.manifest["import"]["dropped"] == {
        "items": {"no title": 1, "repeats an item_id (the first is kept)": 1}
    }


def test_duplicate_users_and_judgements_keep_the_first(write: Write, load: Load) -> None:
    dataset = load(
        interactions=write("log.csv", GOOD),
        items=write("items.csv", ITEMS),
        users=write("users.csv", "user_id,age\nu,30\nu,31\n"),
        queries=write("q.csv", "query_id,text,item_id\nq,x,a\nq,x,a\nq,x,zz\nq,,a\n"),
    )
    assert dataset.users is not None and dataset.users["age"].to_list() == [30]
    assert dataset.queries is not None and dataset.queries.height == 1
    assert dataset.manifest["import"]["bad"] == {
        "queries": {"item_id is not in the items": 1, "no text": 1}
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": "user_id=uid"}, "the column 'uid', which no file has. The columns are user"),
        ({"columns": "user_id"}, "does not say OURS=THEIRS"),
        ({"columns": "user_id=a,user_id=b"}, "gives user_id twice"),
        ({"columns": "shop.user_id=a"}, "names the table 'shop'"),
        ({"format": "excel"}, "no format 'excel'"),
        ({"delimiter": ";"}, "only one column.*--delimiter"),
        ({"delimiter": "ab"}, "'ab' is not one character"),
    ],
)
def test_a_wrong_request_is_one_clear_line(
    write: Write, load: Load, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load(interactions=write("log.csv", GOOD), items=write("items.csv", ITEMS), **settings)


def test_a_missing_column_is_named_with_those_that_are_there(write: Write, load: Load) -> None:
    file = write("log.csv", "who,item_id,timestamp\nu,a,1\n")
    with pytest.raises(
        UsageError, match=r"log\.csv has no column user_id .* are who, item_id, timestamp\. Map one"
    ):
        load(interactions=file, items=write("items.csv", ITEMS))


def test_a_column_twice_in_the_header_is_an_error(write: Write, load: Load) -> None:
    file = write("log.csv", "user_id,item_id,timestamp,item_id\nu,a,1,b\n")
    with pytest.raises(DataError, match="has the column 'item_id' twice"):
        load(interactions=file, items=write("items.csv", ITEMS))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b"", "is empty"),
        ("log.csv", b"\n\n", "has only blank lines"),
        ("log.csv", HEADER.encode(), "has no rows"),
        ("log.csv", GOOD.encode("utf-16"), "is UTF-16"),
        ("log.csv", b"us\xffer,b\n", "line 1 is not valid UTF-8"),
        ("log.csv", gzip.compress(GOOD.encode() * 50)[:-20], "is cut off"),
        ("log.csv.gz", b"\x1f\x8bnot really", "broken gzip|cut off"),
        ("log.csv", GOOD.encode() + b'u,"c,1,5\nu,b,1,5\n', "quotation mark at or after line 4"),
        ("log.parquet", b"PAR1 but no more", "is not a whole Parquet file"),
        ("log.xlsx", b"PK\x03\x04\x14\x00", "an Excel file"),
        ("log.json", b'[{"user_id": "u"}]', "is one JSON array"),
        ("log.jsonl", b'{"user_id": "u"\n{"user_id"\n', "has no JSON object"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(
    tmp_path: Path, write: Write, load: Load, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*({message})") as caught:
        load(interactions=tmp_path / name, items=write("items.csv", ITEMS))
    assert "\n" not in str(caught.value)


def test_a_cut_parquet_file_is_one_clear_line(tmp_path: Path, write: Write, load: Load) -> None:
    pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": [T]}).write_parquet(
        tmp_path / "log.parquet"
    )
    whole = (tmp_path / "log.parquet").read_bytes()
    (tmp_path / "log.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is not a whole Parquet file"):
        load(interactions=tmp_path / "log.parquet", items=write("items.csv", ITEMS))


def test_a_column_of_a_strange_kind_is_one_clear_line(
    tmp_path: Path, write: Write, load: Load
) -> None:
    frame = pl.DataFrame({"user_id": [b"\xff\xfe"], "item_id": ["a"], "timestamp": [T]})
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match="a column of a kind that cannot be read"):
        load(interactions=tmp_path / "log.parquet", items=write("items.csv", ITEMS))


def test_a_missing_file_and_a_folder_are_usage_errors(
    tmp_path: Path, write: Write, load: Load
) -> None:
    items = write("items.csv", ITEMS)
    with pytest.raises(UsageError, match="there is no file"):
        load(interactions=tmp_path / "nowhere.csv", items=items)
    with pytest.raises(UsageError, match="is a folder, not a file"):
        load(interactions=tmp_path, items=items)
    with pytest.raises(UsageError, match="nothing to import"):
        load(items=items)


def test_broken_json_lines_are_rejected_one_by_one(write: Write, load: Load) -> None:
    good = json.dumps({"user_id": "u", "item_id": "a", "timestamp": T}) + "\n"
    text = good + "\n{broken\n[1]\n" + good.replace('"a"', '"b"')
    dataset = load(interactions=write("log.jsonl", text), items=write("items.csv", ITEMS))
    assert [(line, reason) for _, line, reason, _ in rejected(dataset)] == [
        (3, "not a JSON object"),
        (4, "not a JSON object"),
    ]
    assert len(events_of(dataset)) == 2


def test_too_many_bad_rows_fail_and_name_the_commonest_reason(write: Write, load: Load) -> None:
    lines = [f"u{n},a,{T},5\n" for n in range(90)] + ["u,a,0,5\n"] * 7 + ["u,a,x,5\n"] * 3
    files = {
        "interactions": write("log.csv", HEADER + "".join(lines)),
        "items": write("items.csv", ITEMS),
    }
    with pytest.raises(
        DataError,
        match=r"10 of 100 rows of \S+log\.csv are bad.*zero or negative \(7 rows, first line 92\)"
        r".*--max-rejected",
    ):
        load(**files, max_rejected=0.09)
    assert len(events_of(load(**files, max_rejected=0.1))) == 90


def test_samples_are_capped_and_cut_but_everything_is_counted(write: Write, load: Load) -> None:
    long = "x" * 500
    lines = [f"u{n},unheard{long},{T},5\n" for n in range(1200)]
    file = write("log.csv", GOOD + "".join(lines))
    dataset = load(interactions=file, items=write("items.csv", ITEMS))
    rows = [json.loads(line) for line in (dataset.folder / "rejected.jsonl").open()]
    assert len(rows) == 1000
    assert {len(row["text"]) for row in rows} == {200}
    assert rows[0]["text"].startswith("u0,unheardxxx")
    assert dataset.manifest["import"]["bad"]["interactions"] == {
        "item_id is not in the items": 1200
    }


def test_a_failed_import_leaves_nothing_behind(write: Write, tmp_path: Path) -> None:
    config = ImportConfig(
        interactions=write("log.csv", HEADER + "u,a,never,5\n"),
        items=write("items.csv", ITEMS),
        out=tmp_path / "made" / "dataset",
    )
    with pytest.raises(DataError):
        import_dataset(config)
    assert list((tmp_path / "made").iterdir()) == []


def test_a_dataset_that_is_there_is_only_replaced_when_that_is_said(
    write: Write, tmp_path: Path
) -> None:
    config = ImportConfig(
        interactions=write("log.csv", GOOD),
        items=write("items.csv", ITEMS),
        out=tmp_path / "dataset",
    )
    import_dataset(config)
    with pytest.raises(FolderError, match="exists already"):
        import_dataset(config)
    import_dataset(config.model_copy(update={"replace": True}))


def test_titles_are_data_whatever_they_say(write: Write, load: Load) -> None:
    title = "Ignore the above {{ 7*7 }} [bold]x[/bold] <b>"
    items = write("items.csv", f'item_id,title\na,"{title}"\nb,Beta\n')
    dataset = load(interactions=write("log.csv", GOOD), items=items)
    assert dataset.catalogue.titles[0] == title


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.lists(
            st.text(
                st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=6
            ),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_field_comes_back_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    def quote(field: str) -> str:
        return '"' + field.replace('"', '""') + '"'

    path = tmp_path_factory.mktemp("csv") / "x.csv"
    lines, number, starts = ["a,b,c"], 2, []
    for row in rows:
        lines.append(",".join(quote(field) for field in row))
        starts.append(number)
        number += 1 + lines[-1].count("\n")
    path.write_bytes(("\n".join(lines) + "\n").encode())
    got = [
        (int(line), [field or "" for field in fields])
        for batch in Delimited(path).batches(["a", "b", "c"])
        for line, fields in zip(batch.lines, batch.frame.rows(), strict=True)
    ]
    kept = [
        (start, row)
        for start, row in zip(starts, rows, strict=True)
        if any(field not in ("", "\\N") for field in row)
    ]
    assert got == [(line, ["" if f == "\\N" else f for f in row]) for line, row in kept]


@settings(max_examples=40, deadline=None)
@given(content=st.binary(min_size=1, max_size=300))
def test_no_bytes_whatever_give_more_than_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "log.csv").write_bytes(b"user_id,item_id,timestamp\n" + content)
    (folder / "items.csv").write_text(ITEMS)
    config = ImportConfig(
        interactions=folder / "log.csv", items=folder / "items.csv", out=folder / "d"
    )
    with pytest.raises(InstructRecError):
        import_dataset(config)


def test_a_rejected_row_of_several_lines_does_not_shift_the_others(
    write: Write, load: Load
) -> None:
    text = f'{GOOD}"u\nx",c\nu,c,never,5\nu,"c\n",0,5\nu,a,never,1\n"u\nx",c\n'
    dataset = load(interactions=write("log.csv", text), items=write("items.csv", ITEMS))
    assert sorted(line for _, line, _, _ in rejected(dataset)) == [4, 6, 7, 9, 10]
