"""Recall on the paper's own Games data: every retriever and the hybrid beside public lists.

The last item of 6,000 users is to be found in the whole catalogue. Public lists (BM25, BPR,
GRU4Rec, SASRec; the same users; candidates.parquet) may hold items of the history; so may ours.
In use the history is never answered, which a column of its own shows. What places count in the
weighted hybrid is fitted on validation targets of other users.

    python benchmarks/retrieval.py --data DATA/amazon-games --run runs/games

RUN is a folder with dataset/ and retrievers/ (see benchmarks/amazon_games.py).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.instructions.annotations import ANNOTATION_SCHEMA, Annotations
from instructrec.instructions.requests import Requests, make_requests
from instructrec.instructions.schema import Scenario
from instructrec.protocols import Retriever, Rows
from instructrec.retrieval import load_retrievers
from instructrec.retrieval.hybrid import Hybrid
from instructrec.retrieval.shares import DEPTH, fit_shares, unseen

CUTS = (10, 20, 100)
PUBLIC = ("random", "pop", "bm25", "bert", "bpr", "gru4rec", "sasrec")
SCENARIO = Scenario.parse("P1,I0,T3")
BLOCK = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--fit-users", type=int, default=3000, help="validation users")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    lists = pl.read_parquet(options.data / "candidates.parquet")
    dataset = Dataset(options.run / "dataset")
    tested = set(lists["user_id"].unique().to_list())
    test = requests_of(dataset, "test", tested)
    others = set(dataset.split(Protocol.LEAVE_ONE_OUT).targets("validation").user_ids) - tested
    validation = requests_of(dataset, "validation", others, options.fit_users)
    retrievers = load_retrievers(options.run / "retrievers", dataset.catalogue, to_choose=True)
    # What says nothing about a history finds nothing for these requests.
    words = ("lexical", "dense", "tower")
    heard = {name: one for name, one in retrievers.items() if name not in words}
    rows = public_rows(lists, test, dataset)
    found = [one for name, one in heard.items() if name != "popularity"]
    fill = heard.get("popularity")
    shares = fit_shares(
        {one.name: unseen(one, validation.instructions, validation.seen, DEPTH) for one in found},
        validation.targets,
    )
    hybrids = {
        "hybrid, all alike": Hybrid(found, fill),
        "hybrid, weighted": Hybrid(found, fill, {"P,I0": shares}),
    }
    rows |= {name: measured(one, test) for name, one in {**heard, **hybrids}.items()}
    told = {"users": len(test), "recall": rows, "shares": shares}
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        show(told)


def requests_of(
    dataset: Dataset, split: str, users: set[str], limit: int | None = None
) -> Requests:
    """Histories and targets of these users."""
    nothing = Annotations.of(pl.DataFrame(schema=ANNOTATION_SCHEMA))
    return make_requests(
        dataset, Protocol.LEAVE_ONE_OUT, split, SCENARIO, nothing, limit=limit, users=users
    )


def public_rows(
    lists: pl.DataFrame, test: Requests, dataset: Dataset
) -> dict[str, dict[str, float]]:
    """Recall of the lists in the candidates file."""
    rows = {}
    for strategy in PUBLIC:
        frame = lists.filter(pl.col("strategy") == strategy)
        by_user = dict(zip(frame["user_id"], frame["candidates"].to_list(), strict=True))
        ids = [by_user[user] for user in test.user_ids if user is not None]
        rows[f"public {strategy}"] = recall(dataset.catalogue.padded_rows(ids), test.targets)
    return rows


def measured(retriever: Retriever, test: Requests) -> dict[str, float]:
    """Recall as it is, recall with the history dropped, and milliseconds a request."""
    start = time.perf_counter()
    found = in_blocks(lambda part: retriever.retrieve(part, DEPTH), test)
    took = 1000 * (time.perf_counter() - start) / len(test)
    dropped = unseen(retriever, test.instructions, test.seen, DEPTH)
    told = recall(found, test.targets)
    told["@100, history dropped"] = recall(dropped, test.targets)["@100"]
    return {**told, "ms": took}


def in_blocks(ask: Callable[[Sequence[object]], Rows], test: Requests) -> Rows:
    """The lists of all requests, asked for so many at a time."""
    starts = range(0, len(test), BLOCK)
    return np.concatenate([ask(test.instructions[at : at + BLOCK]) for at in starts])


def recall(found: Rows, targets: Rows) -> dict[str, float]:
    """The share of requests whose target is among the first of its list."""
    hits = found == targets[:, None]
    return {f"@{cut}": float(hits[:, :cut].any(axis=1).mean()) for cut in CUTS}


def show(told: Mapping[str, object]) -> None:
    """Print a table."""
    columns = [*(f"@{cut}" for cut in CUTS), "@100, history dropped", "ms"]
    table = Table("", *columns, title=f"Recall, {told['users']} users")
    for name, row in told["recall"].items():
        cells = [f"{row[c]:.{2 if c == 'ms' else 4}f}" if c in row else "" for c in columns]
        table.add_row(name, *cells)
    Console().print(table)
    Console().print("What places count in the weighted hybrid:", told["shares"])


if __name__ == "__main__":
    main()
