"""Rivals, one file each, all with the interface of `instructrec.evaluation.baselines.base`."""

from __future__ import annotations

from instructrec.evaluation.baselines.base import (
    Baseline,
    Input,
    Material,
    UnavailableError,
    applies,
    inputs_of,
)
from instructrec.evaluation.baselines.bm25 import BM25
from instructrec.evaluation.baselines.item_knn import ItemKNN
from instructrec.evaluation.baselines.minilm import MiniLM
from instructrec.evaluation.baselines.popularity import Popularity
from instructrec.evaluation.baselines.random import Random
from instructrec.evaluation.baselines.sequential import TextSASRec
from instructrec.evaluation.baselines.trained import load_rivals
from instructrec.evaluation.baselines.words import SharedWords

__all__ = [
    "BASELINES",
    "Baseline",
    "Input",
    "Material",
    "UnavailableError",
    "applies",
    "fit_baselines",
    "inputs_of",
]

BASELINES: tuple[type[Baseline], ...] = (
    Random,
    Popularity,
    SharedWords,
    BM25,
    ItemKNN,
    MiniLM,
    TextSASRec,
)
"""Every rival that needs no run's language model, plainest first."""


def fit_baselines(material: Material) -> tuple[list[Baseline], list[str]]:
    """Fit the rivals that take seconds, and read those that were trained before.

    Returns:
        Those that could be fitted, and a line about each that could not.
    """
    fitted: list[Baseline] = []
    notes = []
    for kind in BASELINES:
        try:
            fitted.append(kind.fit(material))
        except UnavailableError as reason:
            notes.append(str(reason))
    trained, missing = load_rivals(material)
    return [*fitted, *trained], [*notes, *missing]
