"""Variety is measured by figures that can be worked out by hand, and compared on equal terms."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop_world import Echo
from typer.testing import CliRunner

from instructrec.cli.corpus import app
from instructrec.data.dataset import Dataset
from instructrec.errors import DataError, UsageError
from instructrec.instructions.builder import build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.diversify import DiversityRates
from instructrec.instructions.rows import CorpusConfig
from instructrec.instructions.variety import (
    compare,
    corpus_variety,
    measure,
    read_texts,
    words_of,
)

FEW = ["I want a red game.", "i want a blue game", "Any puzzles? No jazz, under 30!", "jazz"]


def test_figures_of_a_few_texts_are_those_worked_out_by_hand() -> None:
    told = measure(FEW)
    assert (told.texts, told.sampled, told.distinct_texts) == (4, 4, 1.0)
    assert told.words_mean == 4.25 and told.words_p50 == 5.0
    assert told.distinct_1 == round(12 / 17, 4)
    assert told.distinct_2 == round(11 / 13, 4)
    assert told.distinct_3 == 0.9
    assert told.self_similarity == round((2 / 6 + 2 / 6 + 0) / 3, 4)
    assert (told.lower_case, told.full_stop) == (0.5, 0.5)
    assert (told.first_person, told.figure, told.question, told.negation) == (0.5, 0.25, 0.25, 0.25)


def test_words_keep_hyphens_and_either_apostrophe() -> None:
    assert words_of("I\u2019m for Wi-Fi, 2-player R&B!") == [
        "i'm",
        "for",
        "wi-fi",
        "2-player",
        "r",
        "b",
    ]


@given(st.lists(st.text(alphabet="ab c", min_size=3, max_size=12), min_size=2, max_size=12))
@settings(max_examples=60, deadline=None)
def test_likeness_agrees_with_a_plain_loop(texts: list[str]) -> None:
    pairs = [set(pairwise(words_of(text))) for text in texts]
    pairs = [found for found in pairs if found]
    best = [
        max(len(one & other) / len(one | other) for at, other in enumerate(pairs) if at != place)
        for place, one in enumerate(pairs)
        if len(pairs) > 1
    ]
    expected = sum(best) / len(best) if best else 0.0
    assert measure(texts).self_similarity == pytest.approx(expected, abs=1e-4)


def test_all_alike_is_one_and_all_different_is_nought() -> None:
    same, other = measure(["a b c"] * 5), measure(["a b", "c d", "e f"])
    assert (same.self_similarity, same.distinct_texts) == (1.0, 0.2)
    assert (other.self_similarity, other.distinct_1) == (0.0, 1.0)


def test_a_distance_is_nought_to_itself_one_to_strangers_and_the_same_both_ways() -> None:
    first = [f"a b c d {'e ' * (number % 3)}" for number in range(40)]
    second = [f"v w x {'y ' * (4 + number % 2)}" for number in range(40)]
    _, _, itself = compare(first, first)
    assert (itself.words, itself.small_words, itself.lengths) == (0.0, 0.0, 0.0)
    _, _, apart = compare(first, second)
    assert (apart.words, apart.lengths) == (1.0, 1.0)
    assert compare(second, first)[2].words == apart.words


def test_a_distance_is_the_jensen_shannon_divergence_in_bits() -> None:
    _, _, told = compare(["a a a b"] * 4, ["a b b b"] * 4)
    one = 0.75 * math.log2(0.75 / 0.5) + 0.25 * math.log2(0.25 / 0.5)
    assert told.words == pytest.approx(one, abs=1e-4)
    assert told.lengths == told.floor_words == 0.0


def test_both_sides_of_a_comparison_are_samples_of_one_size_and_draws_are_seeded() -> None:
    many = [f"word{number} and more" for number in range(500)]
    ours, theirs, _ = compare(many, FEW * 5, sample=100)
    assert (ours.sampled, theirs.sampled, ours.texts) == (20, 20, 500)
    assert compare(many, FEW, seed=1) == compare(many, FEW, seed=1)


@pytest.fixture(scope="module")
def corpus(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    rates = dict.fromkeys(CorpusConfig().rates, 1.0)
    config = CorpusConfig(rates=rates, diversity=DiversityRates())
    return build_corpus(dataset, Echo(), tmp_path_factory.mktemp("varied") / "corpus", config)


def test_a_corpus_tells_shares_and_figures_of_each_kind_of_text(corpus: Corpus) -> None:
    told = corpus_variety(corpus, FEW * 10, sample=200)
    assert sum(told["shares"]["strategy"].values()) == pytest.approx(1, abs=1e-3)
    assert {"turned-around", "relatedness", "chain-of-thought"} <= set(told["shares"]["strategy"])
    assert set(told["texts"]) == {"wishes", "I1", "I2", "preference", "instruction"}
    assert set(told["beside"]) == {"I1", "I2", "wishes"}
    assert told["beside"]["I1"]["ours"]["sampled"] == 40
    assert told == corpus_variety(corpus, FEW * 10, sample=200)


def test_a_corpus_says_what_was_done_to_its_wishes_and_evaluation_asks_by_plain_ones(
    corpus: Corpus,
) -> None:
    styles = corpus_variety(corpus, sample=50)["shares"]["style"]
    assert styles["plain"] > 0.2 and styles["typos"] > 0.02 and styles["negated"] > 0
    rows = corpus.rows("train")
    assert set(rows.filter(intention_kind="I0")["style"]) == {""}
    answered = rows.filter(pl.col("strategy") != "direct", pl.col("intention_kind") != "I0")
    asked = pl.concat([corpus.rows("validation"), corpus.rows("test")])
    plain = {*answered["style"], *asked.filter(pl.col("intention_kind") != "I0")["style"]}
    assert plain == {"plain"}
    typed = rows.filter(pl.col("query_id").is_not_null(), pl.col("intention_kind") != "I0")
    assert set(typed["style"]) == {"plain"}
    assert corpus.manifest["settings"]["diversity"]["typos"] == 0.06


@pytest.mark.parametrize(("flags", "varied"), [([], False), (["--varied-wishes"], True)])
def test_wishes_stay_as_they_were_written_unless_one_asks_for_variety(
    dataset: Dataset, tmp_path: Path, flags: list[str], varied: bool
) -> None:
    asked = ["build", str(dataset.folder), "--out", str(tmp_path / "made"), *flags]
    made = CliRunner().invoke(app, [*asked, "--executor", "none", "--json"])
    assert made.exit_code == 0, made.output
    styles = set(Corpus(tmp_path / "made").rows("train")["style"])
    assert (styles > {"", "plain"}) is varied and styles >= {"", "plain"}


def test_a_wish_counts_once_however_many_rows_ask_by_it(corpus: Corpus) -> None:
    told = corpus_variety(corpus, sample=100_000)
    rows = corpus.rows("train").filter(pl.col("intention_kind") == "I1", strategy="direct")
    wishes = rows.unique(["user_id", "item_id", "intention"])
    assert told["texts"]["I1"]["texts"] == wishes.height < rows.height


def test_the_command_prints_a_table_or_json(corpus: Corpus, tmp_path: Path) -> None:
    pl.DataFrame({"request": FEW * 10}).write_csv(tmp_path / "real.csv")
    asked = ["variety", str(corpus.folder), "--beside", str(tmp_path / "real.csv")]
    shown = CliRunner().invoke(app, [*asked, "--column", "request", "--sample", "50"])
    assert shown.exit_code == 0, shown.output
    for part in ("self similarity", "difference", "Jensen-Shannon", "turned-around"):
        assert part in shown.output
    told = CliRunner().invoke(app, [*asked, "--column", "request", "--sample", "50", "--json"])
    assert json.loads(told.stdout)["beside"]["I2"]["distance"]["words"] > 0


def test_a_reference_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    pl.DataFrame({"request": ["a", None, " "]}).write_parquet(tmp_path / "real.parquet")
    (tmp_path / "real.jsonl").write_text("{")
    for path, column, error, told in (
        ("none.csv", "text", UsageError, "there is no file"),
        ("real.parquet", "text", UsageError, "has no column 'text'"),
        ("real.parquet", "request", DataError, "has 1 texts"),
        ("real.jsonl", "text", DataError, "cannot be read"),
    ):
        with pytest.raises(error, match=told):
            read_texts(tmp_path / path, column)
