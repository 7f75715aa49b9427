"""How fast candidates are ranked, beside every other way to do it, in the same run.

    python benchmarks/ranking.py [--data DATA/amazon-games] [--tokenizer FOLDER] [--json]

A model of Flan-T5-small's size with random weights (or ``--backbone``) scores 20 and 100 titles
after an instruction of 300 tokens. The yardstick is plain transformers, one candidate and one
forward pass at a time. The roofline is our time over what the needed multiply-adds would take at
the rate that this machine multiplies matrices. With a GPU, run unchanged: bfloat16 and 64 requests
at once are what it is good at.

DATA holds items.parquet (title); titles are made up without it. Rivals that are not installed
(``pip install 'instructrec[rivals,onnx]'``) or not for this model are left out by name.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import ranking_rivals as rivals
import torch
from rich.console import Console
from rich.table import Table
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

from instructrec.backbones import Backbone, create, load, train_tokenizer
from instructrec.backbones.candidate_tree import CandidateTree
from instructrec.backbones.causal import CausalBackbone
from instructrec.backbones.seq2seq import Seq2SeqBackbone
from instructrec.backbones.shapes import SHAPES

SHARED = Path(__file__).resolve().parents[2] / "shared"
VOCABULARY = 32_128
CONCURRENT = 64


def flan_t5_small(tokenizer: Any) -> Backbone:
    """Random weights in the shape of google/flan-t5-small, which has a head of its own."""
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=512,
        d_kv=64,
        d_ff=1024,
        num_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = T5ForConditionalGeneration(config).eval()
    model.config.scale_decoder_outputs = False
    head = torch.empty_like(model.shared.weight).normal_(std=0.05)
    model.get_output_embeddings().weight = torch.nn.Parameter(head)
    return Seq2SeqBackbone(model, tokenizer, "flan-t5-small (random)")


def llama_like(tokenizer: Any) -> Backbone:
    """A causal model of like size: 55M parameters, random weights."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=12,
        num_attention_heads=8,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
    )
    return CausalBackbone(LlamaForCausalLM(config).eval(), tokenizer, "llama-like (random)")


@dataclass
class World:
    """What is ranked: prompts of equal length and lists of candidates."""

    backbone: Backbone
    titles: list[str]
    prompt_tokens: int
    rng: np.random.Generator

    def prompt(self, backbone: Backbone) -> list[int]:
        """A history, cut to ``prompt_tokens``."""
        text = "A user's interactions so far, oldest first:\n"
        lines = [f"{n}. {title}" for n, title in enumerate(self.rng.choice(self.titles, 150), 1)]
        ids = backbone.prompt_ids([text + "\n".join(lines)], 10 * self.prompt_tokens)[0]
        return ids[: self.prompt_tokens - 8] + ids[-8:]

    def candidates(self, backbone: Backbone, count: int) -> list[list[int]]:
        """``count`` titles as token ids."""
        chosen = self.rng.choice(len(self.titles), count, replace=count > len(self.titles))
        return backbone.candidate_ids([self.titles[number] for number in chosen])


