"""How fast a corpus is made of a made-up log, where, and how much memory that takes.

The log is made as a stream, so that its size is bounded by the disk. Each way runs in a process of
its own: this process alone, two workers, two workers under Ray, and beside them the plain loop one
would write with `datasets.map`: one template, nine negatives, no text, no leak rule, one row a
user.

    python benchmarks/corpus_speed.py --users 5000 --items 2000 --events 50000
    python benchmarks/corpus_speed.py --users 1000000 --items 100000 --events 10000000 \\
        --ways process --scenario P1,I0,T3 --data log --sample 40
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from instructrec.data.dataset import ROW_GROUP, Dataset
from instructrec.data.splits import make_splits
from instructrec.errors import FolderError
from instructrec.folders import new_folder
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.executors import Executor, InProcess, OnRay, Processes
from instructrec.instructions.teachers.named import teacher_named

WAYS = {
    "none": "in this process",
    "process": "2 workers",
    "ray": "Ray, 2 workers",
    "map": "plain loop, datasets.map",
}
BLOCK = 50_000
"""Users made at a time."""
ADJECTIVES = [
    "warm",
    "quiet",
    "bright",
    "heavy",
    "simple",
    "sturdy",
    "gentle",
    "clever",
    "rough",
    "tiny",
    "vast",
    "plain",
]
NOUNS = [
    "lamp",
    "chair",
    "kettle",
    "novel",
    "puzzle",
    "guitar",
    "jacket",
    "camera",
    "blanket",
    "racer",
    "garden",
    "drill",
]
OPENINGS = ("Really {} and {}.", "It is {}, if a little {}.", "Bought it because it is {}: {} too.")
ENDINGS = (
    "My daughter uses it every day.",
    "Works well for long evenings.",
    "I wanted something for the weekend and this does it.",
    "Not what I hoped for.",
    "I would buy it again.",
)


def main() -> None:
    options = arguments()
    if options.one:
        print(json.dumps(one_way(options.one, options.data, options.scratch, options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data or Path(scratch) / "log"
        if not folder.exists():
            make_log(folder, options.users, options.items, options.events, options.seed)
        figures = {}
        for way in options.ways:
            figures[way] = in_process_of_its_own(way, folder, Path(scratch), options)
            print(f"{WAYS[way]}: {figures[way]}", file=sys.stderr)
        interactions = pq.read_metadata(folder / "interactions.parquet").num_rows
    told = {
        "interactions": interactions,
        "users": options.users,
        "items": options.items,
        "scenarios": options.scenario,
        "ways": figures,
    }
    console = Console(stderr=options.json)
    console.print(table(told))
    if options.json:
        print(json.dumps(told))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenario", action="append", help="all scenarios when left out")
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--data", type=Path, help="where the log is, or is to be kept")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--sample", type=int, help="make about so many partitions of users only")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def make_log(folder: Path, users: int, items: int, events: int, seed: int) -> None:
    """A dataset with ratings, short reviews and labels, written as a stream."""
    rng = np.random.default_rng(seed)
    item_ids = pl.Series([f"i{number:07}" for number in range(items)])
    words = rng.integers(0, len(NOUNS), (items, 2))
    catalogue = pl.DataFrame(
        {
            "item_id": item_ids,
            "title": [f"{ADJECTIVES[a]} {NOUNS[n]} {at}" for at, (a, n) in enumerate(words)],
            "categories": [["Shop", NOUNS[n], f"{ADJECTIVES[a]} {NOUNS[n]}s"] for a, n in words],
            "price": rng.integers(3, 200, items).astype(float),
        }
    )
    # Popular items are taken more often, as in a shop.
    draws = np.cumsum(1 / np.arange(1, items + 1) ** 0.7)
    with new_folder(folder, "dataset", command="benchmarks/corpus_speed.py", seed=seed) as draft:
        catalogue.write_parquet(draft.path / "items.parquet", row_group_size=ROW_GROUP)
        writers: dict[str, pq.ParquetWriter] = {}
        by_item = make_splits(
            _block(rng, 0, 3, 3, item_ids, draws), catalogue, None, clock="order", seed=seed
        )
        for start in range(0, users, BLOCK):
            count = min(BLOCK, users - start)
            wanted = round(events * (start + count) / users) - round(events * start / users)
            block = _block(rng, start, count, wanted, item_ids, draws)
            splits = make_splits(block, catalogue, None, clock="order", seed=seed)
            splits = splits.filter(pl.col("protocol") == "leave-one-out")
            for name, frame in (("interactions", block), ("splits", splits)):
                rows = frame.to_arrow()
                if name not in writers:
                    path = draft.path / f"{name}.parquet"
                    writers[name] = pq.ParquetWriter(path, rows.schema, compression="zstd")
                writers[name].write_table(rows, row_group_size=ROW_GROUP)
        rest = by_item.filter(pl.col("protocol") == "items").to_arrow()
        writers["splits"].write_table(rest, row_group_size=ROW_GROUP)
        for writer in writers.values():
            writer.close()
        draft.facts["clock"] = "order"


def _block(
    rng: np.random.Generator,
    start: int,
    users: int,
    events: int,
    item_ids: pl.Series,
    draws: np.ndarray[Any, Any],
) -> pl.DataFrame:
    """The interactions of neighbouring users: three each at least, the rest by chance."""
    sizes = (
        np.full(users, 3)
        if events < 3 * users
        else 3 + rng.multinomial(events - 3 * users, np.full(users, 1 / users))
    )
    total = int(sizes.sum())
    ids = pl.Series([f"u{number:08}" for number in range(start, start + users)])
    places = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = np.searchsorted(draws, rng.random(total) * draws[-1])
    return pl.DataFrame(
        {
            "user_id": ids.gather(np.repeat(np.arange(users), sizes)),
            "item_id": item_ids.gather(rows),
            "timestamp": places,
            "rating": rng.integers(1, 6, total).astype(np.float32),
            "review": _reviews(rng, total),
        }
    )


def _reviews(rng: np.random.Generator, count: int) -> pl.Series:
    heads = pl.Series(
        [say.format(a, b) for say in OPENINGS for a in ADJECTIVES for b in ADJECTIVES if a != b]
    )
    return (
        heads.gather(rng.integers(0, len(heads), count))
        + " "
        + pl.Series(ENDINGS).gather(rng.integers(0, len(ENDINGS), count))
    )


def in_process_of_its_own(
    way: str, data: Path, scratch: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Run one way in a fresh interpreter, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--one", way, "--data", data, "--scratch", scratch]
    for scenario in options.scenario or ():
        command += ["--scenario", scenario]
    if options.sample:
        command += ["--sample", str(options.sample)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {"failed": done.returncode}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def one_way(way: str, data: Path, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, rows and peak memory of one way."""
    start = time.perf_counter()
    if way == "map":
        rows = plain_loop(data, scratch / "map")
        return {"rows": rows, "seconds": time.perf_counter() - start, "main_mib": peak_mib()}
    executors: dict[str, Executor] = {"none": InProcess(), "process": Processes(2), "ray": OnRay(2)}
    executor, clock = Measured(executors[way], options.sample), Clock()
    config = CorpusConfig(scenarios=tuple(options.scenario) if options.scenario else None)
    # Of a sample there is no whole corpus in the end, which is told as an error.
    with contextlib.suppress(*[FolderError] * bool(options.sample)):
        build_corpus(
            Dataset(data),
            teacher_named("rules"),
            scratch / way,
            config,
            executor=executor,
            progress=clock,
        )
    here = str(os.getpid())
    return {
        "rows": sum(executor.counts[split] for split in ("train", "validation", "test")),
        "texts": executor.counts["annotations"],
        "seconds": time.perf_counter() - start,
        "phases": clock.seconds,
        "partitions": executor.partitions,
        "main_mib": peak_mib(),
        "worker_mib": max((mib for pid, mib in executor.peaks.items() if pid != here), default=0.0),
    }


