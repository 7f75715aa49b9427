"""Catalogue to candidates: fit, save and load the retrievers of a run."""

from __future__ import annotations

from pathlib import Path

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.folders import read_manifest
from instructrec.protocols import SILENT, Progress, Retriever

KIND = "retrievers"
"""The kind of folder, with one sub-folder a retriever."""
NAMES = ("popularity", "neighbours", "lexical", "shared", "dense", "similar")
"""What `load_retrievers` may give; the last two need a text encoder's vectors."""


def fit_retrievers(
    catalogue: Catalogue,
    sequences: Sequences,
    folder: Path,
    *,
    progress: Progress = SILENT,
    reuse: Path | None = None,
) -> tuple[str, ...]:
    """Fit all retrievers and write each to its sub-folder.

    Without minilm on this machine, or with titles that are not in Latin script, there is no
    dense match; a note says so and lexical match takes over.

    Args:
        catalogue: The items.
        sequences: What may be learnt from: training rows, or all rows for use.
        folder: Where to write; the draft of a folder of kind `KIND`.
        progress: Told how far it is.
        reuse: Another such folder, whose item vectors are taken over where the texts are equal.

    Returns:
        The sub-folders written.
    """
    from instructrec.retrieval.lexical import Lexical
    from instructrec.retrieval.neighbours import ItemNeighbours
    from instructrec.retrieval.popularity import Popularity

    Popularity.fit(sequences, catalogue).save(folder / "popularity")
    ItemNeighbours.fit(sequences, catalogue).save(folder / "neighbours")
    Lexical.fit(catalogue).save(folder / "lexical")
    written = ("popularity", "neighbours", "lexical")
    return (*written, "dense") if _fit_dense(catalogue, folder, progress, reuse) else written


def _fit_dense(catalogue: Catalogue, folder: Path, progress: Progress, reuse: Path | None) -> bool:
    from instructrec.retrieval._words import is_latin
    from instructrec.retrieval.dense import ABOUT, ItemVectors
    from instructrec.retrieval.encoder import find_encoder

    encoder = find_encoder()
    if encoder is None:
        progress.note(
            "minilm is not on this machine: words are matched as they are written "
            "(instructrec models pull minilm)"
        )
        return False
    if not is_latin(" ".join(catalogue.titles)):
        progress.note("most titles are not in Latin script: words are matched as they are written")
        return False
    known = reuse / "dense" if reuse and (reuse / "dense" / ABOUT).is_file() else None
    vectors = ItemVectors.fit(catalogue, encoder, progress, known)
    vectors.save(folder / "dense", catalogue)
    return True


def load_retrievers(
    folder: Path, catalogue: Catalogue, *, progress: Progress = SILENT
) -> dict[str, Retriever]:
    """Load the retrievers of a folder, by name.

    Where items have vectors but minilm is not on this machine, ``similar`` is there and ``dense``,
    which must read what people say, is not; a note says so.

    Raises:
        FolderError: The folder is absent, incomplete, of another kind, or a file is missing.
    """
    from instructrec.retrieval.lexical import Lexical
    from instructrec.retrieval.neighbours import ItemNeighbours
    from instructrec.retrieval.popularity import Popularity
    from instructrec.retrieval.said import Said
    from instructrec.retrieval.shared import SharedWords

    read_manifest(folder, KIND)
    found: dict[str, Retriever] = {}
    if (folder / "popularity").is_dir():
        found["popularity"] = Popularity.load(folder / "popularity", catalogue)
    if (folder / "neighbours").is_dir():
        found["neighbours"] = ItemNeighbours.load(folder / "neighbours", catalogue)
    if (folder / "lexical").is_dir():
        lexical = Lexical.load(folder / "lexical", catalogue)
        found |= {"lexical": Said(lexical), "shared": SharedWords(lexical)}
    if (folder / "dense").is_dir():
        found |= _load_dense(folder / "dense", catalogue, progress)
    return found


def _load_dense(folder: Path, catalogue: Catalogue, progress: Progress) -> dict[str, Retriever]:
    from instructrec.retrieval.dense import Dense, ItemVectors, Similar
    from instructrec.retrieval.encoder import find_encoder

    encoder = find_encoder()
    items = ItemVectors.load(folder, catalogue, encoder)
    similar = Similar(catalogue, items)
    if encoder is None:
        progress.note(
            "minilm is not on this machine: words are matched as they are written "
            "(instructrec models pull minilm)"
        )
        return {"similar": similar}
    return {"dense": Dense(catalogue, items, encoder), "similar": similar}
