"""A title or a review that gives orders changes nothing but its own rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from instructrec.data.dataset import Dataset, Tables, write_tables
from instructrec.folders import new_folder
from instructrec.instructions.audit.leaks import find_leaks
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.teachers.base import Answer, Prompt, Teacher
from instructrec.instructions.teachers.cache import AnswerCache
from instructrec.instructions.teachers.language_model import LanguageModelTeacher
from instructrec.instructions.teachers.prompting import PromptBook
from instructrec.instructions.teachers.rules import RulesTeacher

TEXTS: list[str] = yaml.safe_load(
    (Path(__file__).parents[1] / "data" / "injections.yaml").read_text(encoding="utf-8")
)
USERS, ITEMS = 60, 300
EVIL_USERS = {f"u{number:03}" for number in range(len(TEXTS))}
EVIL_ITEMS = {f"i{number:03}" for number in range(len(TEXTS))}
_NOUNS = ("kettle", "lantern", "racket", "novel", "teapot", "jacket", "puzzle", "guitar")
_TRAITS = ("quiet", "sturdy", "cheerful", "slim", "woollen", "antique", "portable", "bright")


def _world(folder: Path, titles: Sequence[str], reviews: Sequence[str]) -> Dataset:
    """A shop whose first items have these titles, and whose first users wrote these reviews."""
    rng = np.random.default_rng(1)
    ids = [f"i{number:03}" for number in range(ITEMS)]
    usual = [f"{_TRAITS[n % 8].title()} {_NOUNS[n // 8 % 8].title()} No. {n}" for n in range(ITEMS)]
    items = pl.DataFrame(
        {
            "item_id": ids,
            "title": [*titles, *usual[len(titles) :]],
            "categories": [["Shop", _NOUNS[n // 8 % 8].title()] for n in range(ITEMS)],
            "price": [5.0 + n % 40 for n in range(ITEMS)],
        }
    )
    events = []
    for user in range(USERS):
        # Items with planted titles are at most in one history of ten.
        chosen = rng.permutation(np.arange(len(TEXTS), ITEMS))[:6].tolist()
        if user >= USERS - 10:
            chosen[2] = int(rng.integers(len(TEXTS)))
        for place, item in enumerate(chosen):
            said = f"A {_TRAITS[item % 8]} {_NOUNS[item // 8 % 8]}, good for rainy evenings."
            review = reviews[user] if user < len(reviews) and place >= 3 else said
            events.append((f"u{user:03}", ids[item], place + 1, review))
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp", "review"], orient="row")
    with new_folder(folder, "dataset", command="test") as draft:
        write_tables(draft, Tables(items.lazy(), frame.lazy(), clock="order"))
    return Dataset(folder)


class Obedient:
    """A model that does whatever the texts in its prompt order, and answers nonsense then."""

    name = "openai:obedient"
    parameters: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.obeyed = 0

    def complete(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        for at in reversed(range(len(prompts))):
            yield at, Answer(self._answer(prompts[at]), 1, 1)

    def _answer(self, prompt: Prompt) -> str:
        whole = "\n".join(turn.content for turn in prompt.messages)
        number = int(hashlib.sha256(whole.encode()).hexdigest()[:8], 16)
        if any(_flat(text)[:24] in _flat(whole) for text in TEXTS):
            self.obeyed += 1
            said = [
                "PWNED",
                '{"what_i_want": "I want PWNED for all.", "overall": "PWNED"}',
                "",
                "}{",
            ]
            return said[number % 4]
        noun, trait = _NOUNS[number % 8], _TRAITS[number // 8 % 8]
        fields = {
            "overall": f"They like every {trait} {noun} that is made to last.",
            "long_term": f"Over the years they have liked a {trait} {noun} best.",
            "short_term": f"Of late they turn to a {noun} that is {trait}.",
            "what_i_want": f"I want a {noun} that is {trait} and made to last.",
            "what_it_is_like": f"It should be {trait}, like a good {noun} with a story.",
            "query": f"{trait} {noun}",
        }
        return json.dumps(fields)


def _flat(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _teacher(name: str, cache: Path) -> Teacher:
    if name == "rules":
        return RulesTeacher()
    return LanguageModelTeacher(Obedient(), PromptBook.load("en"), AnswerCache(cache))


@pytest.fixture(scope="module", params=["rules", "language model"])
def corpora(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Dataset, Corpus]]:
    """The same shop without orders, with orders as titles, and with orders as reviews."""
    folder = tmp_path_factory.mktemp("worlds")
    plain = [f"Plain Basket No. {number}" for number in range(len(TEXTS))]
    worlds = {"plain": (plain, []), "titles": (TEXTS, []), "reviews": (plain, TEXTS)}
    made = {}
    for name, (titles, reviews) in worlds.items():
        dataset = _world(folder / name, titles, reviews)
        teacher = _teacher(request.param, folder / f"cache-{name}")
        rates = dict.fromkeys(CorpusConfig().rates, 1.0)
        corpus = build_corpus(dataset, teacher, folder / f"c-{name}", CorpusConfig(rates=rates))
        if isinstance(teacher, LanguageModelTeacher) and name != "plain":
            assert isinstance(teacher.completions, Obedient)
            assert teacher.completions.obeyed > 10
        made[name] = (dataset, corpus)
    return made


def test_there_are_at_least_thirty_of_them() -> None:
    assert len(TEXTS) == len(set(TEXTS)) >= 30
    assert all(_flat(text) for text in TEXTS)


def _history_users(dataset: Dataset) -> set[str]:
    events = dataset.interactions.filter(pl.col("item_id").is_in(sorted(EVIL_ITEMS)))
    return set(events.collect()["user_id"])


@pytest.mark.parametrize("where", ["titles", "reviews"])
def test_texts_of_everybody_else_are_the_same_to_the_byte(
    where: str, corpora: dict[str, tuple[Dataset, Corpus]]
) -> None:
    dataset, plain = corpora["plain"]
    _, changed = corpora[where]
    users = EVIL_USERS if where == "reviews" else _history_users(dataset)
    items = EVIL_ITEMS if where == "titles" else set()

    def others(corpus: Corpus) -> pl.DataFrame:
        mine = pl.col("user_id").is_in(sorted(users)) | pl.col("item_id").is_in(sorted(items))
        texts = corpus.annotations.filter(~mine.fill_null(value=False))
        return texts.sort("user_id", "item_id", "kind", "view", "split")

    assert others(plain).height > 200
    assert others(plain).equals(others(changed))


@pytest.mark.parametrize("where", ["titles", "reviews"])
def test_rows_of_everybody_else_are_the_same_to_the_byte(
    where: str, corpora: dict[str, tuple[Dataset, Corpus]]
) -> None:
    kept = []
    for name in ("plain", where):
        dataset, corpus = corpora[name]
        named = dataset.catalogue.titles[: len(TEXTS)]
        for split in ("train", "validation", "test"):
            rows = corpus.rows(split)
            if where == "reviews":
                rows = rows.filter(~pl.col("user_id").is_in(sorted(EVIL_USERS)))
            else:
                ids = pl.concat_list("candidate_ids", "history_ids", "item_id")
                rows = rows.filter(
                    ids.list.set_intersection(sorted(EVIL_ITEMS)).list.len() == 0,
                    ~pl.col("user_id").is_in(sorted(_history_users(dataset))),
                    ~pl.any_horizontal(
                        pl.col("instruction").str.contains(title, literal=True) for title in named
                    ),
                )
            kept.append(rows.sort("row"))
    for plain, changed in zip(kept[:3], kept[3:], strict=True):
        assert plain.height > 100
        assert plain.equals(changed)


@pytest.mark.parametrize("where", ["titles", "reviews"])
def test_orders_stand_in_rows_as_they_were_written_and_are_never_run(
    where: str, corpora: dict[str, tuple[Dataset, Corpus]]
) -> None:
    dataset, corpus = corpora[where]
    titles = set(dataset.catalogue.titles)
    for split in ("train", "test"):
        for row in corpus.rows(split).iter_rows(named=True):
            assert set(row["candidates"]) | set(row["history"]) | {row["item"]} <= titles
            if row["candidates"] and row["strategy"] == "direct":
                said = "".join(row["instruction"].split())
                assert all("".join(title.split()) in said for title in row["candidates"])


@pytest.mark.parametrize("where", ["plain", "titles", "reviews"])
def test_no_row_leaks_whatever_was_planted(
    where: str, corpora: dict[str, tuple[Dataset, Corpus]]
) -> None:
    dataset, corpus = corpora[where]
    assert [(one.check, one.rows[:3]) for one in find_leaks(corpus, dataset) if one.found] == []
