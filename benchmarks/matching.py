"""How long the search of a whole catalogue takes (task form T2), and how much of the best it finds.

    python benchmarks/matching.py --data FOLDER [--backbone mini-causal] [--requests 50] [--json]
    python benchmarks/matching.py --titles 1000000        # the tree alone, of made-up titles

FOLDER holds items.parquet (item_id, title) and interactions.parquet (user_id, item_id, oldest
first): a Dataset, or raw tables of that form. ``--backbone`` is a model folder, or a size that is
made here with random weights; these nearly tie, which no tuned model does, so that a search must
read on far longer: take a tuned one for what a shop will see.

Rivals in the same run, on a few requests each: transformers' ``generate`` as a beam search along
the same tree (``prefix_allowed_tokens_fn``), and every title scored by our engine, which says how
many of the ten best the searches found.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from instructrec.backbones import SHAPES, Backbone, create, train_tokenizer
from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction, Preference, TaskForm
from instructrec.ranking.catalogue_tree import CatalogueTree, catalogue_tree
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig

K = 10
SEARCHES: dict[str, dict[str, Any]] = {
    "beam 20": {"beam": 20},
    "beam 5": {"beam": 5},
    "beam 50": {"beam": 50},
    "beam 20, one answer": {"beam": 20, "k": 1},
    "beam 20, 5 % allowed": {"beam": 20, "share": 0.05},
    "beam 20, without patience": {"beam": 20, "patience": 0},
}
TOGETHER = 16


def read_data(folder: Path, history: int, count: int) -> tuple[Catalogue, list[Instruction]]:
    """The catalogue and requests of users, each the last titles of one of them."""
    items = pl.read_parquet(folder / "items.parquet").sort("item_id")
    catalogue = Catalogue(items.filter(pl.col("title").str.len_chars() > 0))
    titles = dict(zip(catalogue.item_ids, catalogue.titles, strict=True))
    users = (
        pl.read_parquet(folder / "interactions.parquet")
        .group_by("user_id", maintain_order=True)
        .agg("item_id")
        .filter(pl.col("item_id").list.len() > history)["item_id"]
    )
    chosen = np.random.default_rng(0).choice(len(users), min(count, len(users)), replace=False)
    asked = []
    for place in chosen.tolist():
        names = [titles[item] for item in users[place].to_list() if item in titles]
        liked = Preference(history=tuple(names[-history - 1 : -1]))
        asked.append(Instruction(liked, task=TaskForm.MATCHING))
    return catalogue, asked


def make_ranker(backbone: str, catalogue: Catalogue, rule: str | None) -> Ranker:
    """A model folder's ranker, or one of random weights, by the rule ``sum``."""
    if backbone not in SHAPES:
        found = Ranker.load(backbone, catalogue)
        scoring = found.scoring.model_copy(update={"rule": rule or found.scoring.rule})
        return Ranker(found.backbone, catalogue, scoring=scoring)
    tokenizer = train_tokenizer([f" {title}" for title in catalogue.titles], vocab_size=8192)
    return Ranker(create(backbone, tokenizer), catalogue, scoring=ScoringConfig(rule=rule or "sum"))


def milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call takes, and what it gives."""
    start = time.perf_counter()
    found = work()
    return 1e3 * (time.perf_counter() - start), found


def summary(times: list[float]) -> dict[str, float]:
    """What is told of times in milliseconds."""
    return {
        "p50": round(float(np.median(times)), 1),
        "p95": round(float(np.percentile(times, 95)), 1),
        "mean": round(float(np.mean(times)), 1),
        "requests": len(times),
    }


def search(
    ranker: Ranker, asked: list[Instruction], beam: int, k: int = K, share: float = 1.0, **how: Any
) -> dict[str, Any]:
    """One request at a time, text to rows."""
    rng = np.random.default_rng(1)
    items = len(ranker.catalogue)
    masks = [None if share == 1.0 else rng.random(items) < share for _ in asked]
    times, found = [], []
    for one, mask in [(asked[0], masks[0]), *zip(asked, masks, strict=True)]:
        taken, (answer,) = milliseconds(
            lambda one=one, mask=mask: ranker.search.find_many(
                [ranker.question(one)], k, [mask], beam, **how
            )
        )
        times.append(taken)
        found.append(answer)
    return {
        **summary(times[1:]),
        "forwards": round(float(np.mean([one.forwards for one in found])), 1),
        "tokens_read": round(float(np.mean([one.reads for one in found])), 1),
        "exact": round(float(np.mean([one.is_exact for one in found])), 3),
        "rows": [one.rows.tolist() for one in found[1:]],
    }


def together(ranker: Ranker, asked: list[Instruction]) -> dict[str, Any]:
    """Many requests at once."""
    times = []
    for start in range(0, len(asked), TOGETHER):
        part = asked[start : start + TOGETHER]
        taken, _ = milliseconds(lambda part=part: ranker.find_many(part, K))
        times += [taken / len(part)] * len(part)
    return summary(times)


Choices = dict[tuple[int, ...], list[int]]


def choices_of(paths: list[tuple[int, ...]]) -> Choices:
    """Which tokens may follow each beginning of a title."""
    found: dict[tuple[int, ...], set[int]] = {}
    for path in paths:
        for place, token in enumerate(path):
            found.setdefault(path[:place], set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in found.items()}


def generate(ranker: Ranker, asked: list[Instruction], beam: int) -> dict[str, Any]:
    """transformers' own beam search along the same titles."""
    backbone, tree = ranker.backbone, ranker.search.tree
    paths = [tuple(tree.path(leaf)) for leaf in range(tree.leaves)]
    leaf_of = {path: leaf for leaf, path in enumerate(paths)}
    choices, end = choices_of(paths), paths[0][-1]
    times, rows = [], []
    for one in [asked[0], *asked]:
        (prompt,) = backbone.prompt_ids([ranker.question(one)])
        taken, lines = milliseconds(partial(_generate, backbone, prompt, choices, end, beam))
        times.append(taken)
        leaves = [leaf_of[ids] for line in lines if (ids := _until(line, end)) in leaf_of]
        rows.append(tree.rows_of(np.array(leaves, dtype=np.int64))[0].tolist())
    return {**summary(times[1:]), "rows": rows[1:]}


def _generate(
    backbone: Backbone, prompt: list[int], choices: Choices, end: int, beam: int
) -> list[list[int]]:
    before = 1 if backbone.family == "seq2seq" else len(prompt)
    with torch.inference_mode():
        out = backbone.model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            num_beams=beam,
            num_return_sequences=K,
            max_new_tokens=max(map(len, choices)) + 1,
            do_sample=False,
            length_penalty=0.0,
            eos_token_id=end,
            pad_token_id=end,
            prefix_allowed_tokens_fn=lambda _, ids: choices.get(
                tuple(ids[before:].tolist()), [end]
            ),
        )
    lines: list[list[int]] = out[:, before:].tolist()
    return lines


def _until(ids: list[int], end: int) -> tuple[int, ...]:
    return tuple(ids[: ids.index(end) + 1]) if end in ids else tuple(ids)


def exhaust(ranker: Ranker, asked: list[Instruction]) -> dict[str, Any]:
    """Every title scored by the engine."""
    names = sorted(set(ranker.titles))
    rows_of: dict[str, list[int]] = {}
    for row, title in enumerate(ranker.titles):
        rows_of.setdefault(title, []).append(row)
    times, rows = [], []
    for one in asked:
        taken, (scores,) = milliseconds(
            lambda one=one: ranker.likelihood.score_texts([ranker.question(one)], [names])
        )
        times.append(taken)
        best = np.argsort(-scores.astype(np.float32), kind="stable")[:K]
        rows.append([row for at in best for row in rows_of[names[at]]][:K])
    return {**summary(times), "rows": rows}


def recall(found: list[list[int]], best: list[list[int]]) -> float:
    """Share of the best items that were found, mean over the requests that both have."""
    pairs = list(zip(found, best, strict=False))
    return round(float(np.mean([len(set(f) & set(b)) / len(b) for f, b in pairs])), 3)


def measure_tree(titles: list[str], ranker: Ranker) -> dict[str, float]:
    """Making, saving and reading the tree."""
    backbone = ranker.backbone
    encode: Any = backbone.codec.responses  # type: ignore[attr-defined]
    backbone.codec._known.clear()  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tree.safetensors"
        made, tree = milliseconds(lambda: CatalogueTree.build(titles, encode))
        saved, _ = milliseconds(lambda: catalogue_tree(titles, backbone.tokenizer, encode, path))
        read, _ = milliseconds(lambda: catalogue_tree(titles, backbone.tokenizer, encode, path))
        size = path.stat().st_size
    return {
        "items": len(titles),
        "titles": tree.leaves,
        "nodes": len(tree),
        "make_seconds": round(made / 1e3, 2),
        "make_and_save_seconds": round(saved / 1e3, 2),
        "read_seconds": round(read / 1e3, 3),
        "mebibytes": round(size / 2**20, 1),
    }


