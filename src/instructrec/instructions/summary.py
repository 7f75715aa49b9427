"""What a corpus holds: counts, lengths and samples side by side."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from instructrec.instructions.corpus import Corpus
from instructrec.protocols import SILENT, Progress

SPLITS = ("train", "validation", "test")


def describe_corpus(
    corpus: Corpus, *, samples: int = 1, progress: Progress = SILENT
) -> dict[str, Any]:
    """Count and sample a corpus, a batch of rows at a time.

    Args:
        corpus: A complete corpus.
        samples: How many samples of each scenario and strategy.
        progress: Told how far it is.

    Returns:
        Plain JSON values: ``rows`` by split; ``counts``, one a (scenario, strategy, asks, template,
        split); ``words``, mean and percentiles of instruction and response by split; ``texts``, the
        teacher's texts by kind and view with their mean length; ``samples``.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    lengths: dict[tuple[str, str], list[np.ndarray[Any, Any]]] = {}
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    keys = ("scenario", "strategy", "asks", "template", "split")
    for split in SPLITS:
        for frame in progress.track(corpus.stream(split), f"reading {split} rows"):
            counts.update(frame.select(keys).iter_rows())
            for column in ("instruction", "response"):
                words = frame[column].str.count_matches(r"\S+").to_numpy()
                lengths.setdefault((split, column), []).append(words)
            if split == "train":
                _sample(frame, samples, found)
    return {
        "protocol": corpus.protocol.value,
        "rows": {split: corpus.size(split) for split in SPLITS},
        "counts": [
            {**dict(zip(keys, key, strict=True)), "rows": count}
            for key, count in sorted(counts.items())
        ],
        "words": [
            {"split": split, "of": column, **_percentiles(np.concatenate(parts))}
            for (split, column), parts in sorted(lengths.items())
        ],
        "texts": _texts(corpus.annotations),
        "teacher": corpus.manifest.get("teacher"),
        "samples": [sample for rows in found.values() for sample in rows],
    }


def _sample(
    frame: pl.DataFrame, samples: int, found: dict[tuple[str, str, str], list[dict[str, Any]]]
) -> None:
    wanted = ("scenario", "strategy", "asks", "template", "instruction", "response")
    heads = frame.group_by(wanted[:3], maintain_order=True).head(samples)
    for row in heads.select(wanted).iter_rows(named=True):
        rows = found.setdefault((row["scenario"], row["strategy"], row["asks"]), [])
        if len(rows) < samples:
            rows.append(row)


def _percentiles(words: np.ndarray[Any, Any]) -> dict[str, float]:
    if not words.size:
        return {"mean": 0.0, "p50": 0.0, "p95": 0.0, "max": 0.0}
    middle, high = np.percentile(words, [50, 95])
    return {
        "mean": round(float(words.mean()), 1),
        "p50": float(middle),
        "p95": float(high),
        "max": float(words.max()),
    }


def _texts(annotations: pl.DataFrame) -> list[dict[str, Any]]:
    grouped = annotations.group_by("kind", "view").agg(
        pl.len().alias("texts"),
        pl.col("text").str.count_matches(r"\S+").mean().round(1).alias("mean_words"),
        pl.col("text").n_unique().alias("distinct"),
    )
    return grouped.sort("kind", "view").to_dicts()
