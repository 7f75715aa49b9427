"""Run and relevance files in TREC's format, so that anybody's tool can check a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import numpy as np
import polars as pl

from instructrec.data.catalogue import Catalogue
from instructrec.protocols import Rows, Scores

RUN = "run.trec"
QRELS = "qrels.trec"
DEPTH = 1_001
"""Places of a list that a run file tells at most: all but those of a whole catalogue."""
_LINES = 1_000_000
"""Lines of a run that are made at once: memory stays bounded however many requests there are."""


def settled(scores: Scores, candidates: Rows) -> Scores:
    """Scores in which every real candidate stands above every empty place.

    NaN and ``-inf`` of a real candidate become the lowest finite number.

    Args:
        scores: (n, candidates).
        candidates: (n, candidates) rows, -1 where there is none.
    """
    lowest = np.finfo(np.float32).min
    known = np.where(np.isnan(scores), lowest, np.maximum(scores, lowest))
    return np.where(candidates < 0, np.float32("-inf"), known).astype(np.float32)


def write_trec(
    folder: Path,
    keys: Sequence[str],
    candidates: Rows,
    scores: Scores,
    catalogue: Catalogue,
    tag: str,
    *,
    targets: Rows | None = None,
    depth: int = DEPTH,
) -> None:
    """Write run.trec and qrels.trec of one row.

    The score in the run is the number of candidates not ranked above: it falls strictly, so that
    no tool's own rule for ties can change the order. Ids are percent-encoded where they hold
    white space.

    Args:
        folder: Made if absent.
        keys: n request ids.
        candidates: (n, candidates) rows, column 0 the target, -1 where there is none.
        scores: (n, candidates) from `settled`; ties are broken against the target.
        catalogue: Item ids by row.
        tag: Name of the model.
        targets: (n,) rows, where column 0 has not all of them.
        depth: Places of a list that are written; of shorter lists all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    queries = pl.Series("query", [_encode(key) for key in keys])
    items = pl.Series("item", [_encode(item_id) for item_id in catalogue.item_ids])
    lines = max(_LINES // candidates.shape[1], 1)
    with (folder / RUN).open("wb") as file:
        for start in range(0, len(keys), lines):
            part = slice(start, start + lines)
            run = _run(queries[part], candidates[part], scores[part], items, tag)
            _write(run.filter(pl.col("rank") <= depth), file)
    right = candidates[:, 0] if targets is None else targets
    qrels = pl.DataFrame(
        {"query": queries, "iteration": 0, "item": items.gather(right), "relevance": 1}
    )
    with (folder / QRELS).open("wb") as file:
        _write(qrels, file)


def _run(
    queries: pl.Series, candidates: Rows, scores: Scores, items: pl.Series, tag: str
) -> pl.DataFrame:
    """The lines of some requests."""
    requests, width = candidates.shape
    # A stable sort of the lists with the target moved to the end puts it last among equals.
    rolled = np.roll(scores, -1, axis=1)
    order = (np.argsort(-rolled, axis=1, kind="stable") + 1) % width
    rows = np.take_along_axis(candidates, order, axis=1)
    run = pl.DataFrame(
        {
            "query": queries.gather(np.repeat(np.arange(requests), width)),
            "iteration": "Q0",
            "row": rows.reshape(-1),
            "rank": np.tile(np.arange(1, width + 1), requests),
            "score": np.tile(np.arange(width, 0, -1), requests),
            "tag": _encode(tag),
        }
    ).filter(pl.col("row") >= 0)
    return run.with_columns(items.gather(run["row"]).alias("row"))


def _encode(name: str) -> str:
    return quote(name, safe="/:@!$&'()*+,;=-._~[]|#<>?") if not name.isalnum() else name


def _write(frame: pl.DataFrame, file: IO[bytes]) -> None:
    frame.write_csv(file, separator=" ", include_header=False, quote_style="never")
