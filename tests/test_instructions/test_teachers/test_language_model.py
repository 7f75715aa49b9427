"""The teacher: grouping, cache, asking again, rules in place of what failed, budget."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from worlds import asks_of

from instructrec.errors import FolderError, ModelError
from instructrec.instructions.teachers.base import Answer, Ask, ItemFacts, Prompt
from instructrec.instructions.teachers.budget import Budget, BudgetError, Price
from instructrec.instructions.teachers.cache import AnswerCache
from instructrec.instructions.teachers.language_model import LanguageModelTeacher
from instructrec.instructions.teachers.prompting import PromptBook
from instructrec.instructions.teachers.rules import RulesTeacher

GOOD = {
    "overall": "They like warm voices.",
    "long_term": "They have always liked soul.",
    "short_term": "They have turned to piano pieces of late.",
    "what_i_want": "I want a lovely voice.",
    "what_it_is_like": "I want something with a piano.",
    "query": "warm soul",
}
FEW = Price(input=1.0, output=1.0)


class Model:
    """Answers the n-th question about a job with the n-th of some changes to good answers."""

    name = "openai:m"
    parameters: ClassVar[dict[str, object]] = {}

    def __init__(self, *changes: dict[str, str] | str, backwards: bool = False) -> None:
        self.changes, self.backwards = changes or ({},), backwards
        self.asked: list[Prompt] = []
        self.error = ""

    def complete(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        order = range(len(prompts))
        for number in reversed(order) if self.backwards else order:
            prompt = prompts[number]
            self.asked.append(prompt)
            turn = (len(prompt.messages) - 2) // 2
            turn = min(sum(p.messages[:2] == prompt.messages[:2] for p in self.asked) - 1,
                       len(self.changes) - 1) if turn else 0  # fmt: skip
            change = self.changes[turn]
            text = change if isinstance(change, str) else json.dumps({**GOOD, **change})
            yield number, Answer("" if self.error else text, 100, 20, self.error)


def teacher_of(model: Model, folder: Path, **settings: object) -> LanguageModelTeacher:
    return LanguageModelTeacher(
        model, PromptBook.load("en"), AnswerCache(folder), **settings  # type: ignore[arg-type]
    )  # fmt: skip


def texts(teacher: LanguageModelTeacher, asks: list[Ask]) -> list[tuple[str, str]]:
    return [(one.text, one.by) for one in teacher.write(asks)]


def test_three_preferences_are_one_request_and_two_intentions_another(tmp_path: Path):
    model = Model()
    written = texts(teacher_of(model, tmp_path), asks_of(1))
    assert len(model.asked) == 2
    assert written == [(text, "openai:m") for name, text in GOOD.items() if name != "query"]


def test_what_is_in_the_cache_is_not_sent(tmp_path: Path):
    first = texts(teacher_of(Model(), tmp_path), asks_of(3))
    model = Model()
    assert texts(teacher_of(model, tmp_path), asks_of(3)) == first
    assert model.asked == []
    assert len(texts(teacher_of(model, tmp_path), asks_of(4))) == 20
    assert len(model.asked) == 2


def test_the_order_of_arrival_changes_nothing(tmp_path: Path):
    asks = asks_of(5)
    changes = ({"overall": "I like it."}, {"overall": "Zorblax 1 volume 1"}, {})
    forth = texts(teacher_of(Model(*changes), tmp_path / "a"), asks)
    back = texts(teacher_of(Model(*changes, backwards=True), tmp_path / "b"), asks)
    assert forth == back


def test_the_same_request_is_sent_once(tmp_path: Path):
    model = Model()
    ask = Ask("intention", "query", None, "i", item=ItemFacts("Zorblax", ("Music",)), seed=1)
    other = Ask("intention", "query", None, "j", item=ItemFacts("Zorblax", ("Music",)), seed=2)
    assert texts(teacher_of(model, tmp_path), [ask, other]) == [("warm soul", "openai:m")] * 2
    assert len(model.asked) == 1


def test_a_wrong_answer_is_asked_again_with_its_fault_named(tmp_path: Path):
    model = Model({"what_i_want": "I want Zorblax 0 volume 0."}, {})
    written = texts(teacher_of(model, tmp_path), asks_of(1))
    assert (GOOD["what_i_want"], "openai:m") in written
    assert len(model.asked) == 3
    again = model.asked[-1].messages
    assert "Zorblax 0 volume 0." in again[2].content
    assert "what_i_want" in again[3].content
    assert "what_it_is_like:" not in again[3].content.replace('"what_it_is_like": ', "")


def test_what_was_good_at_first_stays_when_the_rest_is_asked_again(tmp_path: Path):
    model = Model({"long_term": ""}, {"overall": "They like other things now."})
    written = texts(teacher_of(model, tmp_path), asks_of(1))
    assert written[0][0] == GOOD["overall"]
    assert written[1][0] == GOOD["long_term"]


def test_after_two_more_tries_rules_write_and_the_failure_is_recorded(tmp_path: Path):
    model = Model({"what_i_want": "I want Zorblax 0 volume 0."})
    teacher = teacher_of(model, tmp_path)
    asks = asks_of(1)
    written = texts(teacher, asks)
    (by_rules,) = RulesTeacher().write([asks[3]])
    assert written[3] == (by_rules.text, "rules")
    assert [by for _, by in written].count("rules") == 1
    assert teacher.failed == {"title": 1}
    assert list(teacher.cache.failures()) == [("openai:m", "en-1", ["title"])]
    assert len(model.asked) <= 1 + 3
    assert texts(teacher_of(Model(), tmp_path), asks) == written


def test_failed_answers_that_are_dropped_are_asked_anew(tmp_path: Path):
    texts(teacher_of(Model("nonsense"), tmp_path), asks_of(1))
    AnswerCache(tmp_path).prune(failed=True)
    model = Model()
    assert {by for _, by in texts(teacher_of(model, tmp_path), asks_of(1))} == {"openai:m"}
    assert len(model.asked) == 2


def test_what_no_model_is_asked_is_written_by_rules(tmp_path: Path):
    model = Model()
    labels = Ask("intention", "specific", None, "i", item=ItemFacts("Zorblax", ("Music", "Soul")))
    assert texts(teacher_of(model, tmp_path), [labels]) == [("Music, Soul", "rules")]
    assert model.asked == []


def test_one_refused_request_falls_back_and_none_answered_at_all_stops(tmp_path: Path):
    model = Model()
    model.error = "refused: 400 too long"
    with pytest.raises(ModelError, match="answers no request: refused: 400 too long"):
        teacher_of(model, tmp_path).write(asks_of(1))
    teacher = teacher_of(Model(), tmp_path)
    teacher.write(asks_of(1))
    teacher.completions = model
    assert {one.by for one in teacher.write(asks_of(1, first=1))} == {"rules"}
    assert teacher.failed == {"refused": 5}


def test_a_budget_stops_before_it_is_exceeded_and_the_next_run_goes_on(tmp_path: Path):
    asks = asks_of(30)
    whole = texts(teacher_of(Model(), tmp_path / "whole"), asks)
    runs = paid = 0
    while True:
        budget = Budget(5_000, price=FEW)
        teacher = teacher_of(Model(), tmp_path / "parts", budget=budget)
        try:
            written = texts(teacher, asks)
        except BudgetError as error:
            assert "Run the same command again to go on" in str(error)
        else:
            break
        finally:
            assert budget.spent <= 5_000
            paid, runs = paid + budget.answers, runs + 1
    assert written == whole
    assert paid == 60
    assert runs > 1


def test_a_budget_without_room_for_one_request_sends_none(tmp_path: Path):
    model = Model()
    with pytest.raises(BudgetError, match="the budget of 100 tokens has no room"):
        teacher_of(model, tmp_path, budget=Budget(100)).write(asks_of(1))
    assert model.asked == []


def test_a_full_disk_is_one_line_and_a_second_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asks = asks_of(20)
    whole = texts(teacher_of(Model(), tmp_path / "whole"), asks)
    teacher = teacher_of(Model(), tmp_path / "full")
    pages = teacher.cache._db.execute("PRAGMA page_count").fetchone()[0]
    teacher.cache._db.execute(f"PRAGMA max_page_count = {pages + 12}")
    with pytest.raises(FolderError, match="Make room, then run the same command again"):
        teacher.write(asks)
    kept = AnswerCache(tmp_path / "full").summary()[0]["answers"]
    assert 0 < kept < 40
    model = Model()
    assert texts(teacher_of(model, tmp_path / "full"), asks) == whole
    assert len(model.asked) == 40 - kept


def test_progress_tells_answers_cost_and_what_is_left(tmp_path: Path):
    teacher = teacher_of(Model(), tmp_path, budget=Budget(price=FEW))
    said: list[str] = []

    class Heard:
        def track(self, items, title, total=None):
            return items

        def note(self, text: str) -> None:
            said.append(text)

    teacher.progress, teacher.expected = Heard(), 50
    teacher._meter._every = 0.0
    teacher.write(asks_of(2))
    assert "of about 50 answers" in said[-1]
    assert "tokens, 0.00 USD, about" in said[-1]
    assert "4 answers paid for" in teacher.told()


def test_what_decides_the_texts_is_told_without_key_or_place(tmp_path: Path):
    told = json.dumps(teacher_of(Model(), tmp_path).parameters)
    assert json.loads(told)["prompts"] == "en-1"
    assert str(tmp_path) not in told
