"""Rank typed texts by a typed instruction, with every token id shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructrec.backbones import load
from instructrec.errors import UsageError
from instructrec.ranking.likelihood import Likelihood
from instructrec.ranking.ranker import load_scoring
from instructrec.ranking.scoring import Rule


def rank_texts(
    model: Path | str,
    instruction: str,
    candidates: Sequence[str],
    rule: Rule | None = None,
    *,
    device: str = "auto",
    memory: float | None = None,
) -> dict[str, Any]:
    """Rank titles after an instruction.

    Args:
        model: A model folder, or any checkpoint `backbones.load` takes.
        instruction: The whole text the model is given.
        candidates: Titles; of equal ones the first given stays.
        rule: The scoring rule; the model's own when left out.
        device: See `backbones.load`.
        memory: See `backbones.load`.

    Returns:
        ``prompt_ids`` (encoder input, or everything before the candidate for a causal model) and
        ``results``, best first, ties by title: ``candidate``, ``score``, ``token_ids``.

    Raises:
        UsageError: There is no candidate, or a text is empty.
    """
    if not candidates:
        raise UsageError("there is no candidate to rank", "Give one at least")
    if not instruction.strip() or not all(title.strip() for title in candidates):
        what = "a candidate is" if instruction.strip() else "the instruction is"
        raise UsageError(f"{what} empty", "Write some words")
    backbone, scoring = load(model, device=device, memory=memory), load_scoring(model)
    engine = Likelihood(
        backbone,
        rule or scoring.rule,
        scoring.pmi_weight,
        scoring.null_prompt,
        scoring.max_tokens,
    )
    titles = list(dict.fromkeys(candidates))
    prompts, ids = (
        backbone.prompt_ids([instruction], engine.max_tokens),
        backbone.candidate_ids(titles),
    )
    (scores,) = engine.score_ids(prompts, [ids])
    ranked = sorted(
        zip(scores.tolist(), titles, ids, strict=True), key=lambda one: (-one[0], one[1])
    )
    return {
        "prompt_ids": prompts[0],
        "results": [
            {"candidate": title, "score": score, "token_ids": tokens}
            for score, title, tokens in ranked
        ],
    }
