"""A budget becomes a number of steps that fits it; the learning rate rises and falls to zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.errors import UsageError
from instructrec.training import learning_rate
from instructrec.tuning import TuneConfig
from instructrec.tuning.plan import FEWEST, Measured, plan_budget, plan_steps

PEAK = 1e-3


@given(
    st.floats(60, 7200),
    st.floats(0, 30),
    st.floats(0.02, 2),
    st.floats(0.002, 0.1),
    st.integers(1, 12),
    st.integers(1, 8),
)
def test_a_plan_fits_its_budget(
    budget: float, elapsed: float, step: float, request: float, scenarios: int, each: int
) -> None:
    config = TuneConfig(budget=budget)
    templates = scenarios * each
    measured = Measured(elapsed=elapsed, step=step, request=request)
    plan = plan_budget(config, budget, measured, scenarios, templates)
    validating = config.validations * plan.validation_requests * scenarios * request
    choosing = plan.choice_requests * templates * request
    spent = elapsed + plan.steps * step + validating + choosing
    # A request more a scenario by rounding up, and one step at least, may be over.
    over = config.validations * scenarios * request + step
    if plan.steps > 1:
        assert spent <= budget + over
        assert spent >= 0.9 * budget - over
    assert plan.validation_requests <= max(config.validation_users, FEWEST)
    assert FEWEST <= plan.choice_requests <= config.choice_users


def test_most_of_a_budget_is_spent_on_updates() -> None:
    measured = Measured(elapsed=5, step=0.5, request=0.02)
    plan = plan_budget(TuneConfig(budget=600), 600, measured, 9, 40)
    assert plan.steps * 0.5 > 0.75 * 600


def test_more_time_gives_more_steps() -> None:
    measured = Measured(elapsed=5, step=0.5, request=0.02)
    steps = [plan_budget(TuneConfig(budget=b), b, measured, 3, 9).steps for b in (60, 120, 600)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]


def test_known_steps_are_kept_and_validations_spread_over_them() -> None:
    plan = plan_steps(TuneConfig(steps=100, validations=4), 100, 2)
    assert (plan.steps, plan.validate_every, plan.validation_requests) == (100, 25, 250)
    assert plan_steps(TuneConfig(steps=100, validate_every=7), 100, 2).validate_every == 7


@given(st.integers(1, 3000), st.floats(0, 0.5))
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(steps: int, warmup: float) -> None:
    rates = [learning_rate(step, steps, PEAK, warmup) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= PEAK * (1 + 1e-9) for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(PEAK)
    if steps > 10:
        assert rates[-1] < 0.1 * PEAK


def test_limits_exclude_each_other_and_an_example_must_fit_a_piece() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        TuneConfig(steps=10, epochs=1)
    with pytest.raises(UsageError, match="does not fit"):
        TuneConfig(batch_tokens=512, pieces=2, max_tokens=512)


def test_settings_survive_json() -> None:
    config = TuneConfig(steps=5, mix={"T2": 0.5}, lora=4)
    assert TuneConfig.model_validate_json(config.model_dump_json()) == config