def made_up_titles(count: int) -> list[str]:
    """Titles of made-up words, some of them far more frequent than others, as in a shop."""
    rng = np.random.default_rng(0)
    sounds = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(rng.choice(sounds, n)).capitalize() for n in rng.integers(2, 5, 30_000)]
    chance = 1.0 / (np.arange(len(words)) + 20.0)
    sizes = rng.integers(3, 9, count)
    drawn = rng.choice(len(words), int(sizes.sum()), p=chance / chance.sum()).tolist()
    ends = np.cumsum(sizes).tolist()
    return [
        " ".join(words[at] for at in drawn[end - size : end])
        for end, size in zip(ends, sizes.tolist(), strict=True)
    ]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All that is printed."""
    if options.titles:
        titles = made_up_titles(options.titles)
        catalogue, asked = Catalogue(pl.DataFrame({"item_id": ["0"], "title": [titles[0]]})), []
        tokenizer = train_tokenizer([f" {title}" for title in titles[:20_000]], vocab_size=8192)
        ranker = Ranker(create("tiny-causal", tokenizer), catalogue)
        told: dict[str, Any] = {"tree": measure_tree(titles, ranker)}
    else:
        catalogue, asked = read_data(Path(options.data), options.history, options.requests)
        ranker = make_ranker(options.backbone, catalogue, options.rule)
        told = {"tree": measure_tree(ranker.titles, ranker)}
        told["searches"] = {name: search(ranker, asked, **how) for name, how in SEARCHES.items()}
        told["searches"][f"beam 20, {TOGETHER} together"] = together(ranker, asked)
        told["rivals"] = {}
        if options.rival:
            found = generate(ranker, asked[: options.rival], 20)
            told["rivals"]["transformers generate, 20 beams"] = found
        if options.every:
            told["rivals"]["every title scored"] = exhaust(ranker, asked[: options.every])
        _compare(told)
        told["rule"] = ranker.scoring.rule
    told["backbone"] = Path(options.backbone).name
    told["threads"] = torch.get_num_threads()
    told["peak_mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return told


def _compare(told: dict[str, Any]) -> None:
    """Put beside each search which share of the ten best it found."""
    best = told["rivals"].get("every title scored", {}).pop("rows", [])
    for name, one in (told["searches"] | told["rivals"]).items():
        rows = one.pop("rows", None)
        if rows and best and "allowed" not in name and "one answer" not in name:
            one["recall_of_best_10"] = recall(rows, best)


def show(told: dict[str, Any]) -> None:
    """The table."""
    rule, threads = told.get("rule", "none"), told["threads"]
    memory = told["peak_mebibytes"]
    print(f"{told['backbone']}, rule {rule}, {threads} threads, peak {memory} MiB")
    print("tree: " + ", ".join(f"{name} {value}" for name, value in told["tree"].items()))
    columns = ("p50", "p95", "mean", "requests", "forwards", "tokens_read", "exact")
    columns = (*columns, "recall_of_best_10")
    print(f"{'ms a request':34}" + "".join(f"{name:>18}" for name in columns))
    for name, one in (told.get("searches", {}) | told.get("rivals", {})).items():
        print(f"{name:34}" + "".join(f"{one.get(column, ''):>18}" for column in columns))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--data", help="a folder with items.parquet and interactions.parquet")
    parser.add_argument("--backbone", default="mini-causal", help="a size or a model folder")
    parser.add_argument("--rule", help="instead of the model's own: sum, mean, pmi, constrained")
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--history", type=int, default=10, help="titles of a request's history")
    parser.add_argument("--rival", type=int, default=5, help="requests for generate")
    parser.add_argument("--every", type=int, default=3, help="requests that score every title")
    parser.add_argument("--threads", type=int, help="threads that torch computes with")
    parser.add_argument("--titles", type=int, help="measure the tree of so many made-up titles")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.data and not options.titles:
        sys.exit("name a folder by --data, or a number of made-up titles by --titles")
    if options.threads:
        torch.set_num_threads(options.threads)
    told = measure(options)
    if options.json:
        print(json.dumps(told))
    else:
        show(told)


if __name__ == "__main__":
    main()
