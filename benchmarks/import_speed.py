"""How fast and in how much memory does `data import` read a million interactions from CSV?

The rival is the least that anybody would do: `polars.read_csv` and a sort by user and time, with
nothing checked, split or written.

    python benchmarks/import_speed.py --rows 1000000 --out import_speed.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

RIVAL = """
import json, resource, sys, time
start = time.perf_counter()
import polars as pl
loaded, used = time.perf_counter(), time.process_time()
frame = pl.read_csv(sys.argv[1], schema_overrides={"user_id": pl.String, "item_id": pl.String})
frame = frame.sort("user_id", "timestamp", maintain_order=True)
"""
OURS = """
import json, resource, sys, time
from pathlib import Path
start = time.perf_counter()
from instructrec.data.importing import ImportConfig, import_dataset
loaded, used = time.perf_counter(), time.process_time()
dataset = import_dataset(ImportConfig(
    interactions=Path(sys.argv[1]), items=Path(sys.argv[2]), out=Path(sys.argv[3]),
    k_core=int(sys.argv[4]),
))
"""
# On Linux ru_maxrss counts the process that started this one too, VmHWM does not.
END = """
end = time.perf_counter()
try:
    lines = open("/proc/self/status").read().splitlines()
    peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({
    "seconds": end - loaded, "cpu_seconds": time.process_time() - used,
    "loading": loaded - start, "peak_mib": peak / 1024,
}))
"""


def make_files(folder: Path, rows: int, reviews: bool, seed: int) -> tuple[Path, Path]:
    """Write a CSV of interactions, skewed as shops are, and one of items."""
    rng = np.random.default_rng(seed)
    users, items = max(rows // 20, 1), max(rows // 50, 1)
    popularity = 1.0 / np.arange(1, items + 1) ** 0.8
    interactions = pl.DataFrame(
        {
            "user_id": [f"A{number:013d}" for number in rng.integers(0, users, rows)],
            "item_id": [
                f"B{number:09d}"
                for number in rng.choice(items, rows, p=popularity / popularity.sum())
            ],
            "rating": rng.integers(1, 6, rows).astype(np.float32),
            "timestamp": rng.integers(1_300_000_000_000, 1_700_000_000_000, rows),
        }
    )
    if reviews:
        words = np.array([f"word{number}" for number in range(50)])
        texts = [" ".join(words[line]) for line in rng.integers(0, len(words), (1000, 60))]
        drawn = np.array(texts)[rng.integers(0, len(texts), rows)]
        interactions = interactions.with_columns(review=pl.Series(drawn))
    catalogue = pl.DataFrame(
        {
            "item_id": [f"B{number:09d}" for number in range(items)],
            "title": [f"Thing number {number}, the blue edition" for number in range(items)],
            "categories": ["Things|Blue"] * items,
            "price": [f"${number % 90}.99" for number in range(items)],
        }
    )
    paths = folder / "interactions.csv", folder / "items.csv"
    interactions.write_csv(paths[0])
    catalogue.write_csv(paths[1])
    return paths


def measure(code: str, *args: str) -> dict[str, float]:
    """Run code in a process of its own and return what it measured."""
    done = subprocess.run(
        [sys.executable, "-c", code + END, *args], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Make the files, measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--reviews", action="store_true", help="with 60 words of review a row")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        interactions, items = make_files(folder, args.rows, args.reviews, seed=0)
        size = interactions.stat().st_size
        for number in range(args.repeat):
            out = folder / f"d{number}"
            ours = [str(interactions), str(items)]
            runs.setdefault("polars.read_csv + sort", []).append(measure(RIVAL, ours[0]))
            runs.setdefault("data import", []).append(measure(OURS, *ours, str(out), "0"))
            runs.setdefault("data import --k-core 5", []).append(
                measure(OURS, *ours, str(out) + "k", "5")
            )
    best = {name: min(found, key=lambda run: run["seconds"]) for name, found in runs.items()}
    print(f"{args.rows:,} interactions, {size / 2**20:.0f} MiB of CSV, best of {args.repeat}")
    print(f"{'':26}{'seconds':>9}{'of CPU':>8}{'rows/s':>12}{'peak MiB':>10}")
    for name, run in best.items():
        rate = args.rows / run["seconds"]
        print(
            f"{name:26}{run['seconds']:9.2f}{run['cpu_seconds']:8.2f}{rate:12,.0f}{run['peak_mib']:10.0f}"
        )
    if args.out:
        answer = {"rows": args.rows, "bytes": size, "reviews": args.reviews, "runs": runs}
        args.out.write_text(json.dumps(answer, indent=2) + "\n")


if __name__ == "__main__":
    main()
