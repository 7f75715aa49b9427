"""Texts to vectors: the frozen text encoder behind the dense match."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from instructrec import pretrained
from instructrec.errors import ModelError
from instructrec.protocols import SILENT, Progress

MAX_TOKENS = 256
"""Longer texts are cut; the model was trained on 128 and taken to 256 by its makers."""
BATCH = 64
Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """Turns texts into vectors whose dot product is their likeness.

    Attributes:
        name: Of the model.
        identity: Changes whenever the vectors do.
        dimensions: Length of a vector.
    """

    name: str
    identity: str
    dimensions: int

    def encode(
        self, texts: Sequence[str], progress: Progress = SILENT, title: str = "reading texts"
    ) -> Vectors:
        """One vector a text: (texts, dimensions) float32 of length 1."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2: a BERT of six layers, mean of its last states, length 1.

    The model is read when the first text is.

    Source: the model card of sentence-transformers/all-MiniLM-L6-v2.

    Args:
        folder: Where ``model.safetensors``, ``config.json`` and ``tokenizer.json`` lie.
    """

    name = "minilm"
    identity = pretrained.MODELS["minilm"].files["model.safetensors"]
    dimensions = 384

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        # Its file asks for padding every text to 128 tokens, which would be most of the work.
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        import torch
        from safetensors.torch import load_file
        from transformers import BertConfig, BertModel

        try:
            config = BertConfig.from_json_file(self.folder / "config.json")
            weights = load_file(self.folder / "model.safetensors")
            model = BertModel(config, add_pooling_layer=False)
            # The checkpoint has a pooling layer, which its own card does not use.
            kept = {name: w for name, w in weights.items() if not name.startswith("pooler.")}
            kept.pop("embeddings.position_ids", None)
            model.load_state_dict(kept)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{self.folder} cannot be loaded ({reason})",
                "Run instructrec models pull minilm --again",
            ) from error
        return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    def encode(
        self, texts: Sequence[str], progress: Progress = SILENT, title: str = "reading texts"
    ) -> Vectors:
        """See `TextEncoder.encode`; equal texts are read once, and batches hold equal lengths."""
        unique = list(dict.fromkeys(texts))
        encoded = self._tokenizer.encode_batch(unique)
        lengths = np.array([len(text.ids) for text in encoded], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        vectors = np.zeros((len(unique), self.dimensions), dtype=np.float32)
        for start in progress.track(range(0, len(unique), BATCH), title):
            places = order[start : start + BATCH]
            vectors[places] = self._read([encoded[place].ids for place in places])
        numbers = {text: number for number, text in enumerate(unique)}
        return vectors[[numbers[text] for text in texts]]

    def _read(self, batch: Sequence[Sequence[int]]) -> Vectors:
        import torch

        lengths = torch.tensor([len(ids) for ids in batch])
        ids = torch.zeros((len(batch), int(lengths.max())), dtype=torch.long)
        for line, text in zip(ids, batch, strict=True):
            line[: len(text)] = torch.tensor(text)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        device = self._model.device
        with torch.inference_mode():
            states = self._model(
                input_ids=ids.to(device), attention_mask=mask.to(device)
            ).last_hidden_state.cpu()
            means = (states * mask[:, :, None]).sum(dim=1) / lengths[:, None]
            vectors: Vectors = torch.nn.functional.normalize(means, dim=1).numpy()
        return vectors


@lru_cache(maxsize=2)
def _minilm(folder: Path) -> MiniLM:
    return MiniLM(folder)


def find_encoder() -> TextEncoder | None:
    """The text encoder of this machine, or none where it has not been pulled."""
    folder = pretrained.locate("minilm")
    return None if folder is None else _minilm(folder)
