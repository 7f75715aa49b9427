"""The dataset that a corpus was made from."""

from __future__ import annotations

from pathlib import Path

from instructrec.data.dataset import Dataset
from instructrec.errors import UsageError
from instructrec.folders import MANIFEST, sha256
from instructrec.instructions.corpus import Corpus


def dataset_of(corpus: Corpus, folder: Path | None = None) -> Dataset:
    """A corpus's dataset: the folder named, or ``dataset`` beside the corpus.

    Raises:
        UsageError: There is none there, or the corpus was made from another.
        FolderError: It is not complete.
    """
    found = folder or corpus.folder.resolve().parent / "dataset"
    if folder is None and not (found / MANIFEST).is_file():
        raise UsageError(
            f"there is no dataset beside {corpus.folder}",
            "Name the one it was made from: --dataset",
        )
    dataset = Dataset(found)
    if sha256(found / MANIFEST) != corpus.manifest["inputs"]["dataset"]:
        raise UsageError(
            f"{corpus.folder} was not made from {found}",
            "Name the dataset it was made from: --dataset",
        )
    return dataset