def seconds_of(work: Callable[[], Any], seconds: float) -> float:
    """Median of repeated calls within about ``seconds``, three at least, after one to warm up;
    where one takes over thirty seconds, a single further one."""
    taken: list[float] = []
    fewest = 3
    while len(taken) <= fewest or sum(taken[1:]) < seconds:
        start = time.perf_counter()
        work()
        _synchronize()
        taken.append(time.perf_counter() - start)
        fewest = 1 if taken[0] > 30 else 3
    return float(np.median(taken[1:]))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gemm_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Multiply-adds a second of large matrix products."""
    left, right = (torch.randn(1024, 1024, dtype=dtype, device=device) for _ in range(2))
    return 1024**3 / seconds_of(lambda: left @ right, 1.0)


def needed(backbone: Backbone, prompt: list[int], candidates: list[list[int]]) -> float:
    """Multiply-adds that the exact answer needs: the prompt and each inner node of the candidate
    tree once, keys and values of the prompt once, the whole vocabulary for each place."""
    config = backbone.model.config
    inner = config.num_heads * config.d_kv
    dense = (3 if config.is_gated_act else 2) * config.d_model * config.d_ff
    length, layers = len(prompt), config.num_decoder_layers
    encoder = config.num_layers * length * (4 * config.d_model * inner + dense + 2 * length * inner)
    keys_and_values = layers * 2 * config.d_model * inner * length
    tree = CandidateTree.build(candidates)
    places = int(tree.inner.sum()) + 1
    decoder = layers * (6 * config.d_model * inner + dense + 2 * length * inner)
    along = layers * 2 * inner * int((tree.depths[tree.inner] + 2).sum())
    head = config.d_model * config.vocab_size
    return float(encoder + keys_and_values + places * (decoder + head) + along)


def ours(backbone: Backbone) -> rivals.Score:
    """Our engine, one request at a time."""
    return lambda prompt, candidates: backbone.token_log_likelihoods([prompt], [candidates])[0].sums


def in_bfloat16(backbone: Backbone) -> Backbone:
    """The same weights in bfloat16."""
    kind = type(backbone)
    model = copy.deepcopy(backbone.model).to(torch.bfloat16)
    return kind(model, backbone.tokenizer, backbone.name)


def in_int8(backbone: Backbone, folder: Path) -> Backbone:
    """The same model exported to int8 for ONNX Runtime."""
    from instructrec.backbones.onnx import export_onnx

    return load(export_onnx(backbone, folder / "int8", int8=True))


def contestants(backbone: Backbone, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names, and what makes the scorer of each (with the backbone whose ids it takes)."""
    yield "float32", lambda: (backbone, ours(backbone))
    yield "bfloat16", lambda: (backbone, ours(in_bfloat16(backbone)))
    yield "int8", lambda: (backbone, ours(in_int8(backbone, folder)))
    yield "transformers, repeated", lambda: (backbone, rivals.repeated(backbone))
    if backbone.family == "seq2seq":
        yield "transformers, expanded", lambda: (backbone, rivals.expanded(backbone))
        yield "ctranslate2 float32", lambda: (backbone, rivals.ctranslate2(backbone))
        yield "ctranslate2 int8", lambda: (backbone, rivals.ctranslate2(backbone, "int8"))
        causal = llama_like(backbone.tokenizer)
        causal.model.to(backbone.model.device)
        yield "causal, shared", lambda: (causal, ours(causal))
        yield "causal, repeated", lambda: (causal, rivals.repeated(causal))
    yield "cross-encoder", lambda: (backbone, rivals.cross_encoder(backbone))


