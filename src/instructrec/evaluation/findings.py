"""Answers to further questions as one table, and the figures that come of them.

answers.parquet holds one line an answer; every figure is computed from its lines alone, so that
`instructrec evaluate --check` can compute it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from instructrec import metrics
from instructrec.evaluation.measure import intervals
from instructrec.evaluation.report import ASIDE, OURS, WITHOUT_LM, Finding, Row
from instructrec.evaluation.significance import LEVEL

ANSWERS = pl.Schema(
    {
        "part": pl.String(),
        "scenario": pl.String(),
        "protocol": pl.String(),
        "asked": pl.String(),
        "model": pl.String(),
        "group": pl.String(),
        "key": pl.String(),
        "rank": pl.Int32(),
        "probability": pl.Float64(),
        "label": pl.Boolean(),
    }
)
"""Columns of answers.parquet. A ranking has a rank; a judgement a probability and a label, whether
it should be Yes; a comparison the probability that the target is chosen; a check a label."""
PARTS: Mapping[str, str] = {
    "judgements": "T0: is this item right for this user? The probability of Yes, of the target and "
    "of one other item drawn uniformly. AUC is the share of pairs of a right and a wrong one that "
    "are told apart; Brier score and calibration error (ECE) are better the smaller, at a base "
    "rate of one half.",
    "comparisons": "T1: which of the two? Share of pairs in which the target is chosen over its "
    "partner; ties count as wrong. Models that do not compare choose by their scores.",
    "stage 1": "Share of requests whose target is among the candidates that retrieval found: no "
    "reranking can reach more.",
    "history": "The same requests and candidates with the history changed. A model to which order "
    "matters falls when it is shuffled; one that knows its user falls when it is someone else's.",
    "wish": "The same requests and candidates with the wish changed. A model that follows "
    "instructions falls when the wish is not the user's own.",
    "misled": "Share of requests in which the first negative comes first, once with the own wish "
    "and once with a wish for that very item: high in the second shows that wishes are followed.",
    "wording": "The same requests by every template that covers the scenario.",
    "wording keeps the first": "Share of requests whose first is that of the template in use.",
    "limit": "Share of requests whose first keeps a price limit that half of the candidates keep.",
    "history length": "By how many items of the history the request tells.",
    "activity": "By how many items the user has had, all of them counted.",
    "item popularity": "By how often the target occurs in training; cold items never do.",
}
"""What every part asks."""
EDGES: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "history length": ("history_length", (1, 3, 6, 11)),
    "activity": ("activity", (1, 3, 6, 11, 21)),
    "item popularity": ("target_popularity", (0, 1, 6, 21, 101)),
}
"""Part → the column of per_user.parquet and the lowest number of each group."""
SHOWN_RIVALS = 3
_RESAMPLES = 300


def answers(
    labels: tuple[str, str, str, str],
    model: str,
    group: str,
    keys: Sequence[str],
    **columns: np.ndarray,
) -> pl.DataFrame:
    """Lines of answers.parquet.

    Args:
        labels: part, scenario, protocol, asked.
        model: Who answered.
        group: Which requests, or which change of them.
        keys: n request ids.
        **columns: rank, probability or label, n each.
    """
    part, scenario, protocol, asked = labels
    constant = {
        "part": part,
        "scenario": scenario,
        "protocol": protocol,
        "asked": asked,
        "model": model,
        "group": group,
    }
    frame = pl.DataFrame({"key": list(keys), **columns})
    told = [pl.lit(value).alias(name) for name, value in constant.items()]
    empty = [
        pl.lit(None).alias(name) for name in ANSWERS if name not in {*constant, *frame.columns}
    ]
    return frame.select(*told, pl.all(), *empty).select(ANSWERS.names()).cast(ANSWERS)


def findings_of(frame: pl.DataFrame, seed: int) -> list[Finding]:
    """The figures of answers.parquet, in its order.

    Args:
        frame: Columns of `ANSWERS`.
        seed: Of bootstrap samples.
    """
    names = ["part", "scenario", "protocol", "asked", "model", "group"]
    found = []
    for values, lines in frame.group_by(names, maintain_order=True):
        told = dict(zip(names, (str(value) for value in values), strict=True))
        if lines["rank"].null_count() < lines.height:
            ranks = lines["rank"].to_numpy().astype(np.int64)
            columns = metrics.per_request(ranks)
        elif lines["label"].null_count() == lines.height:
            right = lines["probability"].to_numpy() > 0.5
            columns = {"accuracy": right.astype(np.float64)}
        elif lines["probability"].null_count() == lines.height:
            columns = {"share": lines["label"].to_numpy().astype(np.float64)}
        else:
            found.append(_judged(lines, told, seed))
            continue
        found.append(
            Finding.model_validate(
                {
                    **told,
                    "requests": lines.height,
                    "metrics": metrics.means(columns),
                    "interval": intervals(columns, seed),
                }
            )
        )
    return found


def _judged(lines: pl.DataFrame, told: Mapping[str, str], seed: int) -> Finding:
    """AUC, Brier score and calibration of judgements; samples are drawn by request."""
    keys = lines["key"].rank("dense").to_numpy().astype(np.int64) - 1
    said, right = lines["probability"].to_numpy(), lines["label"].to_numpy()
    places = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[places], np.arange(keys.max() + 2))
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(_RESAMPLES):
        chosen = rng.integers(0, keys.max() + 1, keys.max() + 1)
        sizes = starts[chosen + 1] - starts[chosen]
        first = np.repeat(starts[chosen], sizes)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        at = places[first + within]
        for name, value in _judgement_figures(said[at], right[at]).items():
            drawn.setdefault(name, []).append(value)
    outside = (1 - LEVEL) / 2
    ends = {name: np.quantile(values, [outside, 1 - outside]) for name, values in drawn.items()}
    return Finding.model_validate(
        {
            **told,
            "requests": int(keys.max()) + 1,
            "metrics": _judgement_figures(said, right),
            "interval": {name: (float(low), float(high)) for name, (low, high) in ends.items()},
            "bins": metrics.calibration(said, right),
        }
    )


def _judgement_figures(said: np.ndarray, right: np.ndarray) -> dict[str, float]:
    return {
        "AUC": metrics.auc(said, right),
        "Brier": float(metrics.brier(said, right).mean()),
        "ECE": metrics.calibration_error(said, right),
        "Yes": float(said.mean()),
    }


def by_group(per_user: pl.DataFrame, rows: Sequence[Row], seed: int) -> Iterator[Finding]:
    """Figures of groups of requests, from per_user.parquet.

    Args:
        per_user: Results of every request.
        rows: Of the report: ours are told, and the best rivals.
        seed: Of bootstrap samples.
    """
    for row in _shown(rows):
        lines = per_user.filter(
            pl.col("scenario") == row.scenario,
            pl.col("protocol") == row.protocol,
            pl.col("slug") == row.slug,
        )
        for part, (column, edges) in EDGES.items():
            numbers = lines[column].to_numpy()
            for low, high in zip(edges, (*edges[1:], None), strict=True):
                chosen = (numbers >= low) & (numbers < high if high is not None else True)
                if not chosen.any():
                    continue
                ranks = lines["rank"].to_numpy()[chosen].astype(np.int64)
                columns = metrics.per_request(ranks, tuple(row.metrics))
                yield Finding(
                    part=part,
                    scenario=row.scenario,
                    protocol=row.protocol,
                    asked=row.candidates,
                    model=row.model,
                    group=_named(low, high),
                    requests=int(chosen.sum()),
                    metrics=metrics.means(columns),
                    interval=intervals(columns, seed),
                )


def _shown(rows: Sequence[Row]) -> Iterator[Row]:
    """Our rows, what is left without the language model, and the best rivals of each table."""
    for table in dict.fromkeys(row.table for row in rows):
        own = [row for row in rows if row.table == table]
        rivals = [row for row in own if row.kind == "rival" and row.model not in ASIDE]
        rivals.sort(key=lambda row: (-row.metrics[row.headline], row.model))
        yield from rivals[:SHOWN_RIVALS]
        yield from (row for row in own if row.model == WITHOUT_LM)
        yield from sorted(
            (row for row in own if row.kind == "ours"), key=lambda row: row.model == OURS
        )


def _named(low: int, high: int | None) -> str:
    if (low, high) == (0, 1):
        return "0 (cold)"
    if high is None:
        return f"{low} and more"
    return str(low) if high == low + 1 else f"{low} to {high - 1}"
