"""Lexical match: BM25 of an instruction's words against title, brand and categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import sparse

from instructrec.data.catalogue import Catalogue
from instructrec.errors import FolderError
from instructrec.folders import read_json, write_json
from instructrec.hashing import stable_hash
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Filters, Rows, Scores
from instructrec.retrieval._top import gather, top_rows
from instructrec.retrieval._words import words

MATRIX = "lexical.safetensors"
ABOUT = "lexical.json"
K1 = 1.5
B = 0.75
_CHUNK = 256
_PAIRS = 2**18
"""Pairs of request and candidate that are looked at together."""


class Lexical:
    """Scores an item by BM25 of the instruction's words against the item's text.

    The words are those of the intention, the stated preference and the context; those of the
    history's titles too when asked for. A request without a known word scores zero everywhere
    and retrieves nothing.

    Source: Lù 2024, "BM25S" (the ``lucene`` variant of BM25; its sparse scores, our products).

    Args:
        catalogue: The items.
        matrix: (items, words) BM25 weight of each word in each item's text, float32.
        vocabulary: The words, by column.
        with_history: Whether the titles of the history are words of the request.
        name: The name in reports.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        matrix: sparse.csr_matrix,
        vocabulary: Sequence[str],
        *,
        with_history: bool = False,
        name: str = "lexical",
    ) -> None:
        self.name = name
        self.catalogue = catalogue
        self.matrix = matrix
        self.vocabulary = {word: column for column, word in enumerate(vocabulary)}
        self.with_history = with_history
        self._by_word = matrix.T.tocsr()

    @classmethod
    def fit(
        cls, catalogue: Catalogue, *, with_history: bool = False, name: str = "lexical"
    ) -> Lexical:
        """Index the catalogue's texts (`Catalogue.texts`)."""
        texts = [words(text) for text in catalogue.texts]
        vocabulary = sorted({word for text in texts for word in text})
        matrix = _bm25(texts, vocabulary)
        return cls(catalogue, matrix, vocabulary, with_history=with_history, name=name)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        queries = self._queries(instructions)
        width = max(candidates.shape[1], 1)
        scores = np.empty(candidates.shape, dtype=np.float32)
        if 8 * width > len(self.catalogue):
            for chunk, everything in self._chunks(queries):
                scores[chunk] = gather(everything, candidates[chunk])
            return scores
        step = max(_PAIRS // width, 1)
        for start in range(0, len(candidates), step):
            rows = candidates[start : start + step]
            lines = np.repeat(np.arange(start, start + len(rows)), width)
            items = self.matrix[np.maximum(rows, 0).reshape(-1)]
            found = np.asarray(queries[lines].multiply(items).sum(axis=1), dtype=np.float32)
            scores[start : start + step] = found.reshape(rows.shape)
        return np.where(candidates < 0, np.float32("-inf"), scores)

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`; only items that share a word."""
        best = np.full((len(instructions), k), -1, dtype=np.int64)
        for chunk, everything in self._chunks(self._queries(instructions)):
            allowed = None if filters is None else filters[chunk]
            rows = top_rows(everything, k, self.catalogue, allowed)
            best[chunk] = np.where(gather(everything, rows) > 0, rows, -1)
        return best

    def _chunks(self, queries: sparse.csr_matrix) -> Iterator[tuple[slice, Scores]]:
        """(requests, items) scores, so many requests at a time that memory stays small."""
        for start in range(0, queries.shape[0], _CHUNK):
            chunk = slice(start, min(start + _CHUNK, queries.shape[0]))
            scores = (queries[chunk] @ self._by_word).toarray()
            yield chunk, np.asarray(scores, dtype=np.float32)

    def _queries(self, instructions: Sequence[Instruction]) -> sparse.csr_matrix:
        """(requests, words): how often each request says each word."""
        counts = [
            Counter(
                column
                for word in words(self._text(instruction))
                if (column := self.vocabulary.get(word)) is not None
            )
            for instruction in instructions
        ]
        starts = np.concatenate([[0], np.cumsum([len(count) for count in counts])])
        columns = np.fromiter((column for count in counts for column in count), dtype=np.int64)
        values = np.fromiter((n for count in counts for n in count.values()), dtype=np.float32)
        shape = (len(instructions), len(self.vocabulary))
        return sparse.csr_matrix((values, columns, starts), shape=shape)

    def _text(self, instruction: Instruction) -> str:
        said = [instruction.intention.text, instruction.preference.text, str(instruction.context)]
        if self.with_history:
            said += instruction.preference.history
        return "\n".join(said)

    def save(self, folder: Path) -> None:
        """Write the weights to ``lexical.safetensors`` and the words to ``lexical.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "data": self.matrix.data.astype(np.float32),
            "indices": self.matrix.indices.astype(np.int32),
            "indptr": self.matrix.indptr.astype(np.int64),
        }
        save_file(arrays, folder / MATRIX)
        about = {
            "texts": stable_hash(*self.catalogue.item_ids, *self.catalogue.texts),
            "with_history": self.with_history,
            "words": list(self.vocabulary),
        }
        write_json(folder / ABOUT, about)

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> Lexical:
        """Read what `save` wrote; a catalogue that has changed since is indexed anew.

        Raises:
            FolderError: A file is missing.
        """
        for name in (MATRIX, ABOUT):
            if not (folder / name).is_file():
                raise FolderError(f"{folder / name} is missing", "Fit the retrievers again")
        about = read_json(folder / ABOUT)
        with_history = bool(about["with_history"])
        if about["texts"] != stable_hash(*catalogue.item_ids, *catalogue.texts):
            return cls.fit(catalogue, with_history=with_history)
        arrays = load_file(folder / MATRIX)
        matrix = sparse.csr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]),
            shape=(len(catalogue), len(about["words"])),
        )
        return cls(catalogue, matrix, about["words"], with_history=with_history)


def _bm25(texts: Sequence[Sequence[str]], vocabulary: Sequence[str]) -> sparse.csr_matrix:
    """(texts, words) BM25 weights."""
    columns = {word: column for column, word in enumerate(vocabulary)}
    shape = (len(texts), len(vocabulary))
    if not vocabulary:
        return sparse.csr_matrix(shape, dtype=np.float32)
    import bm25s

    index = bm25s.BM25(method="lucene", k1=K1, b=B)
    ids = [[columns[word] for word in text] for text in texts]
    index.index((ids, columns), create_empty_token=False, show_progress=False)
    found = index.scores
    by_word = (found["data"], found["indices"], found["indptr"])
    matrix = sparse.csc_matrix(by_word, shape=shape, dtype=np.float32).tocsr()
    matrix.sort_indices()
    return matrix
