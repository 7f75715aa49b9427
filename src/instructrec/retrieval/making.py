"""A folder of retrievers from a dataset: for evaluation, on training rows; for use, on all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from instructrec.data.dataset import Dataset
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Protocol, Targets
from instructrec.errors import DataError, UsageError
from instructrec.folders import new_folder
from instructrec.hashing import stable_hash
from instructrec.protocols import SILENT, Progress
from instructrec.retrieval import KIND, check_kinds, fit_retrievers
from instructrec.retrieval._kinds import Material
from instructrec.retrieval.ann import ANN_FROM
from instructrec.retrieval.settings import SequentialConfig, TowerConfig
from instructrec.retrieval.source import check_corpus, read_source


def make_retrievers(
    dataset: Dataset,
    target: Path,
    *,
    protocol: Protocol | None,
    kinds: Sequence[str] | None = None,
    sequential: SequentialConfig | None = None,
    held_out: Collection[str] = (),
    corpus: Path | None = None,
    tower: TowerConfig | None = None,
    encoder: str | None = None,
    ann_from: int = ANN_FROM,
    reuse: Path | None = None,
    refit: bool = False,
    command: str = "instructrec retrievers fit",
    replace: bool = False,
    progress: Progress = SILENT,
) -> tuple[str, ...]:
    """Fit retrievers and write the folder; killed and called again it goes on where it was.

    Args:
        dataset: Items and interactions.
        target: The folder to make.
        protocol: Its training rows are learnt from, its validation targets serve to choose the
            best weights; none to learn from all rows, test rows among them: for use, and never
            evaluated.
        kinds: Which; all that can be made here when left out.
        sequential: Settings of the sequential retriever.
        held_out: Users whose validation targets no choice may look at.
        corpus: A corpus folder, for kinds that learn from instructions; of this dataset and
            protocol.
        tower: Settings of the tuned encoder.
        encoder: The text encoder: a folder or a name of the hub; minilm when left out.
        ann_from: Catalogues of more items get an index over their vectors.
        reuse: Retrievers of the same dataset and protocol that were fitted on training rows:
            kinds, settings, encoder and what they have chosen are taken over (see also
            `instructrec.retrieval._kinds.Material`).
        refit: Learn from training and validation rows, all that comes before a test item, and
            choose nothing: what ``reuse`` has chosen holds.
        command: For the manifest.
        replace: Whether a folder that is there gives way.
        progress: Told how far it is.

    Returns:
        The kinds written.

    Raises:
        UsageError: There is no such kind, or ``reuse`` or ``corpus`` may not be learnt from here,
            or what is asked for contradicts ``reuse``.
        DataError: There are no rows to learn from.
        CannotFitError: A kind that was asked for by name cannot be made here.
        FolderError: ``target`` is taken.
    """
    from instructrec.retrieval.encoder import find_encoder

    check_kinds(kinds or ())
    if kinds is not None and "tower" in kinds and corpus is None and reuse is None:
        raise UsageError(
            "the tower learns from instructions, and there are none", "Name them with --corpus"
        )
    source = None if reuse is None else read_source(reuse)
    if source is not None:
        source.check(
            dataset.folder,
            protocol,
            kinds=kinds,
            sequential=sequential,
            tower=tower,
            encoder=encoder,
            corpus=corpus,
        )
        kinds, encoder = source.kinds, source.encoder
        sequential, tower = source.sequential, source.tower
    if corpus is not None:
        check_corpus(corpus, dataset.folder, protocol)
    config, learnt = sequential or SequentialConfig(), tower or TowerConfig()
    facts: dict[str, Any] = {"protocol": protocol.value} if protocol else {"serving": True}
    if refit:
        facts["refit"] = True
    held = sorted(held_out)
    chosen_without = {"users": len(held), "hash": stable_hash(*held)}
    has_tower = corpus is not None or (source is not None and tower is not None)
    settings = {
        **facts,
        "kinds": None if kinds is None else sorted(kinds),
        "dense": find_encoder(encoder) is not None,
        "encoder": encoder,
        "ann_from": ann_from,
        "sequential": config.model_dump(),
        "tower": learnt.model_dump() if has_tower else None,
        "held_out": chosen_without if source is None else dict(source.held_out),
    }
    inputs = {"dataset": dataset.folder, "corpus": corpus, "retrievers": reuse}
    with new_folder(
        target,
        KIND,
        command=command,
        settings=settings,
        seed=config.seed,
        inputs={role: path for role, path in inputs.items() if path is not None},
        replace=replace,
        resume=True,
    ) as draft:
        sequences, validation = _learnt(dataset, protocol, refit, held)
        if not len(sequences.rows):
            raise DataError(
                f"{dataset.folder} has no training rows to learn from", "Import more interactions"
            )
        material = Material(
            dataset.catalogue,
            sequences,
            draft.path,
            validation,
            config,
            progress,
            reuse,
            corpus,
            frozenset(held),
            encoder,
            learnt,
            ann_from,
        )
        written = fit_retrievers(material, kinds)
        draft.facts |= {**facts, "retrievers": list(written)}
        draft.rows["items"] = len(dataset.catalogue)
    return written


def _learnt(
    dataset: Dataset, protocol: Protocol | None, refit: bool, held_out: Collection[str]
) -> tuple[Sequences, Targets | None]:
    """What is learnt from, and the targets on which the best weights are chosen, if any."""
    if protocol is None:
        return dataset.sequences, None
    split = dataset.split(protocol)
    if refit:
        return split.before_test(), None
    return split.train(), without(split.targets("validation"), held_out)


def without(targets: Targets, users: Collection[str]) -> Targets:
    """The targets of all other users."""
    left_out = frozenset(users)
    kept = [at for at, user in enumerate(targets.user_ids) if user not in left_out]
    return changed(
        targets,
        user_ids=[targets.user_ids[at] for at in kept],
        rows=targets.rows[kept],
        positions=targets.positions[kept],
        histories=[targets.histories[at] for at in kept],
        places=[targets.places[at] for at in kept],
    )
