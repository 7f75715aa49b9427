"""An index over very many vectors: inverted lists of 8-bit codes, filters inside (faiss)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructrec.errors import FolderError, ModelError
from instructrec.protocols import SILENT, Progress, Rows
from instructrec.retrieval._allowed import is_in
from instructrec.retrieval.encoder import Vectors

ANN_FROM = 1_000_000
"""Catalogues of more items than this get an index where faiss is installed."""
PROBES = 32
"""Lists that are looked through for a request, of `lists_for` many."""
_WIDER = 4
_SAMPLE = 64
"""Vectors a list on which the lists' centres are found."""
_BLOCK = 2**16
MISSING = (
    "faiss is not installed: every item is compared, which is exact and slower",
    "pip install 'instructrec[ann]'",
)


def is_available() -> bool:
    """Whether faiss is installed."""
    return find_spec("faiss") is not None


def lists_for(items: int) -> int:
    """How many lists so many items are spread over: twice the square root."""
    return max(int(2 * math.sqrt(items)), 1)


class VectorIndex:
    """Names items whose vectors may have the greatest dot product with a request's.

    The vectors are spread over lists by the nearest of as many centres (k-means on a sample); a
    request looks through the lists whose centres are nearest to it, at codes of 8 bits a
    dimension. The file is memory-mapped when it is loaded.

    Source: Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search (2011), §4;
    faiss, IndexIVFScalarQuantizer.

    Args:
        index: A faiss index.
        rows: (vectors,) catalogue row of each indexed vector, -1 where the item is gone or its
            vector is another by now; none where vector n is row n.
        fresh: Catalogue rows that are not in the index.
    """

    def __init__(self, index: Any, rows: Rows | None = None, fresh: Rows | None = None) -> None:
        self.index = index
        self.rows = rows
        self.fresh = np.zeros(0, dtype=np.int64) if fresh is None else fresh

    @property
    def about(self) -> dict[str, Any]:
        """What it is, for people to read."""
        return {"kind": "inverted lists of 8-bit codes", "lists": int(self.index.nlist)}

    @classmethod
    def fit(cls, vectors: Vectors, *, seed: int = 0, progress: Progress = SILENT) -> VectorIndex:
        """Index vectors; the same vectors and seed give the same index.

        Args:
            vectors: (items, dimensions) float32.
            seed: Seeds the sample and the first centres.
            progress: Told how far it is.

        Raises:
            ModelError: faiss is not installed.
        """
        faiss = _faiss()
        items, dimensions = vectors.shape
        lists = lists_for(items)
        centres = faiss.IndexFlatIP(dimensions)
        index = faiss.IndexIVFScalarQuantizer(
            centres,
            dimensions,
            lists,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
        )
        index.cp.seed = seed + 1
        rng = np.random.default_rng(seed)
        drawn = np.sort(rng.choice(items, min(_SAMPLE * lists, items), replace=False))
        progress.note(f"finding the centres of {lists:,} lists among {len(drawn):,} vectors")
        index.train(np.ascontiguousarray(vectors[drawn]))
        starts = range(0, items, _BLOCK)
        for start in progress.track(starts, "indexing vectors"):
            index.add(np.ascontiguousarray(vectors[start : start + _BLOCK]))
        return cls(index)

    def save(self, path: Path) -> None:
        """Write the index."""
        part = path.with_name(path.name + ".part")
        _faiss().write_index(self.index, str(part))
        part.replace(path)

    @classmethod
    def load(
        cls, path: Path, size: int, rows: Rows | None = None, fresh: Rows | None = None
    ) -> VectorIndex:
        """Map what `save` wrote.

        Args:
            path: The file.
            size: How many vectors it must hold.
            rows: See the class.
            fresh: See the class.

        Raises:
            ModelError: faiss is not installed.
            FolderError: The file cannot be read or holds other vectors.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            raise FolderError(f"{path} is damaged", "Fit the retrievers again") from error
        if index.ntotal != size:
            raise FolderError(
                f"{path} holds {index.ntotal} vectors, not {size}", "Fit the retrievers again"
            )
        return cls(index, rows, fresh)

    def widening(self, allowed: Rows | None) -> Iterator[int]:
        """How many lists to look through, at first and then, up to all.

        The fewer items are allowed the more lists, so that about as many of them are seen.

        Args:
            allowed: Catalogue rows that may be named; none for all.
        """
        share = 1.0 if allowed is None else len(allowed) / max(self.index.ntotal, 1)
        probes = min(math.ceil(PROBES / max(share, 1e-9)), self.index.nlist)
        yield probes
        while probes < self.index.nlist:
            probes = min(_WIDER * probes, self.index.nlist)
            yield probes

    def named(self, wanted: Vectors, count: int, allowed: Rows | None, probes: int) -> Rows:
        """The items that look nearest.

        Args:
            wanted: (requests, dimensions) float32.
            count: So many each.
            allowed: Catalogue rows that may be named, ascending; none for all.
            probes: Lists to look through.

        Returns:
            (requests, count + fresh) catalogue rows, in no order, -1 where there is none.
        """
        faiss = _faiss()
        mask = self._mask(allowed)
        selector = None
        if mask is not None:
            bits = np.packbits(mask, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(mask), faiss.swig_ptr(bits))
        settings = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        asked = np.ascontiguousarray(wanted, dtype=np.float32)
        _, found = self.index.search(asked, min(count, self.index.ntotal), params=settings)
        rows = found if self.rows is None else np.where(found < 0, -1, self.rows[found])
        fresh = self.fresh
        if allowed is not None:
            fresh = fresh[is_in(fresh, allowed)]
        more = np.broadcast_to(fresh, (len(wanted), len(fresh)))
        return np.concatenate([rows, more], axis=1)

    def _mask(self, allowed: Rows | None) -> NDArray[np.bool_] | None:
        """(vectors,) whether each indexed vector may be named; none where all may."""
        if allowed is None:
            gone = self.rows is not None and bool((self.rows < 0).any())
            return self.rows >= 0 if gone and self.rows is not None else None
        if self.rows is None:
            mask = np.zeros(self.index.ntotal, dtype=np.bool_)
            mask[allowed] = True
            return mask
        return is_in(self.rows, allowed)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ModelError(*MISSING) from None
    return faiss
