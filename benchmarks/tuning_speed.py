"""How many tokens a second does tuning learn from, beside the loop one would write first?

The rival is the loop of most examples and trainers, on the same model, the same examples and the
same number of tokens an update: examples in random order, padded to the longest of the batch, with
a mask, logits over the vocabulary at every position, plain AdamW. Ours: pieces of one length, no
mask, logits only where something is learnt, fused AdamW. Further rows take one of these away each.
Tokens are those of examples, padding left out; all rows take turns, so that a busy machine slows
all of them. What rendering and tokenising costs is measured apart, as a share of the time.

    python benchmarks/tuning_speed.py --threads 2 --out tuning_speed.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from instructrec.backbones import Backbone, EncodedExample
from instructrec.backbones.common import pad
from instructrec.data.dataset import Dataset
from instructrec.data.market import make_market
from instructrec.instructions.annotations import ANNOTATION_SCHEMA
from instructrec.instructions.builder import CorpusConfig, build_corpus
from instructrec.instructions.corpus import Corpus
from instructrec.tuning import TuneConfig
from instructrec.tuning.loop import Updater
from instructrec.tuning.start import start_backbone
from instructrec.tuning.stream import Step, Stream

IGNORED = -100


def make_corpus(folder: Path) -> tuple[Corpus, Dataset]:
    """A corpus of next choices in a made-up shop."""
    import polars as pl

    dataset = make_market(folder / "dataset", users=1500, items=1000, seed=0)
    config = CorpusConfig(scenarios=("P1,I0,T3",))
    nothing = pl.DataFrame(schema=ANNOTATION_SCHEMA)
    return build_corpus(dataset, None, folder / "corpus", config, annotations=nothing), dataset


class Plain:
    """The loop one would write first."""

    def __init__(self, backbone: Backbone, fused: bool = False) -> None:
        self.backbone = backbone
        self.optimizer = torch.optim.AdamW(backbone.model.parameters(), lr=1e-4, fused=fused)

    def update(self, batch: Sequence[EncodedExample]) -> None:
        """One update on a padded batch; the loss is over responses and titles, as ours is."""
        model = self.backbone.model
        model.train()
        ids, mask = pad([one.prompt + one.response for one in batch], 0)
        labels = torch.full_like(ids, IGNORED)
        for row, one in enumerate(batch):
            for start, end in [(len(one.prompt), len(one)), *one.spans]:
                labels[row, start:end] = ids[row, start:end]
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def batches_of(examples: Sequence[EncodedExample], tokens: int) -> list[list[EncodedExample]]:
    """Examples in the order given, as many a batch as make up ``tokens`` without padding."""
    batches: list[list[EncodedExample]] = [[]]
    room = tokens
    for example in examples:
        if len(example) > room and batches[-1]:
            batches.append([])
            room = tokens
        batches[-1].append(example)
        room -= len(example)
    return batches


def shuffled(steps: Sequence[Step]) -> list[EncodedExample]:
    """The examples of steps in random order."""
    examples = [one for step in steps for piece in step for one in piece]
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))
    return [examples[number] for number in order.tolist()]


def tokens_in(batch: Sequence[EncodedExample]) -> int:
    """Tokens without padding."""
    return sum(map(len, batch))


def in_pieces(update: Callable[[Step, float], object]) -> Callable[[Step], object]:
    """Ours, as the others are called."""
    return lambda step: update(step, 1e-4)


def main() -> None:
    """Make a corpus, measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="with dataset/ beside it; made up if left out")
    parser.add_argument("--backbone", default="tiny-causal")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6, help="updates of every row")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.corpus:
            corpus, dataset = Corpus(args.corpus), Dataset(args.corpus.parent / "dataset")
        else:
            corpus, dataset = make_corpus(folder)
        answer = measure(corpus, dataset, folder, args.backbone, args.rounds)
    answer |= {"threads": args.threads, "backbone": args.backbone, "torch": torch.__version__}
    show(answer)
    if args.out:
        args.out.write_text(json.dumps(answer, indent=2) + "\n")


def measure(
    corpus: Corpus, dataset: Dataset, folder: Path, name: str, rounds: int
) -> dict[str, Any]:
    """All rows, an update of each in turn."""

    def begin(**settings: object) -> tuple[Stream, Updater]:
        config = TuneConfig.model_validate({"backbone": name, **settings})
        backbone = start_backbone(corpus, dataset, config, folder / "tokenizer")
        return Stream(corpus, backbone, config), Updater(backbone, config, 1e-4)

    stream, ours = begin()
    steps = stream.steps(0, 0)
    began, used = time.perf_counter(), time.process_time()
    steps = stream.steps(0, 0)
    rendering = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - used,
        "tokens": sum(tokens_in(piece) for step in steps for piece in step),
    }
    mixed = batches_of(shuffled(steps), stream.config.batch_tokens)
    whole_stream, whole = begin(pieces=1)
    half_stream, half = begin(dtype="bfloat16")
    like = [[sorted_batch] for sorted_batch in mixed]
    rows: dict[str, tuple[Callable[..., object], list[Any]]] = {
        "plain loop": (Plain(begin()[1].backbone).update, mixed),
        "ours": (in_pieces(ours.update), steps),
        "ours, unsorted": (in_pieces(begin()[1].update), like),
        "ours, in one piece": (in_pieces(whole.update), whole_stream.steps(0, 0)),
        "ours, bfloat16": (in_pieces(half.update), half_stream.steps(0, 0)),
    }
    figures = {row: {"tokens": 0, "seconds": 0.0, "cpu_seconds": 0.0} for row in rows}
    for number in range(rounds + 1):
        for row, (update, batches) in rows.items():
            batch = batches[number % len(batches)]
            began, used = time.perf_counter(), time.process_time()
            update(batch)
            if number:  # The first update pays for what later ones find ready.
                figures[row]["seconds"] += time.perf_counter() - began
                figures[row]["cpu_seconds"] += time.process_time() - used
                figures[row]["tokens"] += _tokens(batch)
    return {"rows": figures, "rendering": rendering, "rounds": rounds}


def _tokens(batch: Sequence[Any]) -> int:
    pieces = batch if isinstance(batch[0], list) else [batch]
    return sum(tokens_in(piece) for piece in pieces)


def show(answer: dict[str, Any]) -> None:
    """A table for people."""
    rows: dict[str, dict[str, float]] = answer["rows"]
    print(f"{answer['backbone']}, {answer['threads']} threads, {answer['rounds']} updates each")
    print(f"{'':22}{'tokens/s':>10}{'a CPU second':>14}{'times the plain loop':>22}")
    base = rows["plain loop"]
    for name, row in rows.items():
        rate, cpu = row["tokens"] / row["seconds"], row["tokens"] / row["cpu_seconds"]
        times = cpu / (base["tokens"] / base["cpu_seconds"])
        print(f"{name:22}{rate:10,.0f}{cpu:14,.0f}{times:22.2f}")
    made: dict[str, float] = answer["rendering"]
    ours = rows["ours"]
    share = (made["cpu_seconds"] / made["tokens"]) / (ours["cpu_seconds"] / ours["tokens"])
    print(f"rendering and tokenising: {100 * share:.1f} % of the time of an update")


if __name__ == "__main__":
    main()
