"""Texts of any kind in the order in which they answer a query, for one user or for none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scorer, Scores
from instructrec.questions import Question
from instructrec.ranking.fusion import Fusion
from instructrec.recommender import Recommender
from instructrec.retrieval.dense import Dense, Similar
from instructrec.retrieval.lexical import Lexical
from instructrec.retrieval.nearest import Nearest
from instructrec.retrieval.said import Said
from instructrec.retrieval.shared import SharedWords
from instructrec.retrieval.vectors import ItemVectors

TYPICAL = 300
"""Items of the catalogue that tell which words are rare among a few documents."""
_READ = ("item_id", "title", "brand", "categories")


@dataclass(frozen=True, eq=False)
class Reranked:
    """Documents with what they were ordered by.

    Attributes:
        scores: (documents,) in the order given; higher is better, comparable within one answer.
        relevance: The same between 0 and 1, ½ for the average document.
        evidence: What each piece adds to each score.
    """

    scores: NDArray[np.float64]
    relevance: NDArray[np.float64]
    evidence: dict[str, NDArray[np.float64]]


class _Known:
    """A scorer that knows items of the catalogue alone; other documents get no score from it."""

    def __init__(self, scorer: Scorer, rows: Rows) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._rows = rows

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; ``-inf`` also for what is no item."""
        known = np.where(candidates < 0, -1, self._rows[np.maximum(candidates, 0)])
        return self._scorer.score(instructions, known)


def rerank(recommender: Recommender, question: Question, documents: Sequence[str]) -> Reranked:
    """Score documents; one that is the title or the id of an item counts as that item.

    Args:
        recommender: Whose evidence is used.
        question: The query as ``wish``, the user or a history, and the kind of evidence.
        documents: Any texts.

    Raises:
        UsageError: An instruction cannot be asked.
    """
    asked = recommender.understanding.ask(
        user=question.user,
        history=question.history,
        recent=question.recent,
        preference=question.preference,
        wish=question.wish,
        context=question.context,
    )
    rows = np.array([recommender.understanding.find(text) for text in documents], dtype=np.int64)
    history = recommender.catalogue.rows(asked.instruction.preference.history_ids)
    catalogue, origin = _gathered(recommender.catalogue, documents, rows, history[history >= 0])
    pieces = _pieces(recommender, catalogue, origin, rows)
    quick = question.evidence == "without_lm"
    if not quick:
        pieces["lm"] = recommender.lm.over(catalogue)
    weights = (recommender.quick if quick else recommender.fusion).weights
    lines = np.arange(len(documents))[None, :]
    if question.evidence == "lm":
        told = {"lm": pieces["lm"].score([asked.instruction], lines).astype(np.float64)}
        told["lm"] -= told["lm"].mean()
    else:
        told = Fusion(pieces, weights).explain([asked.instruction], lines)
    evidence = {name: values[0] for name, values in told.items()}
    scores = sum(evidence.values(), np.zeros(len(documents)))
    return Reranked(scores, 1.0 / (1.0 + np.exp(-scores)), evidence)


def _gathered(
    known: Catalogue, documents: Sequence[str], rows: Rows, history: Rows
) -> tuple[Catalogue, Rows]:
    """The documents, first and in their order, the history and typical items as one catalogue.

    Returns:
        The catalogue, and for each of its rows the row of the item in ``known``, -1 for a text.
    """
    table = known.items.select([name for name in _READ if name in known.items.columns])
    count = min(TYPICAL, len(known))
    drawn = np.random.default_rng(0).choice(len(known), size=count, replace=False)
    others = np.union1d(history, drawn)
    found = table[np.maximum(rows, 0).tolist()].to_dicts()
    # No id of an item begins with this letter, so that documents stand first.
    listed: list[dict[str, Any]] = [
        {**item, "item_id": f"\0{place:08}"}
        if row >= 0
        else {"item_id": f"\0{place:08}", "title": text}
        for place, (row, text, item) in enumerate(zip(rows, documents, found, strict=True))
    ]
    frame = pl.DataFrame(listed, schema=table.schema)
    catalogue = Catalogue(pl.concat([frame, table[others.tolist()]]))
    return catalogue, np.concatenate([rows, others])


def _pieces(
    recommender: Recommender, catalogue: Catalogue, origin: Rows, rows: Rows
) -> dict[str, Scorer]:
    """The evidence over the gathered catalogue: by text for all, by id for items alone."""
    lexical = Lexical.fit(catalogue)
    pieces: dict[str, Scorer] = {"lexical": Said(lexical), "shared": SharedWords(lexical)}
    dense = recommender.retrievers.get("dense")
    if isinstance(dense, Dense):
        vectors = np.asarray(dense.vectors[np.maximum(origin, 0)], dtype=np.float32)
        texts = [catalogue.texts[row] for row in np.flatnonzero(origin < 0).tolist()]
        if texts:
            vectors[origin < 0] = dense.encoder.encode(texts)
        items = ItemVectors(vectors, dense.items.encoder, dense.items.identity)
        pieces["dense"] = Dense(catalogue, items, dense.encoder)
        pieces["similar"] = Similar(catalogue, items)
        pieces["nearest"] = Nearest(catalogue, items)
    for name, retriever in recommender.retrievers.items():
        if name not in pieces:
            pieces[name] = _Known(retriever, rows)
    return pieces
