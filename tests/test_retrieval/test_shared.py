"""Items that repeat words of the latest titles come first."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction, Intention, IntentionKind, Preference
from instructrec.retrieval.lexical import Lexical
from instructrec.retrieval.shared import SharedWords

TITLES = ["Star Racer", "Star Racer II", "Garden Hose", "Racer Gloves", "Rose Shears"]


@pytest.fixture(scope="module")
def shared() -> SharedWords:
    ids = [f"i{number}" for number in range(len(TITLES))]
    catalogue = Catalogue(pl.DataFrame({"item_id": ids, "title": TITLES}))
    return SharedWords(Lexical.fit(catalogue))


def asked(*history: str, wish: str = "") -> Instruction:
    intention = Intention(wish, IntentionKind.VAGUE) if wish else Intention()
    return Instruction(Preference(history=history), intention)


def test_what_shares_more_and_rarer_words_scores_higher(shared: SharedWords):
    scores = shared.score([asked("Star Racer")], np.arange(5)[None])[0]
    assert scores[1] > scores[3] > scores[2] == scores[4] == 0


def test_the_latest_title_weighs_most(shared: SharedWords):
    scores = shared.score([asked("Garden Hose", "Rose Shears")], np.arange(5)[None])[0]
    assert scores[4] > scores[2] > 0


def test_a_wish_alone_says_nothing_here(shared: SharedWords):
    instruction = asked(wish="a star racer")
    assert not shared.score([instruction], np.arange(5)[None]).any()
    assert shared.retrieve([instruction], 3).tolist() == [[-1, -1, -1]]


def test_only_items_that_share_a_word_are_retrieved(shared: SharedWords):
    assert shared.retrieve([asked("Star Racer II")], 4).tolist() == [[1, 0, 3, -1]]