def measure(world: World, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Seconds of every contestant at every length of list, and what follows from them."""
    backbone, counts = world.backbone, options.candidates
    prompt = world.prompt(backbone)
    lists = {count: world.candidates(backbone, count) for count in counts}
    yardstick = rivals.one_by_one(backbone)
    plain = {n: seconds_of(partial(yardstick, prompt, lists[n]), 0.0) for n in counts}
    truth = {n: yardstick(prompt, lists[n]) for n in counts}
    taken: dict[str, dict[str, float]] = {"plain": {str(n): plain[n] for n in counts}}
    worst: dict[str, float] = {}
    left_out: dict[str, str] = {}
    peak: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in contestants(backbone, Path(folder)):
            if options.only and name not in options.only:
                continue
            console.print(f"[dim]{name} …[/dim]")
            try:
                reader, score = make()
            except ImportError as error:
                left_out[name] = f"not installed ({error})"
                continue
            inputs = {n: (prompt, lists[n]) for n in counts}
            if reader is not backbone:
                rng = np.random.default_rng(options.seed)
                other = World(reader, world.titles, world.prompt_tokens, rng)
                inputs = {n: (other.prompt(reader), other.candidates(reader, n)) for n in counts}
            else:
                worst[name] = max(np.abs(score(*inputs[n]) - truth[n]).max() for n in counts)
            taken[name] = {
                str(n): seconds_of(partial(score, *inputs[n]), options.seconds) for n in counts
            }
            peak[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": taken,
        "speedup": {
            name: {str(n): plain[n] / found[str(n)] for n in counts}
            for name, found in taken.items()
        },
        "worst_difference": {name: float(value) for name, value in worst.items()},
        "left_out": left_out,
        "peak_mib": peak,
        **_machine(world, prompt, lists, taken, options),
    }


def _machine(
    world: World,
    prompt: list[int],
    lists: dict[int, list[list[int]]],
    taken: dict[str, dict[str, float]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The roofline, requests a second together, and what they were measured on."""
    backbone, device = world.backbone, world.backbone.model.device
    rate = gemm_rate(torch.float32, device)
    found: dict[str, Any] = {}
    if backbone.family == "seq2seq":
        macs = {n: needed(backbone, prompt, ids) for n, ids in lists.items()}
        found["multiply_adds"] = {str(n): value for n, value in macs.items()}
        found["roofline"] = {
            "float32": {
                str(n): taken["float32"][str(n)] * rate / value for n, value in macs.items()
            }
        }
    prompts = [world.prompt(backbone) for _ in range(options.concurrent)]
    many = [world.candidates(backbone, min(lists)) for _ in prompts]
    model = in_bfloat16(backbone) if device.type == "cuda" else backbone
    together = seconds_of(lambda: model.token_log_likelihoods(prompts, many), options.seconds)
    return {
        **found,
        "requests_per_second_together": {
            "requests": len(prompts),
            "candidates": min(lists),
            "dtype": str(model.model.dtype).removeprefix("torch."),
            "rate": len(prompts) / together,
        },
        "gemm_multiply_adds_per_second": rate,
        "backbone": backbone.name,
        "parameters": sum(p.numel() for p in backbone.model.parameters()),
        "prompt_tokens": len(prompt),
        "candidate_tokens": float(np.mean([len(ids) for ids in lists[max(lists)]])),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "titles": "real" if options.data else "made up",
    }


def show(found: dict[str, Any], console: Console) -> None:
    """The table."""
    counts = list(found["seconds"]["plain"])
    table = Table(
        title=f"{found['backbone']}, {found['parameters'] / 1e6:.1f}M parameters, prompt of "
        f"{found['prompt_tokens']} tokens, {found['titles']} titles, {found['device']}, "
        f"{found['threads']} threads"
    )
    table.add_column("scored by")
    for count in counts:
        table.add_column(f"{count} candidates, ms", justify="right")
        table.add_column("times as fast", justify="right")
    table.add_column("worst difference", justify="right")
    for name, taken in found["seconds"].items():
        cells = []
        for count in counts:
            cells += [f"{1000 * taken[count]:.0f}", f"{found['speedup'][name][count]:.1f}"]
        worst = found["worst_difference"].get(name)
        table.add_row(name, *cells, "" if worst is None else f"{worst:.1e}")
    console.print(table)
    for name, reason in found["left_out"].items():
        console.print(f"left out: {name}: {reason}")
    for count, value in found.get("roofline", {}).get("float32", {}).items():
        console.print(f"roofline, float32, {count} candidates: {value:.2f}")
    together = found["requests_per_second_together"]
    console.print(
        f"{together['requests']} requests of {together['candidates']} candidates together "
        f"({together['dtype']}): {together['rate']:.1f} requests/s"
    )
    console.print(f"peak memory after each, MiB: {json.dumps(found['peak_mib'])}")


def read_titles(data: Path | None, rng: np.random.Generator) -> list[str]:
    """Real titles, or made-up ones of a shop's length and word frequencies."""
    if data is not None:
        return pl.read_parquet(data / "items.parquet")["title"].to_list()
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(rng.choice(syllables, n)).title() for n in rng.integers(2, 4, 4000)]
    chance = 1.0 / (np.arange(len(words)) + 20.0)
    sizes = rng.integers(3, 13, 17_000)
    drawn = rng.choice(words, int(sizes.sum()), p=chance / chance.sum())
    return [" ".join(part) for part in np.split(drawn, np.cumsum(sizes)[:-1])]


def make_backbone(options: argparse.Namespace, titles: list[str]) -> Backbone:
    """The backbone to measure, on the device there is."""
    if options.backbone is not None and options.backbone not in SHAPES:
        backbone = load(options.backbone)
    else:
        if options.tokenizer is not None and options.backbone is None:
            tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
        else:
            size = 8192 if options.backbone else VOCABULARY
            tokenizer = train_tokenizer([f" {title}" for title in titles], size)
        if options.backbone is None:
            backbone = flan_t5_small(tokenizer)
        else:
            backbone = create(options.backbone, tokenizer, options.seed)
    backbone.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return backbone


def main() -> None:
    """Print a table, or one JSON object with ``--json``."""
    shared = SHARED if SHARED.is_dir() else None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=shared and shared / "data" / "amazon-games")
    parser.add_argument(
        "--tokenizer", type=Path, default=shared and shared / "models" / "t5-tokenizer"
    )
    parser.add_argument("--backbone", help=f"instead: {', '.join(SHAPES)}, a folder, a hub name")
    parser.add_argument("--candidates", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--prompt-tokens", type=int, default=300)
    parser.add_argument("--concurrent", type=int, default=CONCURRENT)
    parser.add_argument("--only", nargs="+", help="names of contestants")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rng = np.random.default_rng(options.seed)
    titles = read_titles(options.data, rng)
    world = World(make_backbone(options, titles), titles, options.prompt_tokens, rng)
    found = measure(world, options, Console(stderr=True))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found, Console())


if __name__ == "__main__":
    main()
