"""What a fit takes over from retrievers that were fitted before, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from instructrec.data.splits import Protocol
from instructrec.errors import UsageError
from instructrec.folders import MANIFEST, read_manifest, sha256
from instructrec.retrieval import KIND
from instructrec.retrieval.encoder import DEFAULT
from instructrec.retrieval.settings import SequentialConfig, TowerConfig


@dataclass(frozen=True)
class Source:
    """Retrievers that were fitted on training rows, whose settings and choices another fit obeys.

    Attributes:
        folder: Where they lie.
        protocol: Whose training rows they learnt from.
        kinds: Those that were written.
        sequential: Settings of the sequential retriever.
        tower: Settings of the tuned encoder; none where there was no corpus.
        encoder: The text encoder that was asked for, none for the usual one.
        held_out: How many users no choice looked at, and which (a hash).
        dataset: The hash of the dataset's manifest.
    """

    folder: Path
    protocol: Protocol
    kinds: tuple[str, ...]
    sequential: SequentialConfig
    tower: TowerConfig | None
    encoder: str | None
    held_out: Mapping[str, Any]
    dataset: str

    def check(
        self,
        dataset: Path,
        protocol: Protocol | None,
        *,
        kinds: Sequence[str] | None = None,
        sequential: SequentialConfig | None = None,
        tower: TowerConfig | None = None,
        encoder: str | None = None,
        corpus: Path | None = None,
    ) -> None:
        """Refuse what contradicts the source; none of a setting agrees with whatever it has.

        Raises:
            UsageError: Another dataset, another protocol, or another setting.
        """
        made_from(self.folder, self.dataset, dataset)
        same_rows(self.folder, self.protocol, protocol)
        different = []
        if kinds is not None and set(kinds) != set(self.kinds):
            different.append("kinds")
        if encoder is not None and encoder != (self.encoder or DEFAULT):
            different.append("encoder")
        different += _different(sequential, self.sequential)
        different += [f"tower {name}" for name in _different(tower, self.tower)]
        if corpus is not None:
            different.append("corpus")
        if different:
            raise UsageError(
                f"{self.folder} was not made with the {', '.join(different)} that is asked for, "
                "and a fit after it takes everything over",
                "Leave it out, or fit on training rows with it first",
            )


def read_source(folder: Path) -> Source:
    """Read what a fit may take over.

    Raises:
        FolderError: It is absent, incomplete or of another kind.
        UsageError: It was itself fitted on more than training rows, and so chose nothing.
    """
    manifest = read_manifest(folder, KIND)
    for fact, rows in (("serving", "all rows"), ("refit", "training and validation rows")):
        if manifest.get(fact):
            raise UsageError(
                f"{folder} was itself fitted on {rows} and has chosen nothing",
                "Name the retrievers that were fitted on training rows",
            )
    settings = manifest["settings"]
    try:
        return Source(
            folder,
            Protocol.parse(manifest["protocol"]),
            tuple(manifest["retrievers"]),
            SequentialConfig(**settings["sequential"]),
            TowerConfig(**settings["tower"]) if settings.get("tower") else None,
            settings.get("encoder"),
            settings["held_out"],
            manifest["inputs"]["dataset"],
        )
    except KeyError as error:
        raise UsageError(
            f"{folder} does not say how it was made ({error} is missing)", "Make it again"
        ) from error


def check_corpus(corpus: Path, dataset: Path, protocol: Protocol | None) -> None:
    """Refuse a corpus whose training rows may be test rows here.

    Raises:
        FolderError: It is absent, incomplete or of another kind.
        UsageError: It was made from another dataset or under another protocol.
    """
    manifest = read_manifest(corpus, "corpus")
    made_from(corpus, manifest.get("inputs", {}).get("dataset"), dataset)
    same_rows(corpus, Protocol.parse(manifest["protocol"]), protocol)


def made_from(folder: Path, known: str | None, dataset: Path) -> None:
    """Refuse what was made from another dataset.

    Raises:
        UsageError: It was.
    """
    if known != sha256(dataset / MANIFEST):
        raise UsageError(
            f"{folder} was not made from {dataset}, so that it may have seen test rows of it",
            "Make it anew from this dataset",
        )


def same_rows(folder: Path, made: Protocol, wanted: Protocol | None) -> None:
    """Refuse what was made under another protocol; for use, on all rows, any will do.

    Raises:
        UsageError: It was.
    """
    if wanted is not None and wanted != made:
        raise UsageError(
            f"{folder} was made under {made.value}, so its training rows may be tested under "
            f"{wanted.value}",
            f"Use --protocol {made.value}, or make it anew",
        )


def _different(asked: BaseModel | None, known: BaseModel | None) -> list[str]:
    """Names of settings that are asked for otherwise."""
    if asked is None:
        return []
    if known is None:
        return ["settings"]
    values = known.model_dump()
    return [name for name, value in asked.model_dump().items() if values[name] != value]
