"""Catalogue to candidates: fit, save and load the retrievers of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from instructrec.data.catalogue import Catalogue
from instructrec.errors import DataError, UsageError
from instructrec.folders import read_manifest
from instructrec.protocols import SILENT, Progress, Retriever

if TYPE_CHECKING:
    from instructrec.retrieval._kinds import Material

KIND = "retrievers"
"""The kind of folder, with one sub-folder a retriever."""
KINDS = ("popularity", "neighbours", "lexical", "dense", "sequential")
"""What is fitted when nothing else is asked for; beside `LEARNT_FROM_WORDS` with a corpus."""
LEARNT_FROM_WORDS = ("tower",)
"""What learns from instructions."""
NAMES = (
    "popularity",
    "neighbours",
    "lexical",
    "shared",
    "dense",
    "similar",
    "nearest",
    "sequential",
    "tower",
)
"""What `load_retrievers` may give; ``dense``, ``similar`` and ``nearest`` need a text encoder's
vectors, and ``tower`` is there only where tuning its encoder has helped."""


def fit_retrievers(material: Material, kinds: Sequence[str] | None = None) -> tuple[str, ...]:
    """Fit retrievers and write each to its sub-folder.

    Without minilm on this machine, or with titles that are not in Latin script, there is no
    dense match; a note says so and lexical match takes over.

    Args:
        material: What they are fitted on and where they are written.
        kinds: Which; when left out all of `KINDS` that can be made here, and those of
            `LEARNT_FROM_WORDS` where there is a corpus.

    Returns:
        The sub-folders written.

    Raises:
        UsageError: There is no such kind.
        CannotFitError: One that was asked for by name cannot be made here.
    """
    from instructrec.retrieval._kinds import FITTERS, CannotFitError

    check_kinds(kinds or ())
    written = []
    usual = (*KINDS, *(LEARNT_FROM_WORDS if material.corpus is not None else ()))
    for kind in usual if kinds is None else [name for name in FITTERS if name in kinds]:
        try:
            FITTERS[kind](material)
            written.append(kind)
        except CannotFitError as reason:
            if kinds is not None:
                raise
            material.progress.note(f"no {kind} retriever: {reason}")
    return tuple(written)


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse what is no kind of retriever.

    Raises:
        UsageError: There is no such kind.
    """
    from instructrec.retrieval._kinds import FITTERS

    for kind in kinds:
        if kind not in FITTERS:
            raise UsageError(f"{kind!r} is no kind of retriever", f"Use {', '.join(FITTERS)}")


def load_retrievers(
    folder: Path, catalogue: Catalogue, *, to_choose: bool = False, progress: Progress = SILENT
) -> dict[str, Retriever]:
    """Load the retrievers of a folder, by name.

    Where items have vectors but minilm is not on this machine, ``similar`` and ``nearest`` are
    there and ``dense``, which must read what people say, is not; a note says so.

    Args:
        folder: What `make_retrievers` wrote.
        catalogue: The items.
        to_choose: Whether something is to be chosen with them on validation rows, such as weights:
            evidence that has learnt from these rows would weigh too much.
        progress: Told what is missing.

    Raises:
        FolderError: The folder is absent, incomplete, of another kind, or a file is missing.
        DataError: Something is to be chosen, and they have seen the validation rows.
    """
    from instructrec.retrieval._kinds import LOADERS

    manifest = read_manifest(folder, KIND)
    if to_choose and (manifest.get("refit") or manifest.get("serving")):
        raise DataError(
            f"{folder} learnt from the validation rows that weights are fitted on",
            "Fit the weights with retrievers fitted on training rows alone",
        )
    found: dict[str, Retriever] = {}
    for kind, load in LOADERS.items():
        if (folder / kind).is_dir():
            found |= load(folder / kind, catalogue, found, progress)
    return found
