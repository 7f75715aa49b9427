"""Texts that somebody already has are a teacher like any other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.errors import DataError, InstructRecError, UsageError
from instructrec.folders import new_folder
from instructrec.instructions.annotate import annotate
from instructrec.instructions.teachers.answers import AnswersTeacher, parse_columns
from instructrec.instructions.teachers.base import Ask, ItemFacts, Written

ROWS = [
    ("u1", None, "preference", "overall", "train", "Likes early soul."),
    ("u1", None, "preference", "overall", "test", "Likes late soul."),
    ("u2", None, "preference", "short_term", "validation", "Of late, funk."),
    ("u1", "i1", "intention", "what_i_want", "test", "I want warm horns."),
    (None, "i1", "intention", "specific", None, "Soul, Horns"),
]
FRAME = pl.DataFrame(
    ROWS, schema=["user_id", "item_id", "kind", "view", "split", "text"], orient="row"
)


class Elsewhere:
    """Writes the same thing about everything."""

    name = "rules"

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        return [Written("made up", "rules") for _ in asks]


def _preference(user: str, split: str, view: str = "overall") -> Ask:
    return Ask("preference", view, user, None, split)


def _wish(user: str | None, item: str, view: str = "what_i_want", review: str = "Nice.") -> Ask:
    return Ask("intention", view, user, item, "train", (), ItemFacts("Title"), review)


def _file(tmp_path: Path, ending: str, frame: pl.DataFrame = FRAME) -> Path:
    path = tmp_path / f"texts{ending}"
    if ending == ".parquet":
        frame.write_parquet(path)
    elif ending == ".csv":
        frame.write_csv(path)
    else:
        lines = [json.dumps(row) for row in frame.iter_rows(named=True)]
        path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_each_ask_gets_its_own_text_whatever_the_format(tmp_path: Path, ending: str) -> None:
    teacher = AnswersTeacher(_file(tmp_path, ending), fallback=Elsewhere())
    assert len(teacher) == 5
    asks = [
        _wish("u1", "i1"),
        _preference("u1", "train"),
        _preference("u1", "test"),
        _wish(None, "i1", "specific"),
    ]
    assert [one.text for one in teacher.write(asks)] == [
        "I want warm horns.",
        "Likes early soul.",
        "Likes late soul.",
        "Soul, Horns",
    ]
    assert {one.by for one in teacher.write(asks)} == {f"answers:texts{ending}"}


def test_a_preference_serves_later_splits_and_never_earlier_ones(tmp_path: Path) -> None:
    teacher = AnswersTeacher(_file(tmp_path, ".parquet"), fallback=Elsewhere())
    asks = [
        _preference("u1", "validation"),
        _preference("u2", "test", "short_term"),
        _preference("u2", "train", "short_term"),
    ]
    texts = [one.text for one in teacher.write(asks)]
    assert texts == ["Likes early soul.", "Of late, funk.", "made up"]


def test_what_the_file_does_not_tell_rules_write_and_are_named(tmp_path: Path) -> None:
    teacher = AnswersTeacher(_file(tmp_path, ".parquet"))
    known, unknown, unreviewed = teacher.write(
        [
            _wish("u1", "i1"),
            _wish("u9", "i7", review="A great bass line."),
            _wish("u9", "i8", review=""),
        ]
    )
    assert known.by == "answers:texts.parquet"
    assert unknown.by == "rules"
    assert unknown.text
    assert unreviewed == Written("", "answers:texts.parquet")


def test_columns_may_have_other_names_or_one_value_for_all(tmp_path: Path) -> None:
    frame = pl.DataFrame({"customer": [7, 8], "wish": ["Likes tea.", "Likes jam."]})
    columns = parse_columns("user_id=customer, text=wish, split==validation,kind==preference")
    teacher = AnswersTeacher(_file(tmp_path, ".csv", frame), columns, fallback=Elsewhere())
    asks = [_preference("7", "validation"), _preference("8", "test"), _preference("8", "train")]
    assert [one.text for one in teacher.write(asks)] == ["Likes tea.", "Likes jam.", "made up"]


def test_kind_view_and_split_may_be_left_out(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "user_id": ["u1", "u1", None],
            "item_id": [None, "i1", "i1"],
            "text": ["Likes tea.", "I want tea.", "Tea, Green"],
        }
    )
    teacher = AnswersTeacher(_file(tmp_path, ".parquet", frame), fallback=Elsewhere())
    asks = [_preference("u1", "test"), _wish("u1", "i1"), _wish(None, "i1", "specific")]
    assert [one.text for one in teacher.write(asks)] == ["Likes tea.", "I want tea.", "Tea, Green"]


def test_texts_of_a_corpus_keep_the_name_of_whoever_wrote_them(tmp_path: Path) -> None:
    frame = FRAME.with_columns(teacher=pl.lit("openai:some-model"))
    teacher = AnswersTeacher(_file(tmp_path, ".parquet", frame))
    assert teacher.write([_wish("u1", "i1")])[0].by == "openai:some-model"


@pytest.mark.parametrize(
    ("change", "columns", "told"),
    [
        ({}, {"user_id": "usr"}, "has no column 'usr'; it has user_id"),
        ({}, {"usr": "user_id"}, "nothing called 'usr'"),
        ({"text": pl.lit("")}, {}, "holds no text"),
        ({"view": pl.lit("moods")}, {}, "has the view 'moods' of a preference"),
        ({"kind": pl.lit("wish")}, {}, "has the kind 'wish'"),
        ({"split": pl.lit("dev")}, {}, "has the split 'dev'"),
        ({"user_id": pl.lit(None), "item_id": pl.lit(None)}, {}, "no column 'user_id'"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    tmp_path: Path, change: dict[str, pl.Expr], columns: dict[str, str], told: str
) -> None:
    path = _file(tmp_path, ".parquet", FRAME.with_columns(**change))
    with pytest.raises(InstructRecError, match=told) as found:
        AnswersTeacher(path, columns)
    assert "\n" not in str(found.value)


def test_files_that_are_absent_empty_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file of answers"):
        AnswersTeacher(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="is empty"):
        AnswersTeacher(tmp_path / "empty.csv")
    (tmp_path / "texts.doc").write_text("x")
    with pytest.raises(UsageError, match="no kind known"):
        AnswersTeacher(tmp_path / "texts.doc")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(DataError, match="cannot be read"):
        AnswersTeacher(tmp_path / "bad.parquet")


def test_the_strong_teachers_file_works_as_it_is(shared_data: Path) -> None:
    path = shared_data / "digital-music" / "teacher.parquet"
    frame = pl.read_parquet(path)
    teacher = AnswersTeacher(path, fallback=Elsewhere())
    assert len(teacher) == frame.height == 5355
    asks = [
        Ask(kind, view, user, item, split, (), None, "Nice.")
        for user, item, kind, view, split in frame.drop("text").iter_rows()
    ]
    written = teacher.write(asks)
    assert [one.text for one in written] == frame["text"].to_list()


def test_wishes_are_taken_for_items_that_nobody_reviewed(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["A1", "B1", "C1", "D1"]})
    events = [("u", item, place) for place, item in enumerate("abcd")]
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    with new_folder(tmp_path / "d", "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), frame.lazy(), clock="order"))
    texts = pl.DataFrame(
        {"user_id": ["u", None], "item_id": ["d", "c"], "text": ["I want calm.", "calm, small"]}
    )
    teacher = AnswersTeacher(_file(tmp_path, ".csv", texts))
    made = annotate(Dataset(tmp_path / "d"), "leave-one-out", teacher).frame
    told = made.select("item_id", "view", "text").rows()
    assert ("d", "what_i_want", "I want calm.") in told
    assert ("c", "specific", "calm, small") in told
    assert set(made.filter(pl.col("view") == "what_i_want")["item_id"]) == {"d"}


def test_queries_are_asked_for_where_the_file_has_any(tmp_path: Path) -> None:
    frame = FRAME.with_columns(
        view=pl.when(pl.col("view") == "specific").then(pl.lit("query")).otherwise("view")
    )
    assert AnswersTeacher(_file(tmp_path, ".csv", frame)).writes_queries
    plain = AnswersTeacher(_file(tmp_path, ".parquet"))
    assert not plain.writes_queries
    assert plain.write([_wish(None, "i7", "query")])[0].text == ""
