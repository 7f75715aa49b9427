"""Templates: what they cover, what they refuse, and where titles stand in the text."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.errors import DataError, UsageError
from instructrec.instructions.schema import (
    Context,
    Instruction,
    Intention,
    IntentionKind,
    Preference,
    Scenario,
    TaskForm,
)
from instructrec.instructions.templating import (
    Template,
    TemplateBank,
    render,
    render_response,
)

BANK = TemplateBank.load()
PREFERENCES = ("P0", "P1", "P2", "P1+P2")
GRID = [
    Scenario.parse(f"{preference},{intention},{task}")
    for preference, intention, task in product(
        PREFERENCES, ("I0", "I1", "I2"), ("T0", "T1", "T2", "T3")
    )
    if (preference, intention) != ("P0", "I0")
]
VIEW = "They like quiet piano records."
WISH = "I want something for a long drive."


def instruction_for(
    scenario: Scenario,
    history: tuple[str, ...] = ("Blue Dawn", "Red Dusk"),
    **more: object,
) -> Instruction:
    (preference,), (intention,), (task,) = scenario.axes
    request = Instruction(
        Preference(history if "P1" in preference else (), text=VIEW if "P2" in preference else ""),
        Intention(WISH if intention != "I0" else "", IntentionKind(intention)),
        TaskForm(task),
        candidates=("Grey Noon", "Pale Morning") if task in ("T0", "T1") else (),
    )
    return replace(request, **more)  # type: ignore[arg-type]


def every_use() -> list[tuple[Template, Scenario]]:
    return [
        (version, single)
        for template in BANK
        for version in template.versions
        for scenario in template.scenarios
        for single in scenario.singles()
    ]


def kind_of(template: Template) -> str:
    task = template.scenarios[0].axes[2][0]
    return task if template.strategy == "direct" else template.strategy


def test_the_papers_39_templates_are_there_in_the_papers_numbers() -> None:
    papers = [template for template in BANK if template.family in "ABC"]
    assert Counter(template.family for template in papers) == {"A": 17, "B": 9, "C": 13}
    assert Counter(map(kind_of, papers)) == {
        "T2": 15,
        "T3": 12,
        "T0": 2,
        "chain-of-thought": 1,
        "turned-around": 7,
        "relatedness": 2,
    }
    ids = [f"A{n}" for n in range(1, 18)] + [f"B{n}" for n in range(1, 10)]
    assert [template.id for template in papers] == ids + [f"C{n}" for n in range(1, 14)]


@pytest.mark.parametrize("scenario", GRID, ids=str)
def test_every_scenario_can_be_asked_in_at_least_two_ways(scenario: Scenario) -> None:
    found = BANK.covering(scenario, strategy="direct")
    wanted = {"T0": "yes-no", "T1": "which"}.get(scenario.axes[2][0], "item")
    few = scenario.axes[2][0] == "T2"
    assert len(found) >= (1 if few else 2)
    assert {template.asks for template in found} == {wanted}


def test_wordings_are_about_as_long_as_the_papers_and_some_are_short() -> None:
    words = {
        template.id: len(
            re.findall(r"[A-Za-z']+", re.sub(r"\{[%{].*?[%}]\}", " ", template.prompt))
        )
        for template in BANK
    }
    papers = [count for name, count in words.items() if name[0] in "ABC"]
    assert 30 <= sum(papers) / len(papers) <= 45
    for cell in ("P1,I0,T3", "P0,I1,T3", "P2,I1,T3", "P1,I2,T3", "P1+P2,I2,T3"):
        assert min(words[found.id] for found in BANK.covering(Scenario.parse(cell))) <= 20


@pytest.mark.parametrize("with_more", [False, True])
def test_prompts_are_well_formed_with_and_without_their_optional_parts(with_more: bool) -> None:
    for template, single in every_use():
        request = instruction_for(single)
        if with_more:
            liked = replace(request.preference, profile="age: 35" if "P1" in str(single) else "")
            request = replace(
                request, preference=liked, context=Context(time="in June", occasion="a wedding")
            )
            if request.task is TaskForm.RERANKING:
                request = replace(request, candidates=("Grey Noon", "Pale Morning"))
        text = render(template, request, item="Target Song").text
        assert not re.search(r"  | \n|\n |\n\n| [.,:;?]|[{}]|\A\s|\s\Z", text), text
        assert ("a wedding" in text) == with_more, template.id
        assert re.search(r"[.?]\Z", text), text
        if not with_more:
            assert not re.search(r"candidate|option|results\b", text) or single.axes[2][0] != "T3"


def test_a_prompt_tells_all_that_its_scenario_says_and_not_its_own_answer() -> None:
    for template, single in every_use():
        request = instruction_for(single)
        prompt = render(template, request, item="Target Song").text
        response = render_response(template, request, item="Target Song", answer="Yes")
        (preference,), (intention,), _ = single.axes
        parts = template.asks.split("+")
        assert ("Blue Dawn" in prompt) == ("P1" in preference and "history" not in parts)
        assert ("Blue Dawn" in response) == ("history" in parts)
        assert (WISH in prompt) == (intention != "I0" and "query" not in parts)
        assert (VIEW in prompt) == ("P2" in preference and "preference" not in parts)
        assert (VIEW in response) == ("preference" in parts)
        if template.strategy == "direct":
            assert "Target Song" not in prompt
            assert response == ("Target Song" if template.asks == "item" else "Yes")


def test_the_two_of_a_comparison_and_the_one_of_a_judgement_are_shown() -> None:
    for template, single in every_use():
        if single.axes[2][0] in ("T0", "T1"):
            text = render(template, instruction_for(single)).text
            assert "Grey Noon" in text
            assert ("Pale Morning" in text) == (single.axes[2][0] == "T1")


def test_values_are_never_evaluated() -> None:
    titles = ("{{ 7*7 }}", "{% if 1 %}x{% endif %}", "{# gone #}", "<b>&amp;</b>")
    rendered = render(BANK["A1"], instruction_for(Scenario.parse("P1,I0,T2"), titles))
    assert [rendered.text[a:b] for a, b in rendered.title_spans] == list(titles)
    assert "49" not in rendered.text


def test_line_breaks_in_values_become_spaces() -> None:
    request = instruction_for(Scenario.parse("P1,I1,T3"), ("One\nTwo\r\n  Three",))
    wish = Intention("red\n\n1. Fake title\u2028now", IntentionKind.VAGUE)
    text = render(BANK["E7"], replace(request, intention=wish)).text
    assert "1. One Two Three\n" in text
    assert "Wanted now: red 1. Fake title now\n" in text


@given(
    titles=st.lists(st.text(min_size=0, max_size=30), min_size=1, max_size=20),
    wish=st.text(min_size=1, max_size=40).filter(str.strip),
)
@settings(max_examples=150, deadline=None)
def test_title_spans_are_exactly_the_titles_whatever_they_say(titles: list[str], wish: str) -> None:
    for name in ("C10", "C13", "A13", "D6", "E11"):
        template = BANK[name]
        single = next(template.scenarios[0].singles())
        request = instruction_for(single, tuple(titles))
        if single.axes[1][0] != "I0":
            request = replace(request, intention=Intention(wish, request.intention.kind))
        rendered = render(template, request)
        expected = [" ".join(re.sub("[\ue000\ue001]", "", title).split()) for title in titles]
        assert [rendered.text[start:end] for start, end in rendered.title_spans] == expected
        assert not set("\ue000\ue001") & set(rendered.text)
        assert list(rendered.title_spans) == sorted(rendered.title_spans)


def test_a_response_that_lists_the_history_holds_no_marks() -> None:
    request = instruction_for(Scenario.parse("P1,I1,T2"))
    response = render_response(BANK["C9"], request, item="Target Song")
    assert response == "1. Blue Dawn\n2. Red Dusk\nNext: Target Song"


def test_a_template_refuses_an_instruction_that_lacks_what_it_needs() -> None:
    with pytest.raises(UsageError, match=r"template A1 asks P1,I0,T2, the instruction is P2,I0,T2"):
        render(BANK["A1"], instruction_for(Scenario.parse("P2,I0,T2")))
    alone = instruction_for(Scenario.parse("P1,I0,T1"), candidates=("Grey Noon",))
    with pytest.raises(UsageError, match="template D1 judges 2 candidates, the instruction has 1"):
        render(BANK["D1"], alone)


def test_extra_values_stand_in_for_a_slot() -> None:
    request = instruction_for(Scenario.parse("P0,I2,T3"))
    assert "on\nsale" not in render(BANK["B8"], request, extra={"context": "on\nsale"}).text
    assert "on sale" in render(BANK["B8"], request, extra={"context": "on\nsale"}).text


def test_covering_wants_one_scenario_and_an_unknown_id_lists_the_known() -> None:
    with pytest.raises(UsageError, match="has alternatives"):
        BANK.covering(Scenario.parse("P1/P2,I0,T3"))
    with pytest.raises(UsageError, match=r"no template 'Z9'.*A1, A2"):
        BANK["Z9"]
    assert "A1" in BANK and "Z9" not in BANK


ENTRY: dict[str, object] = {
    "id": "X1",
    "scenarios": ["P1,I0,T2"],
    "strategy": "direct",
    "asks": "item",
    "slots": ["history", "item"],
    "prompt": "After {{ history }} comes what?",
    "response": "{{ item }}",
}


def bank_of(folder: Path, *entries: dict[str, object]) -> TemplateBank:
    content = {"family": "E", "templates": list(entries)}
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    return TemplateBank.load(folder)


def test_a_folder_of_own_templates_is_read(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, ENTRY)
    assert len(bank) == 1
    text = render(bank["X1"], instruction_for(Scenario.parse("P1,I0,T2"))).text
    assert text == "After 1. Blue Dawn\n2. Red Dusk comes what?"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"prompt": "{{ history }} {{ colour }}"}, "slot 'colour' is unknown"),
        ({"slots": ["history", "item", "context"]}, "'context' is declared, not used"),
        ({"slots": ["item"]}, "'history' is used, not declared"),
        ({"scenarios": ["P1+P2,I0,T2"]}, "preference is not told"),
        ({"scenarios": ["P1,I1,T2"]}, "intention is not told"),
        ({"scenarios": ["P1,I0,T3"]}, "candidates is not told"),
        ({"scenarios": ["P1,I0,T9"]}, "not a scenario"),
        ({"scenarios": []}, "it has no scenario"),
        ({"strategy": "sideways"}, "strategy 'sideways'"),
        ({"asks": "poem"}, "asks 'poem'"),
        ({"asks": "yes-no"}, "its response holds"),
        ({"prompt": "{{ history }} {{ item }}"}, "gives the item away"),
        ({"response": "It is {{ item }}"}, "it and nothing else"),
        ({"strategy": "turned-around"}, "cannot ask 'item'"),
        ({"prompt": "{{ history"}, "template X1"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_template_that_contradicts_itself_is_refused_with_its_name(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    with pytest.raises(DataError, match=re.escape(complaint)):
        bank_of(tmp_path, ENTRY | change)


def test_every_template_has_further_wordings_and_no_two_are_alike() -> None:
    assert min(len(template.versions) for template in BANK if template.family in "ABC") == 3
    assert min(len(template.versions) for template in BANK) == 2
    prompts = [version.prompt for template in BANK for version in template.versions]
    assert len(set(prompts)) == len(prompts)
    assert all(template.versions[0].prompt == template.prompt for template in BANK)
    assert all({one.id for one in template.versions} == {template.id} for template in BANK)


@pytest.mark.parametrize(
    ("wordings", "complaint"),
    [
        (["{{ history }} {{ colour }}"], "template X1, wording 1: slot 'colour' is unknown"),
        (["Well, {{ history }}?", "Next?"], "template X1, wording 2: slot 'history' is declared"),
        (["After {{ history }} comes {{ item }}?"], "wording 1: P1,I0,T2: the prompt gives the"),
        (["After {{ history }} comes what?"], "template X1 has the same wording twice"),
    ],
)
def test_each_wording_is_held_to_the_slots_and_rules_of_its_template(
    tmp_path: Path, wordings: list[str], complaint: str
) -> None:
    with pytest.raises(DataError, match=re.escape(complaint)):
        bank_of(tmp_path, ENTRY | {"wordings": wordings})


def test_two_templates_of_one_id_a_broken_file_and_an_empty_folder_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="no template file"):
        TemplateBank.load(tmp_path)
    with pytest.raises(DataError, match="two templates are called X1"):
        bank_of(tmp_path, ENTRY, ENTRY)
    (tmp_path / "own.yaml").write_text("family: [")
    with pytest.raises(DataError, match=r"own\.yaml cannot be read"):
        TemplateBank.load(tmp_path)


def test_templates_cannot_reach_into_python(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="template X1"):
        bank_of(tmp_path, ENTRY | {"prompt": "{{ history.__class__.__mro__ }}"})
