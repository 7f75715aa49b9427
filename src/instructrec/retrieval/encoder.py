"""Texts to vectors: the text encoder behind the dense match, any of sentence-transformers' kind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from instructrec import pretrained
from instructrec.errors import ModelError, UsageError
from instructrec.folders import sha256
from instructrec.protocols import SILENT, Progress
from instructrec.retrieval._layout import Layout, read_layout

DEFAULT = "minilm"
"""The encoder where none is chosen."""
BATCH = 64
_PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors", "*/*.json", "*/*.safetensors")
"""What is fetched of an encoder on the hub."""
Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """Turns texts into vectors whose dot product is their likeness."""

    @property
    def name(self) -> str:
        """What it was asked for by: a name of `instructrec.pretrained` or the hub, or a folder."""
        ...

    @property
    def identity(self) -> str:
        """Changes whenever the vectors do."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    @property
    def latin_only(self) -> bool:
        """Whether texts in other scripts mean nothing to it."""
        ...

    def encode(
        self,
        texts: Sequence[str],
        progress: Progress = SILENT,
        title: str = "reading texts",
        *,
        asked: bool = False,
    ) -> Vectors:
        """One vector a text: (texts, dimensions) float32 of length 1.

        Args:
            texts: What is to be read.
            progress: Told how far it is.
            title: What to report it under.
            asked: Whether the texts ask (a wish) or are to be found (items): some encoders were
                trained with another prefix for each.
        """
        ...


class SentenceEncoder:
    """A transformer whose token states are pooled into one vector of length 1.

    Reads folders in the layout of sentence-transformers without that package: modules.json,
    pooling, dense layers, prefixes; weights from safetensors only, and no code of the folder's. A
    plain transformers checkpoint is read as one whose states are averaged. The weights are read
    when the first text is.

    Source: Reimers, Gurevych, Sentence-BERT (2019), §3.

    Args:
        folder: Where it lies.
        name: What it was asked for by; the folder when left out.
        latin_only: See `TextEncoder`.

    Raises:
        ModelError: The folder is no encoder, or of a kind not known here.
    """

    def __init__(self, folder: Path, name: str = "", *, latin_only: bool = False) -> None:
        self.folder = folder
        self.name = name or str(folder)
        self.latin_only = latin_only
        self.layout: Layout = read_layout(folder)

    @cached_property
    def identity(self) -> str:
        """The hash of all that decides the vectors; of minilm the hash of its weights."""
        if self.name == DEFAULT:
            return pretrained.MODELS[DEFAULT].files["model.safetensors"]
        layout = self.layout
        digest = hashlib.sha256()
        activations = [layer.activation for layer in layout.projections]
        limits = (layout.max_tokens, layout.lower, layout.query, layout.passage)
        digest.update(repr((layout.pooling, activations, limits)).encode())
        for path in layout.files:
            digest.update(f"{path.name} {sha256(path)}\n".encode())
        return digest.hexdigest()

    @cached_property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.model.dimensions)

    @cached_property
    def tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer` that pads nothing and cuts what is too long."""
        from instructrec.retrieval._sentence import read_tokenizer

        return read_tokenizer(self.layout)

    @cached_property
    def model(self) -> Any:
        """The `instructrec.retrieval._sentence.SentenceModel`, on a GPU where there is one."""
        import torch

        from instructrec.retrieval._sentence import read_model

        cure = "Fetch the encoder anew"
        if self.name == DEFAULT:
            cure = f"Run instructrec models pull {DEFAULT} --again"
        model = read_model(self.layout, self.folder, cure)
        return model.to("cuda" if torch.cuda.is_available() else "cpu")

    def encode(
        self,
        texts: Sequence[str],
        progress: Progress = SILENT,
        title: str = "reading texts",
        *,
        asked: bool = False,
    ) -> Vectors:
        """See `TextEncoder.encode`; equal texts are read once, and batches hold equal lengths."""
        unique = list(dict.fromkeys(texts))
        ids = self.ids(unique, asked=asked)
        lengths = np.array([len(one) for one in ids], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        vectors = np.zeros((len(unique), self.dimensions), dtype=np.float32)
        for start in progress.track(range(0, len(unique), BATCH), title):
            places = order[start : start + BATCH]
            vectors[places] = self.model.read([ids[place] for place in places])
        numbers = {text: number for number, text in enumerate(unique)}
        return vectors[[numbers[text] for text in texts]]

    def ids(self, texts: Sequence[str], *, asked: bool = False) -> list[list[int]]:
        """Token ids of each text, with its prefix, cut where it is too long."""
        prefix = self.layout.query if asked else self.layout.passage
        given = [prefix + text for text in texts]
        if self.layout.lower:
            given = [text.lower() for text in given]
        return [encoded.ids for encoded in self.tokenizer.encode_batch(given)]


@lru_cache(maxsize=4)
def _encoder(folder: Path, name: str) -> SentenceEncoder:
    return SentenceEncoder(folder, name, latin_only=name == DEFAULT)


def find_encoder(name: str | Path | None = None) -> TextEncoder | None:
    """A text encoder of this machine.

    Args:
        name: A name of `instructrec.pretrained`, a folder, or a name of the hub, which is fetched;
            minilm when left out.

    Returns:
        The encoder, or none where minilm has not been pulled.

    Raises:
        UsageError: There is no such encoder.
        ModelError: It cannot be fetched, or is of a kind not known here.
    """
    chosen = str(name or DEFAULT)
    if chosen == DEFAULT:
        found = pretrained.locate(DEFAULT)
        return None if found is None else _encoder(found, DEFAULT)
    if chosen in pretrained.MODELS:
        raise UsageError(f"{chosen} is a language model, not a text encoder", f"Use {DEFAULT}")
    folder = Path(chosen).expanduser()
    if folder.is_dir():
        return _encoder(folder.resolve(), chosen)
    return _encoder(_from_hub(chosen), chosen)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_PATTERNS)))
    except HFValidationError:
        pass
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"the encoder {name} cannot be fetched ({reason})", "Name a folder that holds it"
        ) from error
    raise UsageError(
        f"there is no text encoder {name}", f"Use {DEFAULT}, a folder, or a name of the hub"
    )
