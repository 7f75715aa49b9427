"""How many instructions a second are ranked, beside plain transformers in the same run.

    python benchmarks/ranking_speed.py [--backbone tiny-causal] [--candidates 10] [--json]

Rivals: ``plain`` (one candidate, one forward pass of the whole prompt) and ``batched`` (a prompt's
candidates as one padded batch, the prompt repeated for each), both straight transformers, both on
as many instructions as time allows. All three give the same sums; the worst difference is printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from instructrec.backbones import SHAPES, Backbone, create, load, train_tokenizer
from instructrec.instructions.templating import Rendered

SYLLABLES = [
    a + b
    for a in ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "ch", "tr")
    for b in "aeiou"
]


def make_titles(rng: np.random.Generator, count: int) -> list[str]:
    """Titles of made-up words, some of them far more frequent than others, as in a shop."""
    lengths = rng.integers(2, 4, size=4000)
    words = ["".join(rng.choice(SYLLABLES, n)).capitalize() for n in lengths]
    chance = 1.0 / (np.arange(len(words)) + 20.0)
    sizes = rng.integers(3, 11, size=count)
    drawn = rng.choice(len(words), size=int(sizes.sum()), p=chance / chance.sum())
    parts = np.split(drawn, np.cumsum(sizes)[:-1])
    return [" ".join(words[word] for word in part) for part in parts]


def render(titles: Sequence[str]) -> Rendered:
    """A history as the templates have it."""
    text, spans = "A user's interactions so far, oldest first:\n", []
    for number, title in enumerate(titles, 1):
        text += f"{number}. "
        spans.append((len(text), len(text) + len(title)))
        text += title + "\n"
    return Rendered(text + "Predict the next item in this sequence.", tuple(spans))


def plain(backbone: Backbone, prompt: list[int], candidates: list[list[int]]) -> np.ndarray:
    """One candidate, one forward pass."""
    return np.array([_batch(backbone, prompt, [ids])[0] for ids in candidates])


def batched(backbone: Backbone, prompt: list[int], candidates: list[list[int]]) -> np.ndarray:
    """All candidates of a prompt in one padded batch, the prompt repeated."""
    return _batch(backbone, prompt, candidates)


def _batch(backbone: Backbone, prompt: list[int], candidates: list[list[int]]) -> np.ndarray:
    width = max(map(len, candidates))
    device = backbone.model.device
    labels = torch.tensor([ids + [-100] * (width - len(ids)) for ids in candidates], device=device)
    prompts = torch.tensor([prompt] * len(candidates), device=device)
    if backbone.family == "seq2seq":
        logits = backbone.model(input_ids=prompts, labels=labels).logits
    else:
        ids = torch.cat([prompts, labels.clamp(min=0)], dim=1)
        logits = backbone.model(input_ids=ids).logits[:, len(prompt) - 1 : -1]
    steps = logits.float().log_softmax(-1).gather(2, labels.clamp(min=0)[..., None])[..., 0]
    return (steps * (labels >= 0)).sum(1).double().cpu().numpy()


def timed(work: Callable[[], Any], seconds: float) -> tuple[float, int]:
    """Median seconds of repeated calls within about ``seconds``, after one to warm up."""
    work()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 3:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)), len(taken)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Rates of ours and of the rivals on the same instructions."""
    rng = np.random.default_rng(args.seed)
    titles = make_titles(rng, 20_000)
    if args.backbone in SHAPES:
        texts = [render(titles[n : n + 5]).text for n in range(0, 2000, 5)]
        tokenizer = train_tokenizer([*texts, *(f" {title}" for title in titles)])
        backbone = create(args.backbone, tokenizer, args.seed)
    else:
        backbone = load(args.backbone, args.dtype)
    backbone.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    rendered = [render(list(rng.choice(titles, args.history))) for _ in range(args.instructions)]
    prompts = backbone.prompt_ids(rendered)
    lists = [backbone.candidate_ids(list(rng.choice(titles, args.candidates))) for _ in prompts]
    ours, _ = timed(lambda: backbone.token_log_likelihoods(prompts, lists), args.seconds)
    rates = {"ours": len(prompts) / ours}
    few = range(min(args.few, len(prompts)))
    with torch.inference_mode():
        for name, rival in (("plain", plain), ("batched", batched)):
            one_pass = lambda rival=rival: [rival(backbone, prompts[n], lists[n]) for n in few]  # noqa: E731
            rates[name] = len(few) / timed(one_pass, args.seconds)[0]
        found = backbone.token_log_likelihoods(prompts, lists)
        worst = max(
            np.abs(plain(backbone, prompts[n], lists[n]) - found[n].sums).max() for n in few
        )
    return {
        "backbone": args.backbone,
        "device": str(backbone.model.device),
        "threads": torch.get_num_threads(),
        "candidates": args.candidates,
        "prompt_tokens": float(np.mean([len(ids) for ids in prompts])),
        "candidate_tokens": float(np.mean([len(ids) for one in lists for ids in one])),
        "vocabulary": len(backbone.tokenizer),
        "instructions_per_second": rates,
        "speedup": {name: rates["ours"] / rates[name] for name in ("plain", "batched")},
        "worst_difference": float(worst),
    }


def main() -> None:
    """Print a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backbone", default="tiny-causal", help="a name, folder or hub name")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--history", type=int, default=16, help="titles in the instruction")
    parser.add_argument("--instructions", type=int, default=64)
    parser.add_argument("--few", type=int, default=4, help="instructions the rivals rank")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each contestant")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = measure(args)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['backbone']} on {found['device']}, {found['candidates']} candidates of "
        f"{found['candidate_tokens']:.1f} tokens, prompts of {found['prompt_tokens']:.0f} tokens"
    )
    for name, rate in found["instructions_per_second"].items():
        ratio = f"{found['speedup'][name]:6.1f} × slower" if name != "ours" else ""
        print(f"{name:>8}  {rate:8.1f} instructions/s  {ratio}")
    print(f"worst difference of a sum: {found['worst_difference']:.1e}")


if __name__ == "__main__":
    main()
