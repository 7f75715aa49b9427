"""The likelihood engine: how well each candidate follows its instruction, by one of four rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from instructrec.backbones import MAX_TOKENS, Backbone, Likelihoods
from instructrec.backbones.base import Prompt
from instructrec.errors import UsageError
from instructrec.ranking.scoring import RULES, Rule

Floats = NDArray[np.float64]
Tokens = Sequence[int]

_BATCH = 256
"""Prompts that are handed to the backbone at once; it buckets them by length."""


class Likelihood:
    """Scores candidates by the likelihood a backbone gives them after a prompt.

    Args:
        backbone: The language model.
        rule: See `ScoringConfig.rule`.
        pmi_weight: Share of the log-likelihood without the user that ``pmi`` takes off.
        null_prompt: The text that stands for "without the user".
        max_tokens: Tokens of a prompt at most.

    Raises:
        UsageError: The rule is unknown.

    Source: paper §4.2 ranks by likelihood and leaves the rule open.
    """

    def __init__(
        self,
        backbone: Backbone,
        rule: Rule = "sum",
        pmi_weight: float = 0.5,
        null_prompt: str = "",
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        if rule not in RULES:
            raise UsageError(f"there is no scoring rule {rule!r}", f"Use {', '.join(RULES)}")
        self.backbone = backbone
        self.rule = rule
        self.pmi_weight = pmi_weight
        self.null_prompt = null_prompt
        self.max_tokens = max_tokens
        self._without_user: dict[tuple[str, tuple[int, ...]], float] = {}

    def score_texts(
        self,
        prompts: Sequence[Prompt | str],
        candidates: Sequence[Sequence[str]],
        asks: str = "item",
    ) -> list[Floats]:
        """Score texts.

        Args:
            prompts: n rendered instructions, or plain texts.
            candidates: n lists of titles or answers; a list may be empty, equal texts get equal
                scores, an empty text is the end token alone, and a text beyond
                `backbones.base.MAX_CANDIDATE_TOKENS` is cut.
            asks: The response form.

        Returns:
            n arrays, one float64 score a candidate; higher is better.
        """
        ids = self.backbone.prompt_ids(prompts, self.max_tokens, asks)
        return self.score_ids(
            ids, [self.backbone.candidate_ids(texts) for texts in candidates], asks
        )

    def score_ids(
        self,
        prompts: Sequence[Tokens],
        candidates: Sequence[Sequence[Tokens]],
        asks: str = "item",
    ) -> list[Floats]:
        """Score token ids as `Backbone.prompt_ids` and `candidate_ids` give them."""
        found: list[Likelihoods] = []
        for start in range(0, len(prompts), _BATCH):
            part = slice(start, start + _BATCH)
            found += self.backbone.token_log_likelihoods(
                prompts[part], candidates[part], self.rule == "constrained"
            )
        if self.rule == "mean":
            return [one.sums / one.lengths for one in found]
        if self.rule == "pmi":
            without = self.without_user(candidates, asks)
            return [
                one.sums - self.pmi_weight * other
                for one, other in zip(found, without, strict=True)
            ]
        return [one.sums for one in found]

    def without_user(
        self, candidates: Sequence[Sequence[Tokens]], asks: str = "item"
    ) -> list[Floats]:
        """Log-likelihood of candidates after ``null_prompt``; each is computed once and kept."""
        keys = [[(asks, tuple(ids)) for ids in one] for one in candidates]
        known = self._without_user
        missing = sorted({key for line in keys for key in line if key not in known})
        if missing:
            prompt = self.backbone.prompt_ids([self.null_prompt], self.max_tokens, asks)
            (found,) = self.backbone.token_log_likelihoods(prompt, [[ids for _, ids in missing]])
            known.update(zip(missing, found.sums.tolist(), strict=True))
        return [np.array([known[key] for key in line], dtype=np.float64) for line in keys]
