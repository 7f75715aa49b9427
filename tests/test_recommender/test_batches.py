"""Requests asked together are answered as if each had been asked alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from instructrec.errors import UsageError
from instructrec.folders import read_json, write_json
from instructrec.protocols import Filters
from instructrec.questions import Question
from instructrec.recommender import Recommender

QUESTIONS = [
    Question(user="ann", k=3),
    Question(user="nobody", k=2),
    Question(wish="a racing game under 30", k=8),
    Question(history=("Garden Hose",), wish="something for roses", k=2, pool=3),
    Question(wish="racing", task="T2"),
    Question(user="bob", task="T0", candidates=("Turbo Kart",)),
    Question(user="bob", task="T1", candidates=("Turbo Kart", "Quiet Farm")),
    Question(user="dan", evidence="lm", k=2),
    Question(user="dan", evidence="without_lm", k=2),
    Question(wish="anything under 1"),
]


@pytest.fixture
def with_quick(recommender, tmp_path) -> Recommender:
    """The shop's recommender with weights for the evidence without the language model."""
    content = read_json(recommender.fusion_file)
    pieces = {"neighbours": {"weight": 2.0, "scale": 1.0}}
    content["without_lm"] = {known: pieces for known in ("P,I0", "P0,I", "P,I")}
    write_json(tmp_path / "fusion.json", content)
    return Recommender(
        recommender.dataset, recommender.retrievers, recommender.lm, tmp_path / "fusion.json"
    )


def test_a_batch_of_all_kinds_of_requests_is_answered_as_each_alone(with_quick):
    alone = [with_quick.answer([question])[0] for question in QUESTIONS]
    together = with_quick.answer(QUESTIONS)
    assert [replace(one, seconds={}) for one in together] == [
        replace(one, seconds={}) for one in alone
    ]
    assert not any(isinstance(one, Exception) for one in together)


def test_what_is_wrong_with_one_request_does_not_touch_the_others(recommender):
    wrong = [
        Question(wish="racing", task="T9"),
        Question(candidates=("No Such Thing",), wish="racing"),
        Question(wish="racing", filters=Filters.parse(["colour==red"])),
    ]
    answers = recommender.answer([QUESTIONS[0], *wrong, QUESTIONS[2]])
    assert [isinstance(one, UsageError) for one in answers] == [False, True, True, True, False]
    assert answers[0].items == recommender.recommend(user="ann", k=3).items


def test_the_evidence_without_the_language_model_never_asks_it(with_quick, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the language model was asked")

    for name in ("score", "judge", "compare", "find"):
        monkeypatch.setattr(with_quick.lm, name, refuse)
    quick = [replace(one, evidence="without_lm") for one in QUESTIONS]
    answers = with_quick.answer(quick)
    assert not any(isinstance(one, Exception) for one in answers)
    assert set(answers[0].items[0].evidence) == {"neighbours"}


def test_what_a_user_took_lately_joins_their_history_and_is_not_answered_again(recommender):
    before = recommender.recommend(user="ann", k=8)
    (after,) = recommender.answer([Question(user="ann", recent=("h1", "g1", "gone"), k=8)])
    assert "Garden Hose" in [item.title for item in before.items]
    assert "Garden Hose" not in [item.title for item in after.items]
    assert after.instruction.count("Turbo Kart") == 1  # taken again, told once
    assert after.instruction.index("Quiet Farm") < after.instruction.index("Garden Hose")


def test_a_stranger_with_recent_items_is_no_stranger_any_more(recommender):
    (answer,) = recommender.answer([Question(user="zoe", recent=("g1",), k=2)])
    assert answer.scenario == "P1,I0,T3"
    assert answer.notes == ()


@pytest.mark.parametrize("text", ["categories==Garden", "title<=3", "price==cheap"])
def test_a_condition_that_does_not_fit_its_column_is_refused_in_one_line(recommender, text):
    with pytest.raises(UsageError):
        recommender.recommend(filters=Filters.parse([text]))
