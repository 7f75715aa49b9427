"""Evaluation: the same requests for a run and its rivals, and a report anybody can check."""

from __future__ import annotations

from instructrec.evaluation.of_run import evaluate_model, evaluate_run
from instructrec.evaluation.report import Comparison, OrderCheck, Report, Row, Spread
from instructrec.evaluation.trials import CandidateList

__all__ = [
    "CandidateList",
    "Comparison",
    "OrderCheck",
    "Report",
    "Row",
    "Spread",
    "evaluate_model",
    "evaluate_run",
]
