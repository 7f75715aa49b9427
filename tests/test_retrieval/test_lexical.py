"""Lexical match is BM25 of the instruction's words, over candidates and over the catalogue."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from retrieval_worlds import SHOP, a_catalogue, every_row, wishing

from instructrec.errors import FolderError
from instructrec.instructions.schema import Context
from instructrec.protocols import Condition, Filters, Retriever
from instructrec.retrieval._words import words
from instructrec.retrieval.lexical import K1, B, Lexical

REQUESTS = [
    wishing("a racing game, and more racing games"),
    wishing("", likes="gardens with roses"),
    wishing("a pot", likes="turbo engines"),
    wishing("", history=["a1"]),
    wishing("zebra"),
    wishing("连衣裙"),
]


def by_hand(texts: list[list[str]], query: list[str]) -> list[float]:
    """BM25 by its formula, word by word."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        counts, score = Counter(text), 0.0
        for word in query:
            having = sum(word in other for other in texts)
            if having:
                idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
                norm = counts[word] + K1 * (1 - B + B * len(text) / mean)
                score += idf * counts[word] / norm
        scores.append(score)
    return scores


def test_scores_are_those_of_the_formula():
    catalogue = a_catalogue()
    texts = [words(text) for text in catalogue.texts]
    scores = Lexical.fit(catalogue).score(REQUESTS, every_row(len(REQUESTS), catalogue))
    for line, request in zip(scores, REQUESTS, strict=True):
        said = words(request.intention.text) + words(request.preference.text)
        assert line == pytest.approx(by_hand(texts, said), abs=1e-5)


def test_a_few_candidates_of_a_large_catalogue_score_as_among_all():
    shop = dict(SHOP) | {f"z{n:03d}": (f"Thing {n}", ["Racing"], 1.0) for n in range(200)}
    catalogue = a_catalogue(shop)
    lexical = Lexical.fit(catalogue)
    everything = lexical.score(REQUESTS, every_row(len(REQUESTS), catalogue))
    some = np.tile([3, 150, -1, 0], (len(REQUESTS), 1))
    few = lexical.score(REQUESTS, some)
    assert few.dtype == np.float32
    assert np.isneginf(few[:, 2]).all()
    there = [0, 1, 3]
    assert np.allclose(few[:, there], everything[:, some[0, there]], atol=1e-6)


def test_words_find_items_best_first_and_only_those_that_share_one():
    catalogue = a_catalogue()
    found = Lexical.fit(catalogue).retrieve(REQUESTS, 3)
    ids = [[catalogue.item_ids[row] for row in line if row >= 0] for line in found]
    assert ids[0] == ["a1", "a2", "a3"]
    assert ids[1][0] == "b2"
    assert ids[2][0] == "b3"
    assert ids[3] == ids[4] == []
    assert ids[5] == ["c1"]


def test_filters_hold_before_the_list_is_cut():
    catalogue = a_catalogue()
    cheap = Filters((Condition("price", "<", 30.0),), frozenset({"a1"}))
    found = Lexical.fit(catalogue).retrieve([wishing("a game")] * 2, 1, [cheap, Filters()])
    assert [catalogue.item_ids[row] for row in found[:, 0]] == ["a3", "a1"]


def test_the_history_speaks_only_when_asked_for():
    catalogue = a_catalogue()
    silent, speaking = Lexical.fit(catalogue), Lexical.fit(catalogue, with_history=True)
    request = [wishing("", history=["a1"])]
    assert not silent.score(request, every_row(1, catalogue)).any()
    assert speaking.retrieve(request, 2)[0].tolist() == [0, 1]


def test_the_context_is_part_of_what_is_said():
    catalogue = a_catalogue()
    request = replace(wishing("something"), context=Context(occasion="day in the garden"))
    best = Lexical.fit(catalogue).retrieve([request], 1)[0, 0]
    assert catalogue.item_ids[best].startswith("b")


def test_what_is_saved_is_loaded_and_the_bytes_are_the_same(tmp_path):
    catalogue = a_catalogue()
    lexical = Lexical.fit(catalogue, with_history=True)
    lexical.save(tmp_path / "one")
    Lexical.fit(catalogue, with_history=True).save(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    again = Lexical.load(tmp_path / "one", catalogue)
    rows = every_row(len(REQUESTS), catalogue)
    assert np.array_equal(lexical.score(REQUESTS, rows), again.score(REQUESTS, rows))


def test_a_changed_catalogue_is_indexed_anew(tmp_path):
    Lexical.fit(a_catalogue()).save(tmp_path)
    shop = dict(SHOP) | {"d1": ("Zebra Lamp", ["Light"], 9.0)}
    found = Lexical.load(tmp_path, a_catalogue(shop)).retrieve([wishing("zebra")], 1)
    assert found.tolist() == [[7]]


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(FolderError, match="is missing"):
        Lexical.load(tmp_path, a_catalogue())


def test_a_catalogue_without_words_answers_nothing():
    catalogue = a_catalogue({"a": ("!", [], 1.0)})
    lexical = Lexical.fit(catalogue)
    assert lexical.retrieve([wishing("a game")], 1).tolist() == [[-1]]
    assert isinstance(lexical, Retriever)
