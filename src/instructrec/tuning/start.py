"""What tuning starts from: a backbone made from nothing or loaded, and how to get it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch

from instructrec.backbones import SHAPES, Backbone, create, load, train_tokenizer
from instructrec.backbones.loading import check
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import FolderError, ModelError
from instructrec.folders import read_manifest
from instructrec.instructions.corpus import Corpus
from instructrec.tuning.config import TuneConfig

TOKENIZER_ROWS = 30_000
"""Training rows a tokenizer is trained on at most, spread evenly; more change little."""


def check_backbone(name: str) -> None:
    """Be sure that there is a backbone of this name, before anything is made for it.

    Raises:
        UsageError: There is no such name or folder.
        ModelError: What is there is no language model that can be tuned.
    """
    if name not in SHAPES:
        check(name)


def start_backbone(
    corpus: Corpus, dataset: Dataset, config: TuneConfig, tokenizer: Path
) -> Backbone:
    """The backbone before its first step, with LoRA adapters where asked for.

    Args:
        corpus: What a new tokenizer is trained on, with the titles that training may know.
        dataset: What the corpus was made from.
        config: See `TuneConfig`.
        tokenizer: Where a new tokenizer is kept, so that a resumed run reads it again.
    """
    if config.backbone not in SHAPES:
        backbone = load(config.backbone)
    else:
        backbone = create(
            config.backbone, _tokenizer(corpus, dataset, config, tokenizer), config.seed
        )
    set_dropout(backbone.model, config.dropout)
    if config.lora is not None:
        add_adapters(backbone.model, config.lora, config.seed)
    return backbone


def origin(config: TuneConfig) -> dict[str, Any]:
    """The manifest's entry by which `untuned` finds the starting weights again."""
    if config.backbone in SHAPES:
        return {"made": config.backbone, "seed": config.seed}
    path = Path(config.backbone)
    return {"loaded": str(path.resolve()) if path.is_dir() else config.backbone}


def untuned(folder: Path) -> Backbone:
    """The backbone of a tuned model as it was before tuning, with the same tokenizer.

    Args:
        folder: A folder of kind ``model``.

    Raises:
        FolderError: It is none, or does not say what it was made from.
        ModelError: The checkpoint it was made from is gone.
    """
    found = read_manifest(folder, "model").get("origin", {})
    if "made" in found:
        return create(str(found["made"]), _read_tokenizer(folder), int(found["seed"]))
    if "loaded" in found:
        return load(str(found["loaded"]))
    raise FolderError(f"{folder} does not say what it was made from", "Tune it again")


def _tokenizer(corpus: Corpus, dataset: Dataset, config: TuneConfig, kept: Path) -> Any:
    if kept.is_dir():
        return _read_tokenizer(kept)
    tokenizer = train_tokenizer(_texts(corpus, dataset), config.vocab_size)
    part = kept.with_name(f"{kept.name}.part")
    tokenizer.save_pretrained(part)
    part.replace(kept)
    return _read_tokenizer(kept)


def _read_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def training_titles(dataset: Dataset, protocol: Protocol) -> list[str]:
    """All titles; under the item split those of training items, since the others are unseen."""
    catalogue = dataset.catalogue
    if protocol is not Protocol.ITEMS:
        return catalogue.titles
    known = dataset.split(protocol).items.filter(pl.col("split") == "train")["item_id"]
    return [catalogue.titles[row] for row in sorted(catalogue.rows(known.to_list()))]


def _texts(corpus: Corpus, dataset: Dataset) -> Iterator[str]:
    """Titles as they are tokenised, and instructions with their responses."""
    yield from (f" {title}" for title in training_titles(dataset, corpus.protocol))
    stride = max(corpus.size("train") // TOKENIZER_ROWS, 1)
    for frame in corpus.stream("train"):
        for instruction, response in (
            frame.select("instruction", "response").gather_every(stride).iter_rows()
        ):
            yield instruction
            yield f" {response}"


def set_dropout(model: torch.nn.Module, rate: float) -> None:
    """Set every dropout of a transformers model."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate
        for name in ("dropout", "attention_dropout"):
            # Attention layers keep theirs as a plain number.
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)


def add_adapters(model: torch.nn.Module, rank: int, seed: int) -> None:
    """Put LoRA adapters on all linear layers but the head; only they are trained."""
    from peft import LoraConfig, inject_adapter_in_model

    head = model.get_output_embeddings()  # type: ignore[operator]
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    if not targets:
        raise ModelError("this backbone has no linear layer for LoRA", "Leave lora out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
        inject_adapter_in_model(settings, model)


def merge_adapters(model: torch.nn.Module) -> None:
    """Add LoRA adapters to the weights below them and take them out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
    ]
    for name, module in found:
        module.merge()
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, module.get_base_layer())
