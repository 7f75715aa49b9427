"""Which template a scenario is asked by, and how much that matters (paper §4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from instructrec import metrics
from instructrec.evaluation.baselines.base import Input
from instructrec.evaluation.measure import Contestant, score_trial
from instructrec.evaluation.report import HEADLINE, LM, Spread
from instructrec.evaluation.trec import settled
from instructrec.evaluation.trials import Trial
from instructrec.folders import read_json
from instructrec.instructions.schema import Scenario
from instructrec.protocols import SILENT, Progress
from instructrec.ranking.scoring import TRIED

if TYPE_CHECKING:
    from instructrec.ranking.ranker import Ranker

_READS: frozenset[Input] = frozenset({"history", "words"})


def with_templates(ranker: Ranker, templates: Mapping[str, str]) -> Ranker:
    """The same ranker asking these scenarios by these templates."""
    merged = {**ranker.scoring.templates, **templates}
    scoring = ranker.scoring.model_copy(update={"templates": merged})
    changed = type(ranker)(ranker.backbone, ranker.catalogue, ranker.bank, scoring)
    # The rule is the same, so what it knows of titles "without the user" still holds.
    changed.likelihood = ranker.likelihood
    return changed


def known_spread(model: Path | str, ranker: Ranker, scenario: Scenario) -> Spread | None:
    """What tuning measured of a scenario's templates when it chose among them, if it did.

    Args:
        model: The model's folder.
        ranker: Loaded from it.
        scenario: A single scenario.
    """
    path, name = Path(model) / TRIED, str(scenario)
    used = ranker.scoring.templates.get(name)
    tried = read_json(path).get(name) if path.is_file() else None
    if not tried or used not in tried:
        return None
    return Spread(
        scenario=name,
        used=used,
        chosen="before",
        users=int(tried[used]["requests"]),
        values={template: figures[HEADLINE] for template, figures in sorted(tried.items())},
    )


def measure_spread(ranker: Ranker, trial: Trial, progress: Progress = SILENT) -> Spread:
    """Measure every template that covers a scenario on validation requests.

    Args:
        ranker: Its own choice for the scenario is kept; without one the best of these is taken,
            the first by id among equals.
        trial: Validation requests of one scenario.
        progress: Told how far it is.
    """
    if trial.requests.split != "validation":
        raise ValueError("templates are chosen on validation requests")
    scenario = str(trial.scenario)
    pool = ranker.bank.covering(trial.scenario, strategy="direct", asks="item")
    values = {}
    for template in sorted(pool, key=lambda template: template.id):
        asking = with_templates(ranker, {scenario: template.id})
        contestant = Contestant(f"{LM} by {template.id}", "ours", _READS, asking)
        scores = settled(score_trial(trial, contestant, progress), trial.candidates)
        hits = metrics.measure(HEADLINE, metrics.ranks(scores))
        values[template.id] = float(hits.mean())
    own = ranker.scoring.templates.get(scenario)
    return Spread(
        scenario=scenario,
        used=own or max(values, key=lambda name: values[name]),
        chosen="before" if own else "here",
        users=len(trial.requests),
        values=values,
    )
