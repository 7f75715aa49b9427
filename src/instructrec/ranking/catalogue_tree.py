"""The prefix tree of a catalogue's titles: built once, saved, mapped into memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructrec.protocols import SILENT, Progress, Rows

Ints32 = NDArray[np.int32]
Ints = NDArray[np.int64]
Encode = Callable[[Sequence[str]], list[list[int]]]

TREE = "cache/catalogue-tree.safetensors"
"""Where a model folder keeps the tree; not part of its manifest, made again when it is absent."""

_FORMAT = "1"
_CHUNK = 10_000
"""Titles that are tokenised at once."""
_PROBES = 32
"""So many titles are tokenised to tell whether a saved tree is of the same tokenizer."""


@dataclass(frozen=True, eq=False)
class CatalogueTree:
    """Distinct token sequences of titles as a tree; nodes, and so leaves, in depth-first order.

    What lies below a node is a range of nodes, and a range of leaves. All arrays are int32.

    Attributes:
        tokens: (nodes,) the token of each.
        parents: (nodes,) the node before each, -1 where that is the root, which is no node.
        depths: (nodes,) 0 for a first token.
        ends: (nodes,) the first node after all that lie below a node.
        children: (nodes,) nodes by parent, the root's first.
        first_child: (nodes + 2,) where in ``children`` those of node - 1 begin.
        leaves_before: (nodes + 1,) how many leaves have smaller numbers than a node.
        leaf_nodes: (leaves,) the last node of each title.
        leaf_of_row: (items,) the leaf of each item's title.
        rows_by_leaf: (items,) rows in order of their leaves, smaller rows first.
        first_row: (leaves + 1,) where in ``rows_by_leaf`` a leaf's rows begin.
    """

    tokens: Ints32
    parents: Ints32
    depths: Ints32
    ends: Ints32
    children: Ints32
    first_child: Ints32
    leaves_before: Ints32
    leaf_nodes: Ints32
    leaf_of_row: Ints32
    rows_by_leaf: Ints32
    first_row: Ints32

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def leaves(self) -> int:
        """How many distinct titles there are."""
        return len(self.leaf_nodes)

    def path(self, leaf: int) -> list[int]:
        """The tokens of a leaf's title."""
        tokens, node = [], int(self.leaf_nodes[leaf])
        while node >= 0:
            tokens.append(int(self.tokens[node]))
            node = int(self.parents[node])
        return tokens[::-1]

    def rows_of(self, leaves: Rows) -> tuple[Rows, Rows]:
        """The rows of items that leaves stand for, and for each its place in ``leaves``."""
        starts = self.first_row[leaves].astype(np.int64)
        counts = self.first_row[leaves + 1] - starts
        places = np.repeat(np.arange(len(leaves)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.rows_by_leaf[starts[places] + within].astype(np.int64), places

    @classmethod
    def build(
        cls, titles: Sequence[str], encode: Encode, progress: Progress = SILENT
    ) -> CatalogueTree:
        """The tree of titles.

        Args:
            titles: By catalogue row; several rows may share one.
            encode: Titles to ids; each must end with a token that stands nowhere else in it.
            progress: Told how far tokenising is.

        Raises:
            ValueError: The ids of one title begin those of another.
        """
        names = list(dict.fromkeys(titles))
        starts = range(0, len(names), _CHUNK)
        ids: list[list[int]] = []
        for start in progress.track(starts, "reading titles", len(starts)):
            ids += encode(names[start : start + _CHUNK])
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
        del ids
        distinct, of_name = _distinct(flat, lengths)
        number = dict(zip(names, of_name.tolist(), strict=True))
        leaf_of_row = np.fromiter((number[title] for title in titles), np.int64, len(titles))
        return cls(*(part.astype(np.int32) for part in _nodes(*distinct) + _rows(leaf_of_row)))


def _distinct(flat: Ints, lengths: Ints) -> tuple[tuple[Ints, Ints], Ints]:
    """Distinct sequences in token order, flat and their lengths, and which one each name has."""
    text = flat.astype(">u4").tobytes()  # bytes of large numbers first sort as the ids do
    stops = 4 * np.cumsum(lengths)
    keys = [text[a:b] for a, b in zip((stops - 4 * lengths).tolist(), stops.tolist(), strict=True)]
    unique = sorted(set(keys))
    number = {key: place for place, key in enumerate(unique)}
    of_name = np.fromiter((number[key] for key in keys), np.int64, len(keys))
    sizes = np.fromiter((len(key) // 4 for key in unique), np.int64, len(unique))
    return (np.frombuffer(b"".join(unique), ">u4").astype(np.int64), sizes), of_name


def _nodes(flat: Ints, lengths: Ints) -> tuple[Ints, ...]:
    """The arrays of nodes of distinct sequences in token order."""
    starts = np.cumsum(lengths) - lengths
    shared = _shared(flat, starts, lengths)
    if (shared[1:] == lengths[:-1]).any():
        raise ValueError("the ids of one title begin those of another")
    at = np.arange(len(flat)) - np.repeat(starts, lengths)
    new = at >= np.repeat(shared, lengths)
    tokens, depths = flat[new], at[new]
    nodes = len(tokens)
    levels = np.split(
        np.argsort(depths, kind="stable"), np.cumsum(np.bincount(depths, minlength=1))[:-1]
    )
    parents = np.full(nodes, -1, dtype=np.int64)
    for above, below in pairwise(levels):
        parents[below] = above[np.searchsorted(above, below) - 1]
    ends = np.arange(1, nodes + 1)
    for below in levels[:0:-1]:
        ends[parents[below]] = ends[below]  # of several children the last one stays
    counts = np.bincount(parents + 1, minlength=nodes + 1)
    leaf_nodes = np.flatnonzero(counts[1:] == 0)
    leaves_before = np.concatenate([[0], np.cumsum(counts[1:] == 0)])
    first_child = np.concatenate([[0], np.cumsum(counts)])
    children = np.argsort(parents, kind="stable")
    return tokens, parents, depths, ends, children, first_child, leaves_before, leaf_nodes


def _shared(flat: Ints, starts: Ints, lengths: Ints) -> Ints:
    """(sequences,) how many first tokens each shares with the one before."""
    shared = np.zeros(len(lengths), dtype=np.int64)
    alike = np.arange(1, len(lengths))
    for depth in range(int(lengths.max(initial=0))):
        alike = alike[(lengths[alike] > depth) & (lengths[alike - 1] > depth)]
        alike = alike[flat[starts[alike] + depth] == flat[starts[alike - 1] + depth]]
        shared[alike] = depth + 1
    return shared


def _rows(leaf_of_row: Ints) -> tuple[Ints, ...]:
    """The arrays that lead from rows to leaves and back."""
    counts = np.bincount(leaf_of_row)
    first_row = np.concatenate([[0], np.cumsum(counts)])
    return leaf_of_row, np.argsort(leaf_of_row, kind="stable"), first_row


def catalogue_tree(
    titles: Sequence[str],
    tokenizer: Any,
    encode: Encode,
    path: Path | None = None,
    progress: Progress = SILENT,
) -> CatalogueTree:
    """The tree of a catalogue: the saved one, else a new one, which is then saved.

    A saved tree of other titles or another tokenizer, or one that is damaged, is replaced. Where
    nothing can be written, the tree lives in memory alone.

    Args:
        titles: By catalogue row.
        tokenizer: Whose identity a saved tree must have.
        encode: Titles to ids.
        path: Where it is, or will be, saved; nowhere when left out.
        progress: See `CatalogueTree.build`.
    """
    if path is None:
        return CatalogueTree.build(titles, encode, progress)
    key = _key(titles, tokenizer, encode)
    found = _load(path, key)
    if found is None:
        found = CatalogueTree.build(titles, encode, progress)
        with contextlib.suppress(OSError):
            _save(path, key, found)
    return found


def _key(titles: Sequence[str], tokenizer: Any, encode: Encode) -> str:
    """What decides a tree: its titles, the tokenizer, and how titles become ids, by example."""
    digest = hashlib.sha256(_FORMAT.encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update("\n".join(titles).encode("utf-8", "surrogatepass"))
    step = max(len(titles) // _PROBES, 1)
    digest.update(repr(encode(titles[::step])).encode())
    return digest.hexdigest()


def _load(path: Path, key: str) -> CatalogueTree | None:
    """A saved tree, its arrays mapped from the file; none where it is not the one wanted."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            made_of, _, checksum = (file.metadata() or {}).get("identity", "").partition(" ")
            if made_of != key:
                return None
            arrays = {one.name: file.get_tensor(one.name).numpy() for one in fields(CatalogueTree)}
    except (OSError, SafetensorError, ValueError):
        return None
    return CatalogueTree(**arrays) if checksum == _crc32(arrays) else None


def _save(path: Path, key: str, tree: CatalogueTree) -> None:
    """Write a tree beside its place and rename it there: readers see the old one or the new."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {one.name: getattr(tree, one.name) for one in fields(tree)}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        # One entry: safetensors writes several in any order.
        save_file(arrays, part, metadata={"identity": f"{key} {_crc32(arrays)}"})
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _crc32(arrays: dict[str, Any]) -> str:
    """A checksum of arrays: a damaged tree must not name wrong titles."""
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(arrays[name].tobytes(), total)
    return f"{total:08x}"
