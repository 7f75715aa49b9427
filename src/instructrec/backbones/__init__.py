"""Language models behind one small protocol."""

from instructrec.backbones.base import (
    MAX_TOKENS,
    Backbone,
    Batch,
    EncodedExample,
    Likelihoods,
    LossParts,
)
from instructrec.backbones.loading import load
from instructrec.backbones.shapes import SHAPES, create
from instructrec.backbones.vocabulary import VOCABULARY_SIZE, train_tokenizer

__all__ = [
    "MAX_TOKENS",
    "SHAPES",
    "VOCABULARY_SIZE",
    "Backbone",
    "Batch",
    "EncodedExample",
    "Likelihoods",
    "LossParts",
    "create",
    "load",
    "train_tokenizer",
]
