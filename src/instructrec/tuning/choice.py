"""Chooses template and scoring rule on validation requests alone (docs/paper.md §5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructrec import metrics
from instructrec.backbones import Backbone, Likelihoods
from instructrec.protocols import SILENT, Progress
from instructrec.tuning.validation import Panel, likelihoods, panel_likelihoods, ranks_of

PMI_WEIGHTS = (0.25, 0.5, 0.75, 1.0)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How token log-likelihoods become a score: ``sum``, ``mean`` or ``pmi`` with a weight."""

    name: str
    weight: float = 0.0

    def scores(self, found: Likelihoods, without_user: Values) -> Values:
        """(candidates,) scores.

        Args:
            found: Likelihoods given the request.
            without_user: (candidates,) their log-likelihoods given the null prompt.
        """
        if self.name == "mean":
            return found.sums / found.lengths
        return found.sums - self.weight * without_user

    def __str__(self) -> str:
        """As the model card writes it."""
        return self.name if self.name != "pmi" else f"pmi, weight {self.weight:g}"


RULES = (Rule("sum"), Rule("mean"), *(Rule("pmi", weight) for weight in PMI_WEIGHTS))
"""In this order one wins over an equally good later one."""


@dataclass(frozen=True)
class Choice:
    """What was chosen, and the figures it was chosen by.

    Attributes:
        rule: The rule.
        templates: Scenario → template id.
        null_prompt: The text that stands for "without the user".
        pmi_weight: The best weight for ``pmi``, for whoever asks for that rule though another won.
        tried: Scenario → template id → rule → HR@1 and NDCG@5 on validation requests.
    """

    rule: Rule
    templates: dict[str, str]
    null_prompt: str
    pmi_weight: float
    tried: dict[str, dict[str, dict[str, dict[str, float]]]] = field(default_factory=dict)

    @property
    def by_template(self) -> dict[str, dict[str, dict[str, float]]]:
        """Figures of every template under the chosen rule: scenario → template → figures."""
        return {
            scenario: {template: figures[str(self.rule)] for template, figures in tried.items()}
            for scenario, tried in self.tried.items()
        }

    @property
    def chosen(self) -> dict[str, dict[str, Any]]:
        """Figures of the chosen template and rule by scenario."""
        return {
            scenario: {"template": template, **self.tried[scenario][template][str(self.rule)]}
            for scenario, template in self.templates.items()
        }


def choose(
    backbone: Backbone,
    panels: Sequence[Panel],
    null_prompt: str,
    max_tokens: int,
    progress: Progress = SILENT,
) -> Choice:
    """Try every template and rule.

    A scenario's template is the one with the best HR@1, then NDCG@5, under the rule that is best
    on the mean over scenarios, each with its best template (paper §4.1: "the template that is
    best on validation").

    Args:
        backbone: The tuned model.
        panels: Validation requests, one panel a scenario.
        null_prompt: The text that stands for "without the user".
        max_tokens: Tokens of a prompt at most.
        progress: Told how far it is.
    """
    null = null_likelihoods(backbone, panels, null_prompt, progress)
    trials = [(panel, template) for panel in panels for template in panel.templates]
    tried: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for panel, template in progress.track(trials, "trying templates"):
        found = panel_likelihoods(backbone, panel, max_tokens, template)
        tried.setdefault(panel.scenario, {})[template.id] = {
            str(rule): _figures(rule, found, panel, null) for rule in RULES
        }
    rule = max(RULES, key=lambda rule: _worth(tried, rule))
    templates = {scenario: _best(found, rule) for scenario, found in tried.items()}
    weights = [rule for rule in RULES if rule.name == "pmi"]
    pmi = rule if rule in weights else max(weights, key=lambda rule: _worth(tried, rule))
    return Choice(rule, templates, null_prompt, pmi.weight, tried)


def null_likelihoods(
    backbone: Backbone, panels: Sequence[Panel], null_prompt: str, progress: Progress = SILENT
) -> dict[str, float]:
    """Log-likelihood of every candidate's title after the null prompt alone."""
    titles = sorted({title for panel in panels for line in panel.titles for title in line})
    prompt = backbone.prompt_ids([null_prompt])[0]
    parts = [titles[at : at + 500] for at in range(0, len(titles), 500)]
    known: dict[str, float] = {}
    for part in progress.track(parts, "scoring titles without a user"):
        sums = likelihoods(backbone, [prompt], [part])[0].sums
        known.update(zip(part, sums.tolist(), strict=True))
    return known


def _figures(
    rule: Rule, found: Sequence[Likelihoods], panel: Panel, null: Mapping[str, float]
) -> dict[str, float]:
    lines = (
        rule.scores(one, np.array([null[title] for title in titles]))
        for one, titles in zip(found, panel.titles, strict=True)
    )
    ranks = ranks_of(lines)
    return {
        "HR@1": float(metrics.hit_rate(ranks, 1).mean()),
        "NDCG@5": float(metrics.ndcg(ranks, 5).mean()),
        "requests": len(ranks),
    }


def _best(found: Mapping[str, Mapping[str, Mapping[str, float]]], rule: Rule) -> str:
    """The template with the best figures under a rule, the first by id among equals."""
    return max(sorted(found), key=lambda template: _pair(found[template][str(rule)]))


def _pair(figures: Mapping[str, float]) -> tuple[float, float]:
    return figures["HR@1"], figures["NDCG@5"]


def _worth(
    tried: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]], rule: Rule
) -> tuple[float, float]:
    pairs = [_pair(found[_best(found, rule)][str(rule)]) for found in tried.values()]
    return float(np.mean([pair[0] for pair in pairs])), float(np.mean([pair[1] for pair in pairs]))
