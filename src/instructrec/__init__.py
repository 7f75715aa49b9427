"""Recommendation as instruction following: the public names of instructrec."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from instructrec.answers import Recommendation, Recommended
    from instructrec.data.catalogue import Catalogue
    from instructrec.data.dataset import Dataset
    from instructrec.data.splits import Protocol
    from instructrec.errors import InstructRecError
    from instructrec.instructions.corpus import Corpus
    from instructrec.instructions.schema import (
        Context,
        Instruction,
        Intention,
        IntentionKind,
        Preference,
        Scenario,
        TaskForm,
    )
    from instructrec.protocols import Condition, Filters, Progress, Retriever, Scorer
    from instructrec.ranking.fusion import Fusion
    from instructrec.ranking.ranker import Ranker
    from instructrec.recommender import Recommender

_HOMES = {
    "Catalogue": "data.catalogue",
    "Condition": "protocols",
    "Context": "instructions.schema",
    "Corpus": "instructions.corpus",
    "Dataset": "data.dataset",
    "Filters": "protocols",
    "Fusion": "ranking.fusion",
    "InstructRecError": "errors",
    "Instruction": "instructions.schema",
    "Intention": "instructions.schema",
    "IntentionKind": "instructions.schema",
    "Preference": "instructions.schema",
    "Progress": "protocols",
    "Protocol": "data.splits",
    "Ranker": "ranking.ranker",
    "Recommendation": "answers",
    "Recommended": "answers",
    "Recommender": "recommender",
    "Retriever": "protocols",
    "Scenario": "instructions.schema",
    "Scorer": "protocols",
    "TaskForm": "instructions.schema",
}
"""Where each public name lives; imported at its first use, since torch takes seconds."""

__all__ = [
    "Catalogue",
    "Condition",
    "Context",
    "Corpus",
    "Dataset",
    "Filters",
    "Fusion",
    "InstructRecError",
    "Instruction",
    "Intention",
    "IntentionKind",
    "Preference",
    "Progress",
    "Protocol",
    "Ranker",
    "Recommendation",
    "Recommended",
    "Recommender",
    "Retriever",
    "Scenario",
    "Scorer",
    "TaskForm",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
