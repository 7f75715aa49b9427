"""The leak audit: every row of a corpus, batch by batch, through every check."""

from __future__ import annotations

from instructrec.data.dataset import Dataset
from instructrec.instructions.audit.base import Check, Leak
from instructrec.instructions.audit.candidates import Lists, Orders, Places
from instructrec.instructions.audit.histories import Histories
from instructrec.instructions.audit.texts import Duplicates, Empty, LaterTexts, Titles
from instructrec.instructions.corpus import Corpus
from instructrec.protocols import SILENT, Progress

BATCH = 32_768
"""Rows held in memory at a time."""
SPLITS = ("train", "validation", "test")


def find_leaks(corpus: Corpus, dataset: Dataset, progress: Progress = SILENT) -> list[Leak]:
    """Look at every row of a corpus.

    Memory is bounded by the batch, but for 16 bytes a row (duplicates), 8 bytes a text (texts of
    later splits) and the catalogue.

    Args:
        corpus: Any corpus.
        dataset: What it was made from.
        progress: Told how far it is.
    """
    checks: list[Check] = [
        Titles(),
        Histories(dataset, corpus.protocol),
        LaterTexts(corpus),
        Lists(),
        Places(),
        Orders(dataset),
        Duplicates(),
        Empty(),
    ]
    leaks = [Leak(check.name, check.asks) for check in checks]
    for split in SPLITS:
        batches = corpus.stream(split, BATCH)
        for rows in progress.track(batches, f"auditing {split} rows"):
            for check, leak in zip(checks, leaks, strict=True):
                leak.looked_at += rows.height
                leak.add(check.look(split, rows))
    for check, leak in zip(checks, leaks, strict=True):
        leak.add(check.close())
        leak.facts = check.facts()
    return leaks
