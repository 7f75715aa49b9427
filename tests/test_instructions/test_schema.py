"""Scenarios are written as the paper writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.errors import UsageError
from instructrec.instructions.schema import (
    Instruction,
    Intention,
    IntentionKind,
    Preference,
    Scenario,
    TaskForm,
)

PREFERENCES = ["P0", "P1", "P2", "P1+P2"]
INTENTIONS = ["I0", "I1", "I2"]
TASKS = ["T0", "T1", "T2", "T3"]


@given(
    st.lists(st.sampled_from(PREFERENCES), min_size=1, unique=True),
    st.lists(st.sampled_from(INTENTIONS), min_size=1, unique=True),
    st.lists(st.sampled_from(TASKS), min_size=1, unique=True),
)
def test_a_scenario_reads_back_what_it_writes(p: list[str], i: list[str], t: list[str]) -> None:
    scenario = Scenario.parse(",".join("/".join(axis) for axis in (p, i, t)))
    assert Scenario.parse(str(scenario)) == scenario
    singles = list(scenario.singles())
    assert len(singles) == len(p) * len(i) * len(t)
    assert all(single.is_single and scenario.covers(single) for single in singles)


def test_brackets_spaces_and_the_papers_table_7_are_understood() -> None:
    assert str(Scenario.parse("⟨P1/P2, I1/I2, T3⟩")) == "P1/P2,I1/I2,T3"
    assert str(Scenario.parse("<p2 + p1,i0,t3>")) == "P1+P2,I0,T3"
    assert str(Scenario.parse("P1,P2,T3")) == "P1+P2,I0,T3"


@pytest.mark.parametrize(
    "text", ["", "P1", "P1,I0", "P9,I0,T3", "P1,I0,T3,T2", "P1/P1,I0,T3", "T3,I0,P1"]
)
def test_what_is_no_scenario_is_refused_with_the_cure(text: str) -> None:
    with pytest.raises(UsageError, match="is not a scenario"):
        Scenario.parse(text)


def test_an_instruction_knows_its_own_scenario_and_what_is_known() -> None:
    history = Preference(history=("A", "B"), history_ids=("a", "b"))
    wish = Intention("a gift for my son", IntentionKind.VAGUE)
    assert str(Instruction(history, wish, TaskForm.PAIRWISE).scenario) == "P1,I1,T1"
    assert Instruction(history).known == "P,I0"
    assert Instruction(intention=wish).known == "P0,I"
    assert Instruction(history, wish).known == "P,I"
    assert Instruction().known == "P,I0"


def test_values_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="history_ids"):
        Preference(history=("A",), history_ids=("a", "b"))
    with pytest.raises(ValueError, match="I0"):
        Intention("words")
