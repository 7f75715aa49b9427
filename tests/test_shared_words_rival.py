"""The shared-words rival looks at titles only."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from instructrec.data.catalogue import Catalogue
from instructrec.evaluation.baselines.words import SharedWords
from instructrec.instructions.schema import Instruction, Preference
from instructrec.protocols import Scorer

TITLES = ["Red Racer", "Red racer 2", "Blue Racer: Deluxe", "Garden Hose", "Tin Cup"]


def the_words() -> SharedWords:
    ids = [str(number) for number in range(len(TITLES))]
    return SharedWords(Catalogue(pl.DataFrame({"item_id": ids, "title": TITLES})))


def test_rare_shared_words_weigh_more_and_old_titles_less() -> None:
    words = the_words()
    request = Instruction(Preference(("Blue Racer: Deluxe", "Garden Hose")))
    scores = words.score([request], np.array([[0, 2, 3, 4]]))
    racer, rare = math.log(5 / 3), math.log(5)
    expected = [0.9 * racer, 0.9 * (racer + 2 * rare), 2 * rare, 0]
    assert scores[0].tolist() == pytest.approx(expected)


def test_only_the_last_ten_titles_count() -> None:
    request = Instruction(Preference(("Tin Cup", *["Garden Hose"] * 10)))
    assert the_words().score([request], np.array([[4]])).tolist() == [[0]]


def test_words_of_strange_titles_are_passed_over() -> None:
    request = Instruction(Preference(("A red balloon",)))
    scores = the_words().score([request], np.array([[0, 3, -1]]))
    assert scores[0].tolist() == pytest.approx([math.log(5 / 2), 0, -math.inf])


def test_without_history_all_score_zero() -> None:
    assert not the_words().score([Instruction()], np.array([[0, 1, 2]])).any()
    assert isinstance(the_words(), Scorer)
