"""A model in memory as teacher: how fast it writes, and how many of its texts can be used.

Example:
    python benchmarks/local_teacher.py --data shared/data/digital-music --out answers.jsonl

Asks for both intentions of real reviews (I1 and I1*), once each, and reads the answers as a corpus
would: `usable` passed every check of docs/teachers.md. Asking again with the fault named, at most
twice as a corpus build does, is `--again 2`. What came back goes to --out, for reading by eye.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from instructrec.instructions.annotations import VAGUE_VIEWS
from instructrec.instructions.teachers.base import Ask, ItemFacts, Prompt
from instructrec.instructions.teachers.local import LocalCompletions
from instructrec.instructions.teachers.prompting import Job, PromptBook, Reading


def asks_of(data: Path, reviews: int, seed: int) -> list[Ask]:
    """Both intentions of so many reviews drawn at random."""
    items = {
        row["item_id"]: ItemFacts(row["title"], tuple(row.get("categories") or ()))
        for row in pl.read_parquet(data / "items.parquet").iter_rows(named=True)
    }
    frame = pl.read_parquet(data / "interactions.parquet").filter(
        pl.col("review").str.len_chars().is_between(40, 1999), pl.col("item_id").is_in(list(items))
    )
    rows = np.random.default_rng(seed).choice(frame.height, reviews, replace=False)
    return [
        Ask("intention", view, user, item, "train", (), items[item], review)
        for user, item, review in frame[np.sort(rows)]
        .select("user_id", "item_id", "review")
        .iter_rows()
        for view in VAGUE_VIEWS
    ]


def answered(
    model: LocalCompletions, book: PromptBook, jobs: list[Job], again: int
) -> tuple[list[tuple[str, list[Reading]]], Counter[str]]:
    """Each job's last answer as it came and as it was read; tokens and requests."""
    prompts: list[Prompt] = [book.prompt(job) for job in jobs]
    last: list[tuple[str, list[Reading]]] = [("", [])] * len(jobs)
    spent: Counter[str] = Counter()
    waiting = list(range(len(jobs)))
    for _ in range(again + 1):
        for at, answer in model.complete([prompts[at] for at in waiting]):
            number = waiting[at]
            readings = book.read(jobs[number], answer.text)
            last[number] = (answer.text, readings)
            spent["requests"] += 1
            spent["prompt_tokens"] += answer.prompt_tokens
            spent["completion_tokens"] += answer.completion_tokens
            faults = [reading.fault for reading in readings]
            prompts[number] = book.again(jobs[number], answer.text, faults)
        waiting = [at for at in waiting if any(one.fault for one in last[at][1])]
    return last, spent


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Ask, time, read and write what came back."""
    book = PromptBook.load("en")
    jobs = book.group(asks_of(given.data, given.reviews, given.seed))
    model = LocalCompletions(given.model, temperature=given.temperature, seed=given.seed)
    list(model.complete([book.prompt(jobs[0])]))  # loads and warms up
    start = time.perf_counter()
    last, spent = answered(model, book, jobs, given.again)
    seconds = time.perf_counter() - start
    faults: Counter[str] = Counter()
    with given.out.open("w", encoding="utf-8") as file:
        for job, (text, readings) in zip(jobs, last, strict=True):
            faults.update(reading.fault or "usable" for reading in readings)
            texts = {
                ask.view: {"text": reading.text, "fault": reading.fault}
                for ask, reading in zip(job.asks, readings, strict=True)
            }
            first = job.asks[0]
            title = first.item.title if first.item else ""
            line = {"title": title, "review": first.review, "answer": text, "texts": texts}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return {
        "model": given.model,
        "reviews": len(jobs),
        "texts": sum(faults.values()),
        **spent,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(spent["completion_tokens"] / seconds, 1),
        "readings": dict(faults.most_common()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="a folder with reviews")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--reviews", type=int, default=50)
    parser.add_argument("--again", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given)
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:18} {value}")


if __name__ == "__main__":
    main()
