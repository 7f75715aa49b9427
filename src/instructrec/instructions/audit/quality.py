"""The paper's quality table for a corpus: rules or a model, a person, and how they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instructrec.data.dataset import Dataset
from instructrec.instructions.audit.intervals import kappa, wilson
from instructrec.instructions.audit.judging import Kept, judge
from instructrec.instructions.audit.prompts import KINDS, QUESTIONS, questions
from instructrec.instructions.audit.rules import RuleJudge
from instructrec.instructions.audit.samples import Sample, draw_samples, with_grounds
from instructrec.instructions.audit.sheet import read_judged
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.teachers.base import Completions
from instructrec.protocols import SILENT, Progress

PAPER = {
    "preference": {"own": 0.93, "knowledge": 0.87, "reflects": 0.88, "target": 0.48},
    "intention": {"own": 0.90, "knowledge": 0.22, "reflects": 0.69, "target": 0.69},
}
"""What a person found on 100 samples each (paper §3.2; docs/paper.md §2)."""

Answers = Mapping[str, bool] | None


def measure_quality(
    corpus: Corpus,
    dataset: Dataset,
    *,
    count: int,
    seed: int,
    model: Completions | None = None,
    cache: Kept | None = None,
    judged: Mapping[str, tuple[Sample, Mapping[str, bool]]] | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Ask the four questions about texts of a corpus.

    Args:
        corpus: Whose texts.
        dataset: What it was made from.
        count: Texts of each kind that are drawn.
        seed: Of the draw.
        model: Who judges; rules when none (see `instructrec.instructions.audit.rules`).
        cache: Where a model's answers are kept.
        judged: What a person said (`read_judged`): these texts are then judged, not drawn ones.
        progress: Told how far it is.

    Returns:
        Plain JSON values: the judge's name, the sample, shares with 95 % Wilson intervals beside
        the paper's, and with ``judged`` the person's shares and the agreement.
    """
    if judged is None:
        samples = draw_samples(corpus, dataset, count, seed)
    else:
        given = [sample for sample, _ in judged.values()]
        samples = with_grounds(dataset, corpus.protocol, given)
    answers: Sequence[Answers]
    if model is not None:
        answers = judge(samples, model, cache, progress)
    else:
        answers = list(map(RuleJudge(dataset, samples).answers, samples))
    told: dict[str, Any] = {
        "judge": model.name if model else "rules",
        "seed": seed if judged is None else None,
        "kinds": {kind: _shares(kind, samples, answers) for kind in KINDS},
    }
    if judged is not None:
        told["person"] = _compared(samples, answers, judged)
    return told


def _shares(kind: str, samples: Sequence[Sample], answers: Sequence[Answers]) -> dict[str, Any]:
    mine = [found for one, found in zip(samples, answers, strict=True) if one.kind == kind]
    answered = [found for found in mine if found is not None]
    rows = [
        _share(name, [found[name] for found in answered], PAPER[kind][name], text)
        for name, text in questions(kind).items()
    ]
    return {"samples": len(mine), "unanswered": len(mine) - len(answered), "questions": rows}


def _share(name: str, values: Sequence[bool], paper: float, asks: str) -> dict[str, Any]:
    yes, of = sum(values), len(values)
    low, high = wilson(yes, of)
    return {
        "question": name,
        "asks": asks,
        "yes": yes,
        "of": of,
        "share": round(yes / of, 4) if of else None,
        "interval": [round(low, 4), round(high, 4)],
        "paper": paper,
    }


def _compared(
    samples: Sequence[Sample],
    answers: Sequence[Answers],
    judged: Mapping[str, tuple[Sample, Mapping[str, bool]]],
) -> list[dict[str, Any]]:
    """The person's share of each question, and how far the judge agrees with it."""
    told = []
    for kind in KINDS:
        for name in QUESTIONS:
            person = [
                by_hand[name]
                for one, by_hand in judged.values()
                if one.kind == kind and name in by_hand
            ]
            pairs = [
                (judged[one.key][1][name], found[name])
                for one, found in zip(samples, answers, strict=True)
                if one.kind == kind and found is not None and name in judged[one.key][1]
            ]
            same = sum(first == second for first, second in pairs)
            agreed = kappa([first for first, _ in pairs], [second for _, second in pairs])
            told.append(
                {
                    "kind": kind,
                    **_share(name, person, PAPER[kind][name], questions(kind)[name]),
                    "compared": len(pairs),
                    "agreement": round(same / len(pairs), 4) if pairs else None,
                    "kappa": None if agreed is None else round(agreed, 4),
                }
            )
    return told


__all__ = ["PAPER", "measure_quality", "read_judged"]
