"""Exact search, search through an index, and sorting everything, over made-up vectors.

The vectors lie around centres of clusters in a space of 48 dimensions and are taken to
--dimensions by a random projection, a little noise beside. They are held in memory, 1.5 GB a
million; the index is mapped from a file below --work.

    python benchmarks/vector_search.py --items 1000000 2000000

Needs `pip install 'instructrec[ann]'`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from instructrec.data.catalogue import Catalogue
from instructrec.protocols import Condition, Filters, Rows
from instructrec.retrieval.ann import VectorIndex
from instructrec.retrieval.encoder import Vectors
from instructrec.retrieval.search import VectorSearch

K = 100
CLUSTERS, LATENT = 2000, 48
SPREAD, NOISE = 0.6, 0.4
BLOCK = 50_000
SHARES = (1.0, 0.5, 0.1)
"""How much of the catalogue filters allow."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="where to keep the index")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told = {}
    for items in options.items:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            told[str(items)] = measure(Path(folder), items, options)
    if options.json:
        print(json.dumps(told))
    else:
        show(told)


def measure(folder: Path, items: int, options: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    draw = drawer(rng, options.dimensions)
    vectors = np.empty((items, options.dimensions), dtype=np.float32)
    for start in range(0, items, BLOCK):
        vectors[start : start + BLOCK] = draw(min(BLOCK, items - start))
    wanted = draw(options.requests)
    ids = [f"i{number:09}" for number in range(items)]
    prices = rng.random(items)
    catalogue = Catalogue(pl.DataFrame({"item_id": ids, "title": ids, "price": prices}))
    started = time.perf_counter()
    VectorIndex.fit(vectors).save(folder / "index")
    built = time.perf_counter() - started
    index = VectorIndex.load(folder / "index", items)
    told: dict[str, Any] = {
        "build_seconds": built,
        "index_mib": (folder / "index").stat().st_size / 2**20,
        "lists": index.index.nlist,
    }
    exact, indexed = VectorSearch(catalogue, vectors), VectorSearch(catalogue, vectors, index)
    for share in SHARES:
        cheap = Filters((Condition("price", "<", share),)) if share < 1 else Filters()
        filters = [cheap] * options.requests
        told[f"allowed {share:.0%}"] = compare(
            {
                "exact": lambda some, f=filters: exact.top(some, K, f[: len(some)]),
                "index": lambda some, f=filters: indexed.top(some, K, f[: len(some)]),
            },
            wanted,
            options.repeats,
        )
    told["sorting everything"] = rate(
        lambda some: sort_everything(vectors, some), wanted[:16], options.repeats
    )
    told["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return told


def drawer(rng: np.random.Generator, dimensions: int) -> Callable[[int], Vectors]:
    centres = rng.normal(size=(CLUSTERS, LATENT)).astype(np.float32)
    projection = rng.normal(size=(LATENT, dimensions)).astype(np.float32)

    def draw(count: int) -> Vectors:
        near = centres[rng.integers(0, CLUSTERS, count)]
        latent = near + SPREAD * rng.normal(size=near.shape).astype(np.float32)
        noise = NOISE * rng.normal(size=(count, dimensions)).astype(np.float32)
        found = latent @ projection + noise
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return draw


def compare(
    ways: dict[str, Callable[[Vectors], Rows]], wanted: Vectors, repeats: int
) -> dict[str, Any]:
    """Rates of both ways, and how many of the exact hundred the index finds."""
    told: dict[str, Any] = {name: rate(find, wanted, repeats) for name, find in ways.items()}
    exact, found = ways["exact"](wanted), ways["index"](wanted)
    shared = [len(np.intersect1d(a[a >= 0], b)) for a, b in zip(exact, found, strict=True)]
    told["recall"] = sum(shared) / max(int((exact >= 0).sum()), 1)
    told["complete"] = bool(((found >= 0).sum(axis=1) == (exact >= 0).sum(axis=1)).all())
    return told


def rate(find: Callable[[Vectors], Rows], wanted: Vectors, repeats: int) -> dict[str, float]:
    """Requests a second in one batch, and milliseconds of one alone; medians after a warm-up."""
    find(wanted[:2])
    batches = [timed(find, wanted) for _ in range(repeats)]
    alone = [timed(find, wanted[n : n + 1]) for n in range(min(8 * repeats, len(wanted)))]
    batch = len(wanted) / statistics.median(batches)
    return {"requests_a_second": batch, "alone_ms": 1000 * statistics.median(alone)}


def timed(find: Callable[[Vectors], Rows], wanted: Vectors) -> float:
    started = time.perf_counter()
    find(wanted)
    return time.perf_counter() - started


def sort_everything(vectors: Vectors, wanted: Vectors) -> Rows:
    """The plain way: all scores at once, all of them sorted."""
    return np.argsort(-(wanted @ vectors.T), axis=1, kind="stable")[:, :K]


def show(told: dict[str, Any]) -> None:
    table = Table("items", "allowed", "way", "requests/s", "one alone, ms", f"recall@{K}")
    for items, found in told.items():
        count = f"{int(items):,}"
        for allowed, ways in found.items():
            if not isinstance(ways, dict):
                continue
            rows = {"": ways} if "alone_ms" in ways else ways
            for name, way in rows.items():
                if isinstance(way, dict):
                    recall = f"{ways['recall']:.4f}" if name == "index" else ""
                    speed = (f"{way['requests_a_second']:,.1f}", f"{way['alone_ms']:,.1f}")
                    table.add_row(count, allowed, name, *speed, recall)
    console = Console()
    console.print(table)
    for items, found in told.items():
        console.print(
            f"{int(items):,} items: index of {found['lists']:,} lists, {found['index_mib']:,.0f} "
            f"MiB, built in {found['build_seconds']:,.0f} s; peak memory {found['peak_mib']:,} MiB"
        )


if __name__ == "__main__":
    main()
