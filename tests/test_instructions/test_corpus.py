"""A corpus holds what the paper asks for, and nothing that lies after the split point."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from shop_world import USERS, Echo

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.errors import DataError
from instructrec.folders import new_folder
from instructrec.instructions.annotate import annotate
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations, names_title
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.corpus import Corpus, instruction_of
from instructrec.instructions.requests import make_requests
from instructrec.instructions.schema import Scenario
from instructrec.instructions.summary import describe_corpus


@pytest.fixture(scope="module", params=["leave-one-out", "items", "time"])
def corpus(
    request: pytest.FixtureRequest, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Corpus:
    out = tmp_path_factory.mktemp("corpora") / request.param
    rates = dict.fromkeys(CorpusConfig().rates, 1.0)
    return build_corpus(dataset, Echo(), out, CorpusConfig(protocol=request.param, rates=rates))


def _held_out(dataset: Dataset, corpus: Corpus) -> dict[str, set[str]]:
    """What training may not know, by user; under the item split the same for all."""
    split = dataset.split(corpus.protocol)
    later = split.events.filter(pl.col("split") != "train")
    if corpus.protocol == "items":
        foreign = set(split.items.filter(pl.col("split") != "train")["item_id"])
        return {user: foreign for user in later["user_id"].unique()}
    return {user: set(part["item_id"]) for (user,), part in later.group_by("user_id")}


def test_no_training_row_knows_anything_after_the_split_point(
    dataset: Dataset, corpus: Corpus
) -> None:
    held_out = _held_out(dataset, corpus)
    marks = {item: f"mark{int(item[1:])}" for item in dataset.catalogue.item_ids}
    rows = corpus.rows("train")
    assert rows.height > USERS * 5
    for row in rows.iter_rows(named=True):
        later = held_out.get(row["user_id"], set()) if row["user_id"] else set()
        assert not later & set(row["history_ids"])
        assert row["item_id"] not in later
        words = set(f"{row['preference']} {row['intention']}".replace(",", " ").split())
        assert not {marks[item] for item in later} & words
        assert not {f"review{int(item[1:])}" for item in later} & words


def test_a_preference_knows_what_its_own_user_said_of_each_item(
    dataset: Dataset, corpus: Corpus
) -> None:
    texts = corpus.annotations.filter(pl.col("kind") == "preference")
    assert texts.height > 0
    for user_id, text in texts.select("user_id", "text").iter_rows():
        words = text.split()[2:]
        for mark, review, _, owner in zip(*(words[at::4] for at in range(4)), strict=True):
            assert review == f"review{mark.removeprefix('mark')}"
            assert owner == user_id


def test_under_the_item_split_no_training_text_names_a_held_out_item(dataset: Dataset) -> None:
    out = dataset.folder.parent / "items-corpus"
    config = CorpusConfig(protocol="items", rates=dict.fromkeys(CorpusConfig().rates, 1.0))
    corpus = build_corpus(dataset, Echo(), out, config, replace=True)
    split = dataset.split("items").items.filter(pl.col("split") != "train")
    titles = {dataset.catalogue.titles[row] for row in dataset.catalogue.rows(split["item_id"])}
    for row in corpus.rows("train").iter_rows(named=True):
        named = {line.split(". ", 1)[-1].strip("- ") for line in row["instruction"].splitlines()}
        assert not titles & named
        assert row["response"] not in titles


def test_the_history_lies_before_the_target_and_is_at_most_nineteen(
    dataset: Dataset, corpus: Corpus
) -> None:
    order = dataset.sequences
    ids = dataset.catalogue.item_ids
    for split in ("train", "validation", "test"):
        for row in corpus.rows(split).filter(pl.col("user_id").is_not_null()).iter_rows(named=True):
            everything = [ids[at] for at in order[order.index[row["user_id"]]]]
            before = everything[: everything.index(row["item_id"])]
            assert len(row["history_ids"]) <= 19
            assert set(row["history_ids"]) <= set(before)


def test_no_intention_and_no_preference_contains_the_targets_title(dataset: Dataset) -> None:
    made = annotate(dataset, "leave-one-out", Echo(careless=True))
    titles = dict(zip(dataset.catalogue.item_ids, dataset.catalogue.titles, strict=True))
    assert made.leaked > 0
    for item_id, text in made.frame.select("item_id", "text").drop_nulls().iter_rows():
        assert titles[item_id].casefold() not in text.casefold()


def test_texts_of_any_origin_that_name_the_target_are_in_no_row_and_no_request(
    dataset: Dataset, tmp_path: Path
) -> None:
    targets = {name: dataset.split("leave-one-out").targets(name) for name in ("train", "test")}
    titles, ids = dataset.catalogue.titles, dataset.catalogue.item_ids
    rows = []
    for name, found in targets.items():
        for number, (user, row) in enumerate(zip(found.user_ids, found.rows, strict=True)):
            told = f"loves {titles[row].upper()}, and more"
            rows += [
                (user, None, "preference", "overall", name, told),
                (user, None, "preference", "long_term", name, f"old taste of {user}"),
                (user, ids[row], "intention", "what_i_want", name, told if number % 2 else "fun"),
            ]
    texts = pl.DataFrame(rows, schema=ANNOTATION_SCHEMA, orient="row")
    corpus = build_corpus(dataset, None, tmp_path / "c", annotations=texts)
    for split in ("train", "validation", "test"):
        for row in corpus.rows(split).iter_rows(named=True):
            assert not names_title(f"{row['preference']} / {row['intention']}", row["item"])
    scenario = Scenario.parse("P2,I1,T3")
    asked = make_requests(dataset, "leave-one-out", "test", scenario, corpus.annotations)
    assert 0 < len(asked) < len(targets["test"].user_ids)
    assert {one.preference.text.split()[0] for one in asked.instructions} == {"old"}
    assert {one.intention.text for one in asked.instructions} == {"fun"}


def test_negatives_depend_on_the_user_alone(dataset: Dataset, corpus: Corpus) -> None:
    rows = corpus.rows("train").filter(pl.col("task") == "T3", pl.col("strategy") == "direct")
    lists = rows.with_columns(pl.col("candidate_ids").list.sort()).filter(
        pl.col("user_id").is_not_null()
    )
    assert (
        lists.group_by("user_id").agg(pl.col("candidate_ids").n_unique())["candidate_ids"].to_list()
        == [1] * lists["user_id"].n_unique()
    )
    places = [row["candidate_ids"].index(row["item_id"]) for row in rows.iter_rows(named=True)]
    assert len(set(places)) == 10
    assert rows["candidate_ids"].list.n_unique().to_list() == [10] * rows.height


def test_judging_rows_are_answered_rightly(corpus: Corpus) -> None:
    rows = corpus.rows("train").filter(pl.col("strategy") == "direct")
    judged = rows.filter(pl.col("task") == "T0")
    right = pl.col("candidate_ids").list.first() == pl.col("item_id")
    assert judged.filter(right)["response"].unique().to_list() == ["Yes"]
    assert judged.filter(~right)["response"].unique().to_list() == ["No"]
    assert 0.3 < judged.select(right.mean()).item() < 0.7
    pairs = rows.filter(pl.col("task") == "T1")
    assert (pairs["response"] == pairs["item"]).all()
    assert 0.3 < pairs.select(right.mean()).item() < 0.7


def test_a_row_reads_back_as_the_example_it_was_written_as(corpus: Corpus) -> None:
    for row in corpus.rows("train").head(200).iter_rows(named=True):
        example = corpus.example(row, 0)
        assert example.rendered.text == row["instruction"]
        assert example.response == row["response"]
        assert example.template == row["template"]
        assert example.instruction == instruction_of(row)
        titles = [example.rendered.text[a:b] for a, b in example.rendered.title_spans]
        assert set(titles) <= set(row["history"])


def test_the_template_changes_from_epoch_to_epoch(corpus: Corpus) -> None:
    rows = corpus.rows("train").filter(pl.col("task") == "T3").head(20).to_dicts()
    drawn = [[corpus.example(row, epoch).template for epoch in range(8)] for row in rows]
    assert all(len(set(templates)) > 1 for templates in drawn)
    assert drawn == [[corpus.example(row, epoch).template for epoch in range(8)] for row in rows]


def test_candidates_left_out_are_nowhere_in_the_prompt(corpus: Corpus) -> None:
    row = (
        corpus.rows("train")
        .filter(pl.col("task") == "T3", pl.col("strategy") == "direct")
        .to_dicts()[0]
    )
    text = corpus.example(row, 0, list_candidates=False).rendered.text
    assert not [title for title in row["candidates"] if names_title(text, title)]


def test_the_same_seed_gives_the_same_bytes(dataset: Dataset, tmp_path: Path) -> None:
    one = build_corpus(dataset, Echo(), tmp_path / "one")
    two = build_corpus(dataset, Echo(), tmp_path / "two")
    other = build_corpus(dataset, Echo(), tmp_path / "three", CorpusConfig(seed=1))
    assert one.manifest == two.manifest
    shard = "train/00000.parquet"
    assert one.manifest["files"][shard] != other.manifest["files"][shard]


def test_every_kind_of_row_is_there_and_described(corpus: Corpus) -> None:
    told = describe_corpus(corpus)
    strategies = {entry["strategy"] for entry in told["counts"]}
    assert strategies == {"direct", "turned-around", "relatedness", "chain-of-thought"}
    assert {entry["scenario"][-2:] for entry in told["counts"]} == {"T0", "T1", "T2", "T3"}
    used = {entry["template"] for entry in told["counts"]}
    assert len(used) >= 40
    assert sum(entry["rows"] for entry in told["counts"]) == sum(told["rows"].values())
    assert {entry["view"] for entry in told["texts"]} >= {"overall", "what_i_want", "specific"}


def test_a_preference_for_a_later_split_is_never_told_to_an_earlier_one() -> None:
    rows = [("u", None, "preference", "overall", "validation", "later")]
    texts = Annotations.of(pl.DataFrame(rows, schema=ANNOTATION_SCHEMA, orient="row"))
    assert texts.preference("u", "train") == {}
    assert texts.preference("u", "test") == {"overall": "later"}


def test_a_scenario_without_data_says_what_is_missing(dataset: Dataset, tmp_path: Path) -> None:
    config = CorpusConfig(scenarios=("P2,I0,T3",))
    nothing = pl.DataFrame(schema=ANNOTATION_SCHEMA)
    with pytest.raises(DataError, match="no training row"):
        build_corpus(dataset, None, tmp_path / "c", config, annotations=nothing)
    assert not (tmp_path / "c").exists()


def test_queries_of_held_out_items_are_in_no_training_row(dataset: Dataset, corpus: Corpus) -> None:
    split = dataset.split("items").items
    trained = set(split.filter(pl.col("split") == "train")["item_id"])
    asked = corpus.rows("train").filter(pl.col("query_id").is_not_null())
    assert asked.height > 0
    assert set(asked["item_id"]) <= trained
    assert set(asked["intention_kind"]) == {"I2"}


def test_requests_of_search_know_no_user(dataset: Dataset, corpus: Corpus) -> None:
    found = make_requests(
        dataset, corpus.protocol, "test", Scenario.parse("P0,I2,T3"), corpus.annotations
    )
    assert len(found) > 0
    assert all(instruction.user_id is None for instruction in found.instructions)
    assert all(not instruction.preference.history for instruction in found.instructions)
    if corpus.protocol == "items":
        assert found.keys[0].startswith("q")
    else:
        assert found.keys == found.user_ids


def test_requests_are_the_test_rows_of_the_corpus(dataset: Dataset, corpus: Corpus) -> None:
    scenario = Scenario.parse("P1,I1,T3")
    found = make_requests(dataset, corpus.protocol, "test", scenario, corpus.annotations)
    rows = corpus.rows("test").filter(pl.col("scenario") == str(scenario))
    assert found.item_ids == rows["item_id"].to_list()
    assert [i.intention.text for i in found.instructions] == rows["intention"].to_list()
    assert [list(i.preference.history) for i in found.instructions] == rows["history"].to_list()


def test_a_review_stays_with_its_item_where_a_user_disliked_something_before(
    tmp_path: Path,
) -> None:
    items = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(6)],
            "title": [f"Thing {number}" for number in range(6)],
            "categories": [["Shop"]] * 6,
        }
    )
    events = pl.DataFrame(
        [
            (user, f"i{number}", number, f"on i{number} by {user}", kind)
            for user, disliked in (("u0", 0), ("u1", 2))
            for number in range(6)
            for kind in ["dislike" if number == disliked else "purchase"]
        ],
        schema=["user_id", "item_id", "timestamp", "review", "event"],
        orient="row",
    )
    with new_folder(tmp_path / "dataset", "dataset", command="test") as draft:
        draft.facts["clock"] = "order"
        write_tables(draft, Tables(items.lazy(), events.lazy()))
    made = annotate(Dataset(tmp_path / "dataset"), "leave-one-out", Echo()).frame
    own = made.filter(pl.col("view") == "what_i_want")
    assert own.height == 6
    for user_id, item_id, text in own.select("user_id", "item_id", "text").iter_rows():
        assert text == f"wants on {item_id} by {user_id}"
