"""Each scoring rule is what its definition says, whatever is scored together."""

from __future__ import annotations

import numpy as np
import pytest

from instructrec.backbones import Backbone
from instructrec.errors import UsageError
from instructrec.ranking.likelihood import Likelihood

from .world import TITLES

PROMPTS = ["A gift for my son.", "Something quiet"]
LISTS = [TITLES[:6], ["Turbo Kart", "Turbo Kart", ""]]


def _sums(lm: Backbone, prompts: list[str]) -> list[np.ndarray]:
    return Likelihood(lm, "sum").score_texts(prompts, LISTS)


def test_mean_is_the_sum_by_token(lm: Backbone) -> None:
    found = Likelihood(lm, "mean").score_texts(PROMPTS, LISTS)
    for mean, total, texts in zip(found, _sums(lm, PROMPTS), LISTS, strict=True):
        lengths = [len(ids) for ids in lm.candidate_ids(texts)]
        np.testing.assert_allclose(mean * lengths, total, rtol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_pmi_takes_off_a_share_of_what_the_model_says_without_the_user(
    lm: Backbone, weight: float
) -> None:
    engine = Likelihood(lm, "pmi", weight, null_prompt="Recommend an item.")
    without = _sums(lm, ["Recommend an item."] * 2)
    found = engine.score_texts(PROMPTS, LISTS)
    for pmi, total, other in zip(found, _sums(lm, PROMPTS), without, strict=True):
        np.testing.assert_allclose(pmi, total - weight * other, atol=1e-4)


def test_the_part_without_the_user_is_computed_once_a_title(
    lm: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Likelihood(lm, "pmi", 1.0, "Recommend an item.")
    first = engine.score_texts(PROMPTS, LISTS)
    asked = []
    inner = lm.token_log_likelihoods
    monkeypatch.setattr(
        lm, "token_log_likelihoods", lambda *args: asked.append(args) or inner(*args)
    )
    again = engine.score_texts(PROMPTS, LISTS)
    assert len(asked) == 1
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_pmi_of_the_null_prompt_itself_is_nothing(lm: Backbone) -> None:
    engine = Likelihood(lm, "pmi", 1.0, "Recommend an item.")
    (found,) = engine.score_texts(["Recommend an item."], [TITLES])
    np.testing.assert_allclose(found, 0.0, atol=1e-4)


def test_constrained_probabilities_of_a_list_add_up_to_one(lm: Backbone) -> None:
    unique = list(dict.fromkeys(TITLES))
    (found,) = Likelihood(lm, "constrained").score_texts(PROMPTS[:1], [unique])
    assert np.isclose(np.exp(found).sum(), 1.0)


@pytest.mark.parametrize("rule", ["sum", "mean", "pmi", "constrained"])
def test_equal_titles_score_equally_and_lists_may_be_empty(lm: Backbone, rule: str) -> None:
    found = Likelihood(lm, rule).score_texts(PROMPTS, [LISTS[1], []])
    assert found[0][0] == found[0][1]
    assert found[1].shape == (0,)
    assert np.isfinite(found[0]).all()
    assert Likelihood(lm, rule).score_texts([], []) == []


def test_an_unknown_rule_is_refused(lm: Backbone) -> None:
    with pytest.raises(UsageError, match="median"):
        Likelihood(lm, "median")  # type: ignore[arg-type]
