"""Dense match: cosine of a text encoder's vectors, of words and items or of history and items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from instructrec.data.catalogue import Catalogue
from instructrec.errors import FolderError
from instructrec.folders import read_json, write_json
from instructrec.hashing import stable_hash
from instructrec.instructions.schema import Instruction
from instructrec.protocols import SILENT, Filters, Progress, Rows, Scores
from instructrec.retrieval._top import gather, top_rows
from instructrec.retrieval._words import is_latin
from instructrec.retrieval.encoder import TextEncoder, Vectors

VECTORS = "vectors.safetensors"
ITEMS = "items.parquet"
ABOUT = "dense.json"
RECENT = 10
"""How many of the latest items of a history are looked at."""
DECAY = 0.8
"""What an item of the history weighs against the one taken after it."""
_CHUNK = 256
_FLOATS = 2**24
"""Floats of candidates' vectors that are held at once."""
_KEPT = 4096
"""Texts whose vectors are kept, because retrieval and ranking ask for the same ones."""


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """The items' texts as vectors.

    Attributes:
        vectors: (items, dimensions) float32 of length 1, rows by catalogue; zeros where unknown.
        encoder: The name of the encoder that read them.
        identity: Of that encoder.
    """

    vectors: Vectors
    encoder: str
    identity: str

    @classmethod
    def fit(
        cls,
        catalogue: Catalogue,
        encoder: TextEncoder,
        progress: Progress = SILENT,
        reuse: Path | None = None,
    ) -> ItemVectors:
        """Read the catalogue's texts (`Catalogue.texts`).

        Args:
            catalogue: The items.
            encoder: Reads them.
            progress: Told how far it is.
            reuse: A folder that `save` wrote: what stands there of the same texts is taken over.
        """
        known = _known(reuse, catalogue, encoder.identity) if reuse else None
        vectors = np.zeros((len(catalogue), encoder.dimensions), dtype=np.float32)
        there = np.zeros(len(catalogue), dtype=np.bool_)
        if known is not None:
            vectors, there = known
        missing = np.flatnonzero(~there)
        if len(missing):
            texts = [catalogue.texts[row] for row in missing]
            vectors[missing] = encoder.encode(texts, progress, "reading items")
        return cls(vectors, encoder.name, encoder.identity)

    def save(self, folder: Path, catalogue: Catalogue) -> None:
        """Write vectors, which item and text each is of, and who read them."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": np.ascontiguousarray(self.vectors)}, folder / VECTORS)
        texts = [stable_hash(text) for text in catalogue.texts]
        frame = pl.DataFrame({"item_id": catalogue.item_ids, "text": texts})
        frame.write_parquet(folder / ITEMS, compression="zstd")
        about = {"encoder": self.encoder, "identity": self.identity}
        write_json(folder / ABOUT, about)

    @classmethod
    def load(
        cls, folder: Path, catalogue: Catalogue, encoder: TextEncoder | None = None
    ) -> ItemVectors:
        """Read what `save` wrote.

        An item that is new in the catalogue, or whose text has changed, is read by ``encoder``;
        without one its vector is zero. The vectors of another encoder are made anew.

        Raises:
            FolderError: A file is missing.
        """
        about = _about(folder)
        if encoder is not None:
            return cls.fit(catalogue, encoder, reuse=folder)
        vectors, _ = _known(folder, catalogue, about["identity"]) or (None, None)
        if vectors is None:
            raise FolderError(f"{folder} is damaged", "Fit the retrievers again")
        return cls(vectors, about["encoder"], about["identity"])


def _about(folder: Path) -> dict[str, str]:
    for name in (ABOUT, VECTORS, ITEMS):
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing", "Fit the retrievers again")
    about: dict[str, str] = read_json(folder / ABOUT)
    return about


def _known(
    folder: Path, catalogue: Catalogue, identity: str
) -> tuple[Vectors, np.ndarray[tuple[int], np.dtype[np.bool_]]] | None:
    """Vectors by catalogue row as far as the folder has them, and which it has."""
    if _about(folder)["identity"] != identity:
        return None
    saved = load_file(folder / VECTORS)["vectors"]
    frame = pl.read_parquet(folder / ITEMS)
    rows = catalogue.rows(frame["item_id"].to_list())
    now = np.array([stable_hash(text) for text in catalogue.texts], dtype=np.int64)
    then = frame["text"].to_numpy().astype(np.int64)
    same = np.flatnonzero((rows >= 0) & (now[np.maximum(rows, 0)] == then))
    vectors = np.zeros((len(catalogue), saved.shape[1]), dtype=np.float32)
    vectors[rows[same]] = saved[same]
    there = np.zeros(len(catalogue), dtype=np.bool_)
    there[rows[same]] = True
    return vectors, there


class _ByVector:
    """Scores and retrieves by the cosine of a request's vector and the items'."""

    def __init__(self, name: str, catalogue: Catalogue, items: ItemVectors) -> None:
        self.name = name
        self.catalogue = catalogue
        self.items = items

    @property
    def vectors(self) -> Vectors:
        """(items, dimensions) of length 1, rows by catalogue."""
        return self.items.vectors

    def requests(self, instructions: Sequence[Instruction]) -> Vectors:
        """(requests, dimensions): the vector of each, zeros where there is nothing to go by."""
        raise NotImplementedError

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; cosines, from -1 to 1."""
        wanted = self.requests(instructions)
        count, width = candidates.shape
        scores = np.empty(candidates.shape, dtype=np.float32)
        if 4 * width > len(self.catalogue):
            for chunk, everything in self._chunks(wanted):
                scores[chunk] = gather(everything, candidates[chunk])
            return scores
        step = max(_FLOATS // max(width * self.vectors.shape[1], 1), 1)
        for start in range(0, count, step):
            rows = candidates[start : start + step]
            items = self.vectors[np.maximum(rows, 0)]
            cosines = np.matmul(items, wanted[start : start + step, :, None])[:, :, 0]
            scores[start : start + step] = np.where(rows < 0, np.float32("-inf"), cosines)
        return scores

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`; nothing where nothing is known."""
        wanted = self.requests(instructions)
        best = np.full((len(instructions), k), -1, dtype=np.int64)
        for chunk, everything in self._chunks(wanted):
            allowed = None if filters is None else filters[chunk]
            rows = top_rows(everything, k, self.catalogue, allowed)
            best[chunk] = np.where(np.any(wanted[chunk], axis=1, keepdims=True), rows, -1)
        return best

    def _chunks(self, wanted: Vectors) -> Iterator[tuple[slice, Scores]]:
        """(requests, items) cosines, so many requests at a time that memory stays small."""
        for start in range(0, len(wanted), _CHUNK):
            chunk = slice(start, min(start + _CHUNK, len(wanted)))
            yield chunk, np.asarray(wanted[chunk] @ self.vectors.T, dtype=np.float32)


class Dense(_ByVector):
    """Scores an item by the likeness of what is said and the item's text.

    What is said is the intention, else the stated preference, with the context. A request that
    says nothing, or says it in a script that the encoder does not know, scores zero everywhere.

    Source: docs/fusion.md; docs/paper.md §7, wishes on digital-music.

    Args:
        catalogue: The items.
        items: Their vectors.
        encoder: Reads what is said; the one that read the items.
    """

    def __init__(self, catalogue: Catalogue, items: ItemVectors, encoder: TextEncoder) -> None:
        super().__init__("dense", catalogue, items)
        self.encoder = encoder
        self._kept: dict[str, Vectors] = {}

    def requests(self, instructions: Sequence[Instruction]) -> Vectors:
        """(requests, dimensions): what each says, zeros where that is nothing."""
        said = [said_in(instruction) for instruction in instructions]
        kept = dict(self._kept)
        new = [text for text in dict.fromkeys(said) if text and text not in kept]
        if new:
            kept.update(zip(new, self.encoder.encode(new), strict=True))
        self._kept = kept if len(kept) <= _KEPT else {}
        nothing = np.zeros(self.vectors.shape[1], dtype=np.float32)
        found = [kept.get(text, nothing) for text in said]
        return np.array(found, dtype=np.float32).reshape(len(said), self.vectors.shape[1])


class Similar(_ByVector):
    """Scores an item by its likeness to the latest items of the history.

    The request's vector is the sum of the last 10 items' vectors, each weighing .8 of the one
    taken after it, brought to length 1. A request without history scores zero everywhere.

    Source: docs/paper.md §7 (Video Games, titles alone: HR@1 .4087 of 10, nothing trained).

    Args:
        catalogue: The items.
        items: Their vectors.
    """

    def __init__(self, catalogue: Catalogue, items: ItemVectors) -> None:
        super().__init__("similar", catalogue, items)

    def requests(self, instructions: Sequence[Instruction]) -> Vectors:
        """(requests, dimensions): where each history points, zeros where there is none."""
        histories = [one.preference.history_ids[-RECENT:] for one in instructions]
        rows = self.catalogue.padded_rows([tuple(reversed(ids)) for ids in histories])
        weights = (DECAY ** np.arange(rows.shape[1])) * (rows >= 0)
        items = self.vectors[np.maximum(rows, 0)]
        sums = np.einsum("nh,nhd->nd", weights.astype(np.float32), items)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.maximum(lengths, 1e-9), dtype=np.float32)


def said_in(instruction: Instruction) -> str:
    """What an instruction says of what is wanted; ``""`` where it says nothing we can read."""
    wanted = instruction.intention.text or instruction.preference.text
    if not wanted.strip() or not is_latin(wanted):
        return ""
    context = str(instruction.context)
    return f"{wanted} ({context})" if context else wanted
