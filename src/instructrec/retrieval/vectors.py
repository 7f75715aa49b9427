"""The items' texts as vectors: made, kept on disk, and taken over for what has not changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from instructrec.data.catalogue import Catalogue
from instructrec.errors import FolderError
from instructrec.folders import read_json, write_json
from instructrec.hashing import stable_hash
from instructrec.protocols import SILENT, Progress, Rows
from instructrec.retrieval import ann
from instructrec.retrieval.ann import ANN_FROM, VectorIndex
from instructrec.retrieval.encoder import TextEncoder, Vectors

VECTORS = "vectors.safetensors"
ITEMS = "items.parquet"
ABOUT = "dense.json"
INDEX = "vectors.ivf"
_MAPPED_FROM = 2**28
"""Files of more bytes than this are mapped, not read, where an index looks at little of them."""


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """The items' texts as vectors.

    Attributes:
        vectors: (items, dimensions) float32 of length 1, rows by catalogue; zeros where unknown.
        encoder: The name of the encoder that read them.
        identity: Of that encoder.
        index: Over them, where there are very many.
    """

    vectors: Vectors
    encoder: str
    identity: str
    index: VectorIndex | None = None

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
        if known is None:
            vectors = np.zeros((len(catalogue), encoder.dimensions), dtype=np.float32)
            there = np.zeros(len(catalogue), dtype=np.bool_)
        else:
            vectors, there = known.vectors, known.there
        missing = np.flatnonzero(~there)
        if len(missing):
            texts = [catalogue.texts[row] for row in missing]
            vectors[missing] = encoder.encode(texts, progress, "reading items")
        return cls(vectors, encoder.name, encoder.identity)

    def save(
        self,
        folder: Path,
        catalogue: Catalogue,
        *,
        ann_from: int = ANN_FROM,
        progress: Progress = SILENT,
    ) -> None:
        """Write vectors, which item and text each is of, who read them, and perhaps an index.

        Args:
            folder: Where to write.
            catalogue: The items.
            ann_from: Catalogues of more items get an index, where faiss is installed.
            progress: Told how far it is.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # The vectors may be mapped from the very file that is written.
        part = folder / f"{VECTORS}.part"
        save_file({"vectors": np.ascontiguousarray(self.vectors)}, part)
        part.replace(folder / VECTORS)
        texts = [stable_hash(text) for text in catalogue.texts]
        frame = pl.DataFrame({"item_id": catalogue.item_ids, "text": texts})
        frame.write_parquet(folder / ITEMS, compression="zstd")
        about: dict[str, Any] = {"encoder": self.encoder, "identity": self.identity}
        (folder / INDEX).unlink(missing_ok=True)
        if len(catalogue) > ann_from:
            if ann.is_available():
                index = VectorIndex.fit(self.vectors, progress=progress)
                index.save(folder / INDEX)
                about["index"] = index.about
            else:
                progress.note(". ".join(ann.MISSING))
        write_json(folder / ABOUT, about)

    @classmethod
    def load(
        cls,
        folder: Path,
        catalogue: Catalogue,
        encoder: TextEncoder | None = None,
        progress: Progress = SILENT,
    ) -> ItemVectors:
        """Read what `save` wrote.

        An item that is new in the catalogue, or whose text has changed, is read by ``encoder``;
        without one its vector is zero. The vectors of another encoder are made anew.

        Args:
            folder: Where `save` wrote.
            catalogue: The items.
            encoder: Reads what is new.
            progress: Told how far it is, and where an index cannot be used.

        Raises:
            FolderError: A file is missing or damaged.
        """
        about = read_about(folder)
        identity = about["identity"] if encoder is None else encoder.identity
        known = _known(folder, catalogue, identity)
        if known is None:
            assert encoder is not None
            return cls.fit(catalogue, encoder, progress)
        missing = np.flatnonzero(~known.there)
        if encoder is not None and len(missing):
            texts = [catalogue.texts[row] for row in missing]
            known.vectors[missing] = encoder.encode(texts, progress, "reading new items")
        index = _index(folder, known, missing, progress) if "index" in about else None
        return cls(known.vectors, about["encoder"], identity, index)


@dataclass(frozen=True, eq=False)
class _Known:
    """What a folder has of a catalogue.

    Attributes:
        vectors: (items, dimensions) by catalogue row, zeros where the folder has none.
        there: (items,) whether it has one.
        rows: (saved,) catalogue row of each saved vector, -1 where the item is gone or has
            another text; none where saved vector n is row n.
        saved: How many vectors the folder holds.
    """

    vectors: Vectors
    there: NDArray[np.bool_]
    rows: Rows | None
    saved: int


def read_about(folder: Path) -> dict[str, Any]:
    """What a folder says of its vectors: who read them, and of an index.

    Raises:
        FolderError: A file is missing.
    """
    for name in (ABOUT, VECTORS, ITEMS):
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing", "Fit the retrievers again")
    about: dict[str, Any] = read_json(folder / ABOUT)
    return about


def _known(folder: Path, catalogue: Catalogue, identity: str) -> _Known | None:
    """Vectors by catalogue row as far as the folder has them; none if another encoder's."""
    if read_about(folder)["identity"] != identity:
        return None
    is_indexed = ann.is_available() and (folder / INDEX).is_file()
    saved = _open(folder / VECTORS, mapped=is_indexed)
    frame = pl.read_parquet(folder / ITEMS)
    if len(saved) != frame.height:
        raise _damaged(folder)
    now = np.array([stable_hash(text) for text in catalogue.texts], dtype=np.int64)
    then = frame["text"].to_numpy().astype(np.int64)
    item_ids = frame["item_id"].to_list()
    if np.array_equal(now, then) and item_ids == catalogue.item_ids:
        return _Known(saved, np.ones(len(now), dtype=np.bool_), None, len(saved))
    rows = catalogue.rows(item_ids)
    rows[(rows < 0) | (now[np.maximum(rows, 0)] != then)] = -1
    same = np.flatnonzero(rows >= 0)
    vectors = np.zeros((len(catalogue), saved.shape[1]), dtype=np.float32)
    vectors[rows[same]] = saved[same]
    there = np.zeros(len(catalogue), dtype=np.bool_)
    there[rows[same]] = True
    return _Known(vectors, there, rows, len(saved))


def _index(folder: Path, known: _Known, fresh: Rows, progress: Progress) -> VectorIndex | None:
    """The index over a folder's vectors, none where it cannot be used."""
    if not ann.is_available():
        progress.note(". ".join(ann.MISSING))
        return None
    if not (folder / INDEX).is_file():
        raise FolderError(f"{folder / INDEX} is missing", "Fit the retrievers again")
    return VectorIndex.load(folder / INDEX, known.saved, known.rows, fresh)


def _open(path: Path, *, mapped: bool) -> Vectors:
    """The one matrix of a safetensors file.

    Args:
        path: The file.
        mapped: Whether it is mapped if it is large; exact search, which looks at all of it each
            time, should have it in memory.

    Raises:
        FolderError: The file is damaged.
    """
    try:
        if not mapped or path.stat().st_size < _MAPPED_FROM:
            read: Vectors = load_file(path)["vectors"]
            return read
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            told = json.loads(file.read(length))["vectors"]
        if told["dtype"] != "F32":
            raise ValueError(f"{told['dtype']} instead of F32")
        start = 8 + length + told["data_offsets"][0]
        found: Vectors = np.memmap(path, np.float32, "r", start, tuple(told["shape"]))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _damaged(path) from error
    return found


def _damaged(path: Path) -> FolderError:
    return FolderError(f"{path} is damaged", "Fit the retrievers again")
