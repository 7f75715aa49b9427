"""The kinds of retriever: how each is fitted into its sub-folder and loaded from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Targets
from instructrec.errors import DataError, InstructRecError, ModelError, UsageError
from instructrec.folders import read_json
from instructrec.protocols import SILENT, Progress, Retriever
from instructrec.retrieval.ann import ANN_FROM
from instructrec.retrieval.encoder import TextEncoder
from instructrec.retrieval.settings import SequentialConfig, TowerConfig
from instructrec.retrieval.vectors import ABOUT as VECTORS_ABOUT
from instructrec.retrieval.vectors import ItemVectors, read_about

STATE = "state"
"""Sub-folder of the unfinished folder that holds what a training needs to go on."""


class CannotFitError(InstructRecError):
    """A kind of retriever that cannot be made here."""


@dataclass(frozen=True, eq=False)
class Material:
    """What retrievers are fitted on.

    Attributes:
        catalogue: The items.
        sequences: What may be learnt from: training rows, or all rows for use.
        folder: Where to write; the draft of a folder of retrievers.
        validation: Targets on which the best weights are chosen; none to keep the last.
        sequential: Settings of the sequential retriever.
        progress: Told how far it is.
        reuse: Another such folder: its item vectors are taken over where the texts are equal, and
            without ``validation`` the share of the training that served best there.
        corpus: A corpus folder, for kinds that learn from instructions.
        held_out: Users whose validation requests no choice may look at.
        encoder: The text encoder (`instructrec.retrieval.encoder.find_encoder`); minilm if none.
        tower: Settings of the tuned encoder.
        ann_from: Catalogues of more items get an index over their vectors.
    """

    catalogue: Catalogue
    sequences: Sequences
    folder: Path
    validation: Targets | None = None
    sequential: SequentialConfig = field(default_factory=SequentialConfig)
    progress: Progress = SILENT
    reuse: Path | None = None
    corpus: Path | None = None
    held_out: frozenset[str] = frozenset()
    encoder: str | None = None
    tower: TowerConfig = field(default_factory=TowerConfig)
    ann_from: int = ANN_FROM

    @cached_property
    def reader(self) -> TextEncoder:
        """The text encoder.

        Raises:
            CannotFitError: There is none here, or it cannot read the titles.
        """
        from instructrec.retrieval import encoder
        from instructrec.retrieval._words import is_latin

        found = encoder.find_encoder(self.encoder)
        if found is None:
            raise CannotFitError(
                "minilm is not on this machine: words are matched as they are written",
                "Pull it by instructrec models pull minilm",
            )
        if found.latin_only and not is_latin(" ".join(self.catalogue.titles)):
            raise CannotFitError(
                "most titles are not in Latin script: words are matched as they are written",
                "Name an encoder that reads them with --encoder",
            )
        return found

    @cached_property
    def vectors(self) -> ItemVectors:
        """The items' texts as vectors.

        Raises:
            CannotFitError: There is no encoder here, or it cannot read the titles.
        """
        # An unfinished folder that goes on has its own vectors already.
        for folder in (self.folder, self.reuse):
            if folder is not None and (folder / "dense" / VECTORS_ABOUT).is_file():
                known = folder / "dense"
                return ItemVectors.fit(self.catalogue, self.reader, self.progress, known)
        return ItemVectors.fit(self.catalogue, self.reader, self.progress)


def _fit_popularity(material: Material) -> None:
    from instructrec.retrieval.popularity import Popularity

    fitted = Popularity.fit(material.sequences, material.catalogue)
    fitted.save(material.folder / "popularity")


def _fit_neighbours(material: Material) -> None:
    from instructrec.retrieval.neighbours import ItemNeighbours

    fitted = ItemNeighbours.fit(material.sequences, material.catalogue)
    fitted.save(material.folder / "neighbours")


def _fit_lexical(material: Material) -> None:
    from instructrec.retrieval.lexical import Lexical

    Lexical.fit(material.catalogue).save(material.folder / "lexical")


def _fit_dense(material: Material) -> None:
    material.vectors.save(
        material.folder / "dense",
        material.catalogue,
        ann_from=material.ann_from,
        progress=material.progress,
    )


def _fit_sequential(material: Material) -> None:
    from instructrec.retrieval.sequential import ABOUT, Sequential

    if (material.folder / "sequential" / ABOUT).is_file():
        # Its last file: an earlier try, which was stopped later on, has made it.
        return
    if not (material.sequences.lengths > 1).any():
        raise CannotFitError(
            "no training sequence has two items, so there is no order to learn from",
            "Import users with three interactions or more, or leave the sequential model out",
        )
    texts = None
    try:
        texts = material.vectors
    except CannotFitError as reason:
        material.progress.note(f"the sequential model learns from item ids alone: {reason.what}")
    known = material.reuse / "sequential" / ABOUT if material.reuse else None
    share = 1.0
    if material.validation is None and known is not None and known.is_file():
        about = read_json(known)
        share = about["best_step"] / about["plan"]["steps"]
    state = material.folder / STATE / "sequential"
    fitted = Sequential.fit(
        material.sequences,
        material.catalogue,
        texts=texts,
        config=material.sequential,
        validation=material.validation,
        share=share,
        state=state,
        progress=material.progress,
    )
    fitted.save(material.folder / "sequential")
    shutil.rmtree(material.folder / STATE)


def _fit_tower(material: Material) -> None:
    from instructrec.instructions.corpus import Corpus
    from instructrec.retrieval.encoder import SentenceEncoder
    from instructrec.retrieval.tower import ABOUT, copy_tower, fit_tower

    folder = material.folder / "tower"
    if (folder / ABOUT).is_file():
        return
    known = material.reuse / "tower" if material.reuse else folder
    if material.validation is None and (known / ABOUT).is_file():
        copy_tower(
            known,
            folder,
            material.catalogue,
            ann_from=material.ann_from,
            progress=material.progress,
        )
        return
    assert material.corpus is not None
    reader = material.reader
    if not isinstance(reader, SentenceEncoder):
        raise CannotFitError(f"{reader.name} is an encoder that cannot be tuned")
    state = material.folder / STATE / "tower"
    try:
        fit_tower(
            material.catalogue,
            Corpus(material.corpus),
            material.vectors,
            reader,
            folder,
            state,
            config=material.tower,
            held_out=material.held_out,
            ann_from=material.ann_from,
            progress=material.progress,
        )
    except DataError as reason:
        raise CannotFitError(reason.what, reason.cure) from reason
    shutil.rmtree(material.folder / STATE)


FITTERS: Mapping[str, Callable[[Material], None]] = {
    "popularity": _fit_popularity,
    "neighbours": _fit_neighbours,
    "lexical": _fit_lexical,
    "dense": _fit_dense,
    "sequential": _fit_sequential,
    "tower": _fit_tower,
}
"""By kind, in the order in which they are fitted: each writes the sub-folder of its name."""

Found = dict[str, Retriever]
"""What a folder gives, by name."""


def _load_popularity(folder: Path, catalogue: Catalogue, found: Found, progress: Progress) -> Found:
    from instructrec.retrieval.popularity import Popularity

    return {"popularity": Popularity.load(folder, catalogue)}


def _load_neighbours(folder: Path, catalogue: Catalogue, found: Found, progress: Progress) -> Found:
    from instructrec.retrieval.neighbours import ItemNeighbours

    return {"neighbours": ItemNeighbours.load(folder, catalogue)}


def _load_lexical(folder: Path, catalogue: Catalogue, found: Found, progress: Progress) -> Found:
    from instructrec.retrieval.lexical import Lexical
    from instructrec.retrieval.said import Said
    from instructrec.retrieval.shared import SharedWords

    lexical = Lexical.load(folder, catalogue)
    return {"lexical": Said(lexical), "shared": SharedWords(lexical)}


def _load_dense(folder: Path, catalogue: Catalogue, found: Found, progress: Progress) -> Found:
    from instructrec.retrieval.dense import Dense, Similar
    from instructrec.retrieval.nearest import Nearest

    reader = _recorded_reader(folder, progress)
    items = ItemVectors.load(folder, catalogue, reader, progress)
    by_history: Found = {"similar": Similar(catalogue, items), "nearest": Nearest(catalogue, items)}
    return {"dense": Dense(catalogue, items, reader), **by_history} if reader else by_history


def _recorded_reader(folder: Path, progress: Progress) -> TextEncoder | None:
    """The encoder that read a folder's items, none where it is not on this machine."""
    from instructrec.retrieval import encoder

    try:
        found = encoder.find_encoder(read_about(folder)["encoder"])
    except (ModelError, UsageError) as error:
        progress.note(f"words are matched as they are written: {error}")
        return None
    if found is None:
        progress.note(
            "minilm is not on this machine: words are matched as they are written "
            "(instructrec models pull minilm)"
        )
    return found


def _load_sequential(folder: Path, catalogue: Catalogue, found: Found, progress: Progress) -> Found:
    from instructrec.retrieval.sequential import Sequential

    items = getattr(found.get("similar"), "items", None)
    return {"sequential": Sequential.load(folder, catalogue, texts=items)}


def _load_tower(folder: Path, catalogue: Catalogue, found: Found, progress: Progress) -> Found:
    from instructrec.retrieval.tower import load_tower

    tower = load_tower(folder, catalogue, progress)
    return {} if tower is None else {"tower": tower.retriever(catalogue)}


LOADERS: Mapping[str, Callable[[Path, Catalogue, Found, Progress], Found]] = {
    "popularity": _load_popularity,
    "neighbours": _load_neighbours,
    "lexical": _load_lexical,
    "dense": _load_dense,
    "sequential": _load_sequential,
    "tower": _load_tower,
}
"""By kind, in the order in which they are loaded; each is told what was loaded before it."""
