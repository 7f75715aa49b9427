"""A small world for rankers: a catalogue, instructions and a backbone with few weights."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from instructrec.backbones import SHAPES, Backbone, create, train_tokenizer
from instructrec.backbones.shapes import Shape
from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import (
    Context,
    Instruction,
    Intention,
    IntentionKind,
    Preference,
    TaskForm,
)

NAMES = ("Turbo", "Garden", "Silent", "Harbor", "Café", "Puzzle", "Night", "漢字")
KINDS = ("Kart", "Hose", "Library", "Lights")
TITLES = [f"{name} {kind}" for name in NAMES for kind in KINDS] + ["Turbo Kart", "Turbo  Kart 2"]


def catalogue(titles: list[str] | None = None) -> Catalogue:
    titles = TITLES if titles is None else titles
    ids = [f"i{number:05}" for number in range(len(titles))]
    return Catalogue(pl.DataFrame({"item_id": ids, "title": titles}))


def backbone(name: str, seed: int = 2) -> Backbone:
    tokenizer: Any = train_tokenizer([f" {title}" for title in TITLES] * 3, vocab_size=330)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, name, Shape(width=32, heads=4, layers=2, feed_forward=48))
        return create(name, tokenizer, seed)


LIKED = Preference(history=("Silent Library", "Night Lights", "Turbo Kart"))
WISH = Intention("something for a dark evening", IntentionKind.VAGUE)
EVENING = Context(time="Sunday evening")

INSTRUCTIONS = [
    Instruction(LIKED),
    Instruction(Preference(text="The reader likes quiet places.")),
    Instruction(intention=WISH),
    Instruction(LIKED, WISH, context=EVENING),
    Instruction(LIKED, task=TaskForm.MATCHING),
]
