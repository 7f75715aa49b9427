"""The rule and the templates that validate best are chosen, and test requests never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from instructrec.backbones import Likelihoods
from instructrec.errors import DataError
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.templating import render
from instructrec.tuning.choice import PMI_WEIGHTS, RULES, Rule, choose
from instructrec.tuning.validation import Panel, gather_panels, validate

NULL = "nobody"


class Told:
    """A backbone whose likelihoods are told by a function of prompt and title."""

    def __init__(self, value) -> None:
        self.value = value
        self.prompts: list[str] = []

    def prompt_ids(self, prompts: Sequence, max_tokens: int = 512, asks: str = "item"):
        texts = [prompt if isinstance(prompt, str) else prompt.text for prompt in prompts]
        self.prompts += texts
        return [[len(self.prompts) - len(texts) + number] for number in range(len(texts))]

    def candidate_ids(self, texts: Sequence[str]):
        return list(texts)

    def token_log_likelihoods(self, prompts, candidates):
        return [
            Likelihoods(
                np.array([self.value(self.prompts[prompt[0]], title)[0] for title in titles]),
                np.array([self.value(self.prompts[prompt[0]], title)[1] for title in titles]),
            )
            for prompt, titles in zip(prompts, candidates, strict=True)
        ]


@pytest.fixture
def panels(corpus: Corpus) -> list[Panel]:
    """Real requests about made-up titles that tell which is the target."""
    return [
        replace(panel, titles=[[f"right {n}", *(f"wrong {k}" for k in range(9))] for n in range(8)])
        for panel in gather_panels(corpus, 8)
    ]


def is_target(title: str) -> bool:
    return title.startswith("right")


def test_panels_hold_the_target_first_and_no_held_out_user(corpus: Corpus) -> None:
    everybody = gather_panels(corpus, 1000)
    users = sorted({one.user_id for panel in everybody for one in panel.instructions} - {None})
    rows = corpus.rows("validation")
    assert {panel.scenario for panel in everybody} == set(rows["scenario"])
    by_user = {(r["user_id"], r["scenario"]): r for r in rows.iter_rows(named=True)}
    for panel in everybody:
        for one, titles in zip(panel.instructions, panel.titles, strict=True):
            assert len(titles) == len(set(titles)) == 10
            assert one.candidates == ()
            if one.user_id is not None:
                assert titles[0] == by_user[one.user_id, panel.scenario]["item"]
    fewer = gather_panels(corpus, 1000, held_out=users[:30])
    left = {one.user_id for panel in fewer for one in panel.instructions} - {None}
    assert left == set(users[30:])
    with pytest.raises(DataError, match="no validation request"):
        gather_panels(corpus, 10, held_out=rows["user_id"].unique().to_list())


def test_a_smaller_draw_is_the_start_of_a_larger_one(corpus: Corpus) -> None:
    small, large = gather_panels(corpus, 5, seed=4), gather_panels(corpus, 40, seed=4)
    for few, many in zip(small, large, strict=True):
        assert len(few) == 5
        assert list(few.titles) == list(many.take(5).titles)


def test_ties_count_against_the_target(panels) -> None:
    hits = validate(Told(lambda prompt, title: (0.0, 1)), panels, 512)
    assert set(hits.values()) == {0.0}


def test_the_rule_that_finds_the_targets_is_chosen(panels) -> None:
    def by_mean(prompt: str, title: str) -> tuple[float, int]:
        # The target has the longer title: the better mean, the worse sum.
        return (-10.0, 10) if is_target(title) else (-4.0, 2)

    choice = choose(Told(by_mean), panels, NULL, 512)
    assert choice.rule == Rule("mean")
    assert choice.pmi_weight in PMI_WEIGHTS

    def by_pmi(prompt: str, title: str) -> tuple[float, int]:
        # Others are likely anyway; only half of that must be taken off.
        alone = -12.0 if is_target(title) else -4.0
        told = alone / 2 + (0.5 if is_target(title) else 0.0)
        return (alone if prompt == NULL else told), 4

    choice = choose(Told(by_pmi), panels, NULL, 512)
    assert choice.rule == Rule("pmi", 0.5)
    assert choice.pmi_weight == 0.5
    assert choice.null_prompt == NULL


def test_among_equal_rules_the_plainest_is_chosen(panels) -> None:
    choice = choose(Told(lambda _, title: (float(is_target(title)), 1)), panels, NULL, 512)
    assert choice.rule == RULES[0] == Rule("sum")
    assert {figures["HR@1"] for figures in choice.chosen.values()} <= {1.0}


def test_each_scenario_gets_the_template_that_serves_it_best(panels) -> None:
    favourites = {panel.scenario: panel.templates[-1] for panel in panels}
    assert all(len(panel.templates) > 1 for panel in panels)
    served = {
        render(favourites[panel.scenario], instruction).text
        for panel in panels
        for instruction in panel.instructions
    }

    def value(prompt: str, title: str) -> tuple[float, int]:
        return float(is_target(title) and prompt in served), 1

    choice = choose(Told(value), panels, NULL, 512)
    assert choice.templates == {name: one.id for name, one in favourites.items()}
    for scenario, template in choice.templates.items():
        best = choice.tried[scenario][template]["sum"]["HR@1"]
        assert best == max(one["sum"]["HR@1"] for one in choice.tried[scenario].values())
