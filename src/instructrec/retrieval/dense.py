"""Dense match: cosine of a text encoder's vectors, of words and items or of history and items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from instructrec.data.catalogue import Catalogue
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Filters, Rows, Scores
from instructrec.retrieval._top import gather, products
from instructrec.retrieval._words import is_latin
from instructrec.retrieval.encoder import TextEncoder, Vectors
from instructrec.retrieval.search import VectorSearch
from instructrec.retrieval.vectors import ABOUT, ItemVectors

__all__ = ["ABOUT", "DECAY", "RECENT", "Dense", "ItemVectors", "Similar", "said_in"]

RECENT = 10
"""How many of the latest items of a history are looked at."""
DECAY = 0.8
"""What an item of the history weighs against the one taken after it."""
_CHUNK = 256
_KEPT = 4096
"""Texts whose vectors are kept, because retrieval and ranking ask for the same ones."""


class _ByVector:
    """Scores and retrieves by the cosine of a request's vector and the items'."""

    def __init__(self, name: str, catalogue: Catalogue, items: ItemVectors) -> None:
        self.name = name
        self.catalogue = catalogue
        self.items = items
        self._search = VectorSearch(catalogue, items.vectors, items.index)

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
        if 4 * candidates.shape[1] <= len(self.catalogue):
            return products(self.vectors, wanted, candidates)
        scores = np.empty(candidates.shape, dtype=np.float32)
        for chunk, everything in self._chunks(wanted):
            scores[chunk] = gather(everything, candidates[chunk])
        return scores

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`; nothing where nothing is known."""
        return self._search.top(self.requests(instructions), k, filters)

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
        name: Of the retriever.
    """

    def __init__(
        self, catalogue: Catalogue, items: ItemVectors, encoder: TextEncoder, name: str = "dense"
    ) -> None:
        super().__init__(name, catalogue, items)
        self.encoder = encoder
        self._kept: dict[str, Vectors] = {}

    def requests(self, instructions: Sequence[Instruction]) -> Vectors:
        """(requests, dimensions): what each says, zeros where that is nothing."""
        latin_only = self.encoder.latin_only
        said = [said_in(instruction, latin_only=latin_only) for instruction in instructions]
        kept = dict(self._kept)
        new = [text for text in dict.fromkeys(said) if text and text not in kept]
        if new:
            kept.update(zip(new, self.encoder.encode(new, asked=True), strict=True))
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


def said_in(instruction: Instruction, *, latin_only: bool = True) -> str:
    """What an instruction says of what is wanted, ``""`` where it says nothing that can be read.

    Args:
        instruction: The request.
        latin_only: Whether what is not in Latin script cannot be read.
    """
    wanted = instruction.intention.text or instruction.preference.text
    if not wanted.strip() or (latin_only and not is_latin(wanted)):
        return ""
    context = str(instruction.context)
    return f"{wanted} ({context})" if context else wanted