def peak_mib() -> float:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Measured:
    """An executor that keeps what was made, and each process's peak of memory."""

    def __init__(self, executor: Executor, sample: int | None) -> None:
        self.executor, self.sample = executor, sample
        self.peaks: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.partitions: list[int] = []

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        tasks = self._sampled(tasks)
        self.partitions.append(len(tasks))
        for counts, pid, mib in self.executor.run(partial(measured, function), tasks):
            self.peaks[pid] = mib
            self.counts.update(counts)
            yield counts

    def _sampled(self, tasks: Sequence[Any]) -> Sequence[Any]:
        """Users from everywhere, the same in both phases."""
        if self.sample is None:
            return tasks
        users = [task for task in tasks if task.partition.table == "users"]
        rest = [task for task in tasks if task.partition.table != "users"]
        return [*rest, *users[:: max(1, len(users) // self.sample)]]


def measured(function: Callable[[Any], Any], task: Any) -> tuple[Any, str, float]:
    """A task's result, who did it, and the most memory that took so far."""
    return function(task), str(os.getpid()), peak_mib()


class Clock:
    """Progress that keeps how long each phase took, and tells how far it is now and then."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def track(self, items: Iterable[Any], title: str, total: int | None = None) -> Iterator[Any]:
        start = said = time.perf_counter()
        for number, item in enumerate(items, 1):
            yield item
            now = time.perf_counter()
            if now - said > 30:
                said = now
                self.note(f"{title}: {number} of {total} after {now - start:.0f} s")
        self.seconds[title.split(",", maxsplit=1)[0]] = time.perf_counter() - start


def plain_loop(data: Path, out: Path) -> int:
    """One row a user with one template, by `datasets.map`, written as Parquet."""
    import datasets

    datasets.disable_progress_bars()
    titles = pl.read_parquet(data / "items.parquet")["title"].to_list()
    log = pl.scan_parquet(data / "interactions.parquet")
    numbers = pl.scan_parquet(data / "items.parquet").select("item_id").with_row_index("row")
    table = log.join(numbers, on="item_id", maintain_order="left")
    histories = table.group_by("user_id", maintain_order=True).agg("row").collect()
    source = datasets.Dataset(histories.to_arrow())
    rng = np.random.default_rng(0)

    def write(user: dict[str, Any]) -> dict[str, Any]:
        *history, target = user["row"][-20:]
        listed = [titles[row] for row in [*rng.integers(0, len(titles), 9).tolist(), target]]
        lines = "\n".join(f"{at}. {titles[row]}" for at, row in enumerate(history, 1))
        choices = "\n".join(f"- {title}" for title in sorted(listed))
        text = f"The user bought:\n{lines}\nWhich of these comes next?\n{choices}"
        return {"instruction": text, "response": titles[target]}

    made = source.map(write, remove_columns=["row"], cache_file_name=str(out) + ".arrow")
    made.to_parquet(str(out) + ".parquet")
    return len(made)


def table(told: dict[str, Any]) -> Table:
    """The figures side by side."""
    head = (
        f"{told['interactions']:,} interactions, {told['users']:,} users, {told['items']:,} items"
    )
    shown = Table(title=head)
    names = (
        "way",
        "rows",
        "texts",
        "seconds",
        "rows/s",
        "texts s",
        "rows s",
        "main MiB",
        "worker MiB",
    )
    for name in names:
        shown.add_column(name, justify="left" if name == "way" else "right")
    for way, figures in told["ways"].items():
        if "failed" in figures:
            shown.add_row(WAYS[way], "failed")
            continue
        phases = figures.get("phases", {})
        shown.add_row(
            WAYS[way],
            f"{figures['rows']:,}",
            f"{figures.get('texts', 0):,}",
            f"{figures['seconds']:.1f}",
            f"{figures['rows'] / figures['seconds']:,.0f}",
            f"{phases.get('texts', 0):.1f}",
            f"{phases.get('rows', 0):.1f}",
            f"{figures['main_mib']:,.0f}",
            f"{figures.get('worker_mib', 0):,.0f}",
        )
    return shown


if __name__ == "__main__":
    main()
