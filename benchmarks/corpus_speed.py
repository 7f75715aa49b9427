"""How many corpus rows a second are written, and what a row costs in memory.

The rival is the plainest loop one would write: one template, `str.format`, one JSON line a row,
no leak check and no negatives. It bounds from above what any builder in Python can reach.

    python benchmarks/corpus_speed.py --users 3000 --items 1500
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from instructrec.data.market import make_market
from instructrec.instructions.builder import build_corpus
from instructrec.instructions.teachers.named import teacher_named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=None, help="where to write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), options.users, options.items)
    table = Table(title=f"Corpus of {options.users} users, {options.items} items")
    for name in ("what", "rows", "seconds", "rows/s"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for name in ("annotate and build", "plain loop"):
        rows, seconds = figures[name]["rows"], figures[name]["seconds"]
        table.add_row(name, f"{rows:,}", f"{seconds:.1f}", f"{rows / seconds:,.0f}")
    Console().print(table)
    Console().print(f"peak memory {figures['peak_memory_mib']:,.0f} MiB")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


def measure(scratch: Path, users: int, items: int) -> dict[str, dict[str, float]]:
    """Seconds and rows of our builder and of the plain loop, in one process."""
    dataset = make_market(scratch / "dataset", users=users, items=items, seed=0)
    start = time.perf_counter()
    corpus = build_corpus(dataset, teacher_named("rules"), scratch / "corpus")
    ours = time.perf_counter() - start
    rows = sum(corpus.size(split) for split in ("train", "validation", "test"))
    start = time.perf_counter()
    plain = plain_loop(dataset, scratch / "plain.jsonl", rows)
    return {
        "annotate and build": {"rows": rows, "seconds": ours},
        "plain loop": {"rows": plain, "seconds": time.perf_counter() - start},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def plain_loop(dataset: object, path: Path, rows: int) -> int:
    """Write ``rows`` JSON lines, one template for all."""
    targets = dataset.split("leave-one-out").targets("train")
    titles = dataset.catalogue.titles
    template = "The user bought:\n{history}\nWhat comes next?"
    with path.open("w") as file:
        for number in range(rows):
            at = number % len(targets)
            lines = (
                f"{place}. {titles[row]}" for place, row in enumerate(targets.histories[at], 1)
            )
            text = template.format(history="\n".join(lines))
            row = {"instruction": text, "response": titles[targets.rows[at]]}
            file.write(json.dumps(row) + "\n")
    return rows


if __name__ == "__main__":
    main()
