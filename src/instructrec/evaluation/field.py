"""Who takes part in the evaluation of a run: all rivals, and what the run has made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from instructrec.data.catalogue import Catalogue
from instructrec.errors import InstructRecError
from instructrec.evaluation.baselines import Input, Material, fit_baselines
from instructrec.evaluation.evaluate import World
from instructrec.evaluation.groups import SIZE, GroupsOfTen
from instructrec.evaluation.measure import Contestant
from instructrec.evaluation.memory import Clock, Remembering, Shared
from instructrec.evaluation.report import GROUPS, LM
from instructrec.folders import read_json
from instructrec.protocols import Retriever, Scorer
from instructrec.ranking.fusion import RETRIEVAL, Fusion
from instructrec.retrieval.hybrid import Hybrid

if TYPE_CHECKING:
    from instructrec.ranking.ranker import Ranker

RIVALS = "rivals"
"""Sub-folder of a run that holds rivals trained before (docs/rivals.md)."""
EVERYTHING: frozenset[Input] = frozenset({"history", "words"})
"""What a model reads that is given the whole instruction."""
HYBRID = "hybrid"
"""All retrievers of a run together, as its recommender asks them."""


@dataclass(frozen=True, eq=False)
class Field:
    """All who take part, and what they share.

    Attributes:
        contestants: Rivals first, then ours.
        shared: Memories and evidence.
    """

    contestants: list[Contestant]
    shared: Shared


def gather_field(
    run: Path, world: World, ranker: Ranker, seed: int, place: tuple[str, float | None]
) -> tuple[Field, list[str]]:
    """Everybody who can take part, and a line about each who cannot.

    Args:
        run: The run's folder.
        world: What is asked about.
        ranker: The run's model.
        seed: For whatever is drawn.
        place: Device and memory (see `instructrec.backbones.load`) of the untuned backbone.
    """
    retrievers = run / "retrievers" if (run / "retrievers").is_dir() else None
    trained = run / RIVALS if (run / RIVALS).is_dir() else None
    material = Material(
        world.dataset, world.protocol, retrievers, seed, rivals=trained, texts=world.texts
    )
    baselines, notes = fit_baselines(material)
    rivals = [Contestant(rival.name, "rival", rival.reads, rival) for rival in baselines]
    clock = Clock()
    lm = Remembering(ranker, clock)
    memories = [lm]
    try:
        rivals.append(
            Contestant("untuned", "rival", EVERYTHING, _untuned(run / "model", ranker, place))
        )
    except InstructRecError as error:
        notes.append(f"The untuned backbone is left out: {error}.")
    rivals.append(_in_groups(lm, seed))
    pieces: dict[str, Scorer] = {"lm": lm}
    ours = [Contestant(LM, "ours", EVERYTHING, lm)]
    if retrievers is None or not (run / "fusion.json").is_file():
        notes.append(f"{run} has no retrievers/ or fusion.json: there are no fused rows.")
    else:
        from instructrec.retrieval import load_retrievers

        found = {k: v for k, v in world.retrievers.items() if k != HYBRID}
        found = found or load_retrievers(retrievers, world.dataset.catalogue)
        for name, retriever in found.items():
            memories.append(Remembering(retriever, clock))
            pieces[name] = memories[-1]
        without = Fusion.load(run / "fusion.json", pieces, without_lm=True)
        rivals.append(Contestant(without.name, "rival", EVERYTHING, without))
        fused = Fusion.load(run / "fusion.json", pieces)
        notes += _missing_pieces(fused)
        ours.append(Contestant(fused.name, "ours", EVERYTHING, fused))
    return Field([*rivals, *ours], Shared(memories, clock, pieces)), notes


def ours_alone(ranker: Ranker, seed: int) -> Field:
    """A model without a run: its likelihood, and the same with long lists cut to groups."""
    clock = Clock()
    lm = Remembering(ranker, clock)
    alone = [_in_groups(lm, seed), Contestant(LM, "ours", EVERYTHING, lm)]
    return Field(alone, Shared([lm], clock, {"lm": lm}))


def retrievers_of(run: Path, catalogue: Catalogue) -> dict[str, Retriever]:
    """The retrievers of a run by name, and ``hybrid``: all of them as in use.

    They were fitted without test rows; those that serve were not.
    """
    from instructrec.retrieval import load_retrievers

    if not (run / "retrievers").is_dir():
        return {}
    found = load_retrievers(run / "retrievers", catalogue)
    asked = [one for name, one in found.items() if name != "popularity"]
    fused = run / "fusion.json"
    shares = read_json(fused).get(RETRIEVAL) if fused.is_file() else None
    return {**found, HYBRID: Hybrid(asked, found.get("popularity"), shares)}


def _in_groups(lm: Scorer, seed: int) -> Contestant:
    return Contestant(GROUPS, "rival", EVERYTHING, GroupsOfTen(lm, seed), above=SIZE)


def _missing_pieces(fused: Fusion) -> list[str]:
    """A line where the fused rows go without evidence that their weights were fitted with."""
    weighed = {
        name
        for pieces in fused.weights.values()
        for name, piece in pieces.items()
        if piece.weight > 0
    }
    missing = sorted(weighed - set(fused.pieces))
    if not missing:
        return []
    return [
        f"The fused rows go without {', '.join(missing)}, which the weights were fitted with and "
        "which is not here (minilm: instructrec models pull minilm)."
    ]


def _untuned(model: Path, ranker: Ranker, place: tuple[str, float | None]) -> Scorer:
    """The backbone as it was before tuning: the same templates, the rule of untuned models."""
    from instructrec.backbones.devices import device_named, move
    from instructrec.ranking.scoring import ScoringConfig
    from instructrec.tuning import untuned

    told = ranker.scoring
    kept = {name: getattr(told, name) for name in ("templates", "max_tokens", "spelled")}
    scoring = ScoringConfig.untuned().model_copy(update=kept)
    (device, memory), backbone = place, untuned(model)
    move(backbone.model, device_named(device), "the untuned backbone")
    if memory is not None:
        backbone.bound_memory(memory)
    return type(ranker)(backbone, ranker.catalogue, ranker.bank, scoring)
