"""How long to train: epochs or a time budget turned into a number of steps, once."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from instructrec.tuning.config import TuneConfig

VALIDATION_SHARE = 0.08
"""Of a time budget, for all validations during training."""
CHOICE_SHARE = 0.10
"""Of a time budget, for the choice of templates and rule after training."""
RESERVE = 0.03
"""Of a time budget, for saving and for being wrong."""
FEWEST = 20
"""Requests below which a validation says nothing."""


class Plan(BaseModel):
    """What was decided before the first step and is obeyed ever after.

    Attributes:
        steps: Updates of the weights.
        validate_every: Steps between validations.
        validation_requests: Requests of each scenario in a validation.
        choice_requests: Requests of each scenario on which templates and rules are tried.
        curve_every: Steps between points of the loss curve.
        threads: Threads that torch computes with.
    """

    model_config = ConfigDict(frozen=True)

    steps: int
    validate_every: int
    validation_requests: int
    choice_requests: int
    curve_every: int
    threads: int


class Measured(BaseModel):
    """What a short trial took; times are in seconds.

    Attributes:
        elapsed: Since tuning began.
        step: One update.
        request: Scoring the candidates of one request.
        threads: Threads with which it took that.
    """

    model_config = ConfigDict(frozen=True)

    elapsed: float
    step: float
    request: float
    threads: int = 1


def plan_steps(config: TuneConfig, steps: int, scenarios: int, threads: int = 1) -> Plan:
    """The plan for a known number of steps.

    Args:
        config: See `TuneConfig`.
        steps: Updates of the weights.
        scenarios: How many scenarios are validated.
        threads: Threads that torch computes with.
    """
    validated = config.validation_users / scenarios
    return _plan(config, steps, validated, config.choice_users, threads)


def plan_budget(
    config: TuneConfig, budget: float, measured: Measured, scenarios: int, templates: int
) -> Plan:
    """The plan that fits a time budget.

    Validations and the choice after training get at most fixed shares of what is left of the
    budget after the trial; all else goes into updates.

    Args:
        config: See `TuneConfig`.
        budget: Seconds for everything.
        measured: What the trial took.
        scenarios: How many scenarios are validated.
        templates: How many templates they have together.
    """
    left = max(budget - measured.elapsed, 0.0)
    affordable = VALIDATION_SHARE * left / measured.request / config.validations
    validated = min(config.validation_users, affordable) / scenarios
    chosen = min(config.choice_users, CHOICE_SHARE * left / measured.request / max(templates, 1))
    validated, chosen = max(validated, FEWEST), max(chosen, FEWEST)
    scoring = measured.request * (config.validations * validated * scenarios + chosen * templates)
    steps = int(max((1 - RESERVE) * left - scoring, 0.0) / measured.step)
    return _plan(config, max(steps, 1), validated, chosen, measured.threads)


def _plan(config: TuneConfig, steps: int, validated: float, chosen: float, threads: int) -> Plan:
    return Plan(
        steps=steps,
        validate_every=config.validate_every or math.ceil(steps / config.validations),
        validation_requests=max(math.ceil(validated), 1),
        choice_requests=max(int(chosen), 1),
        curve_every=max(steps // 400, 1),
        threads=threads,
    )
