"""A run that is made in a second: every part is there, the language model has learnt nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from instructrec.backbones import SHAPES, create, train_tokenizer
from instructrec.backbones.shapes import Shape
from instructrec.data.dataset import Dataset
from instructrec.data.market import make_market
from instructrec.folders import new_folder, write_json
from instructrec.ranking.fusion import Piece, fusion_content
from instructrec.retrieval.making import make_retrievers

KINDS = ("popularity", "neighbours", "lexical")


def make_small_run(run: Path) -> Path:
    """Write dataset, model, retrievers and weights where `Recommender.load` looks for them."""
    make_market(run / "dataset", users=120, items=100, seed=1)
    dataset = Dataset(run / "dataset")
    titles = dataset.catalogue.titles
    tokenizer: Any = train_tokenizer([f" {title}" for title in titles] * 3, vocab_size=400)
    with pytest.MonkeyPatch.context() as patch:
        small = Shape(width=32, heads=4, layers=2, feed_forward=48)
        patch.setitem(SHAPES, "tiny-causal", small)
        backbone = create("tiny-causal", tokenizer, 2)
    with new_folder(run / "model", "model", command="test") as draft:
        backbone.save(draft.path)
    make_retrievers(dataset, run / "retrievers-serving", protocol=None, kinds=KINDS)
    others = {"lexical": Piece(2.0, 0.2), "neighbours": Piece(0.5, 1.0)}
    others["popularity"] = Piece(0.2, 1.0)
    every = {"lm": Piece(0.1, 3.0), **others}
    weights = {known: every for known in ("P,I0", "P0,I", "P,I")}
    without = {known: others for known in weights}
    write_json(run / "fusion.json", fusion_content(weights, without, {}))
    return run
