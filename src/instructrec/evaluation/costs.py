"""What answering has cost: seconds and core-seconds of a thousand requests."""

from __future__ import annotations

from instructrec.evaluation.measure import Outcome
from instructrec.evaluation.report import Cost


def cost_of(outcome: Outcome) -> Cost:
    """Time of one outcome; a score that was remembered costs what computing it had cost."""
    seconds, cores = outcome.spent
    requests = max(len(outcome.trial.requests), 1)
    return Cost(
        slug=outcome.slug,
        seconds=round(1000 * seconds / requests, 4),
        core_seconds=round(1000 * cores / requests, 4),
    )
