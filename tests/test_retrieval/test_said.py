"""Lexical match tells how much of what was said an item says too."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction, Intention, IntentionKind
from instructrec.retrieval.lexical import Lexical
from instructrec.retrieval.said import Said

TITLES = ["Star Racer", "Garden Hose", "Racer Gloves", "Rose Shears", "Hard Drive"]
ROWS = np.arange(5)[None]


@pytest.fixture(scope="module")
def lexical() -> Lexical:
    ids = [f"i{number}" for number in range(len(TITLES))]
    return Lexical.fit(Catalogue(pl.DataFrame({"item_id": ids, "title": TITLES})))


def wish(text: str) -> Instruction:
    return Instruction(intention=Intention(text, IntentionKind.VAGUE))


def test_a_label_said_whole_counts_more_than_one_word_of_many(lexical: Lexical):
    said = Said(lexical)
    whole = said.score([wish("star racer")], ROWS)[0]
    chance = said.score([wish("keep my petrol head kid busy during one long drive")], ROWS)[0]
    assert whole[0] == pytest.approx(1.0)
    assert 0 < chance[4] < 0.25


def test_the_order_within_a_request_is_that_of_bm25(lexical: Lexical):
    instructions = [wish("racer gloves for the garden"), wish("rose")]
    rows = np.repeat(ROWS, 2, axis=0)
    plain, share = lexical.score(instructions, rows), Said(lexical).score(instructions, rows)
    assert np.array_equal(np.argsort(-plain, kind="stable"), np.argsort(-share, kind="stable"))
    assert (share <= 1.0 + 1e-6).all()


def test_what_says_nothing_known_scores_zero_and_no_candidate_minus_infinity(lexical: Lexical):
    scores = Said(lexical).score([wish("zzz"), Instruction()], np.array([[0, -1], [1, -1]]))
    assert scores[:, 0].tolist() == [0.0, 0.0]
    assert np.isneginf(scores[:, 1]).all()
