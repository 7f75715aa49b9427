"""The stages of a run: dataset, corpus, model, retrievers, fusion, report, serving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from instructrec.build import Stage
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.folders import write_json
from instructrec.instructions.schema import Scenario
from instructrec.instructions.teachers.named import teacher_parameters
from instructrec.instructions.teachers.options import TeacherOptions
from instructrec.protocols import SILENT, Progress, Scorer
from instructrec.retrieval import load_retrievers
from instructrec.retrieval.settings import SequentialConfig, TowerConfig

if TYPE_CHECKING:
    from instructrec.data.importing import ImportConfig
    from instructrec.instructions.executors import Executor

SCENARIOS = ("P1,I0,T3", "P0,I1/I2,T3", "P1/P2,I1/I2,T3")
"""What a run's report measures: recommender, search, personalised search (paper §3.1)."""
TUNING_SHARE = 0.5
"""Share of a time budget that tuning gets; the rest goes to the other stages."""
SEQUENTIAL_SHARE = 0.1
"""Share of a time budget that the sequential retriever may take, twice: for the report and for
use."""
TOWER_SHARE = 0.1
"""Share of a time budget that tuning the text encoder may take, out of tuning's."""
REPORT_SHARE = 0.2
"""Share of a time budget that the report may take."""
LIST_SECONDS = 0.01
"""What ranking one list of ten takes a small model on two cores, roughly; a report ranks each
request by the tuned and by the untuned model."""
FEWEST_REQUESTS = 200
ENCODER = "minilm"
_CHOOSING = ("model", "retrievers", "fusion.json")
"""Stages that choose something on validation requests."""


class RunConfig(BaseModel):
    """Everything that decides a run, beside its dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Protocol = Protocol.LEAVE_ONE_OUT
    """How targets are set apart."""
    teacher: str = "rules"
    """Who writes preferences and intentions."""
    teacher_options: TeacherOptions = TeacherOptions()
    """How a teacher that is a language model or a file is reached, and what it may cost."""
    backbone: str = "tiny-causal"
    """A backbone made from nothing, or any checkpoint."""
    budget: float | None = Field(default=None, ge=10)
    """Seconds for the whole run, roughly."""
    steps: int | None = Field(default=None, ge=1)
    """Updates of tuning, instead of a budget."""
    seed: int = 0
    """Seeds everything."""
    max_history: int = Field(default=20, ge=2)
    """Items a sequence has at most, target included (paper §4.1)."""
    scenarios: tuple[str, ...] = SCENARIOS
    """What the report measures."""
    fusion_users: int = Field(default=300, ge=10)
    """Validation requests of each scenario that the weights are fitted on, at most."""
    test_users: int | None = Field(default=None, ge=1)
    """Test requests of each scenario, drawn at random; when left out, all, or under a budget as
    many as it has room for."""
    spread_users: int = Field(default=200, ge=0)
    """Validation requests on which the templates are compared."""
    order_requests: int = Field(default=10, ge=0)
    """Test requests of each scenario that are asked again with their candidates in other orders."""
    held_out_users: Path | None = None
    """A file of users that no choice (early stopping, templates, rule, weights) may look at."""
    corpus: dict[str, Any] = Field(default_factory=dict)
    """Further settings of `instructrec.instructions.builder.CorpusConfig`."""
    tuning: dict[str, Any] = Field(default_factory=dict)
    """Further settings of `instructrec.tuning.config.TuneConfig`."""
    sequential: dict[str, Any] = Field(default_factory=dict)
    """Further settings of `instructrec.retrieval.settings.SequentialConfig`."""
    encoder: str | None = None
    """The text encoder (`instructrec.retrieval.encoder.find_encoder`); minilm when left out."""
    tower: bool = False
    """Whether the text encoder is tuned on the corpus as well (docs/dense.md)."""
    tower_tuning: dict[str, Any] = Field(default_factory=dict)
    """Further settings of `instructrec.retrieval.settings.TowerConfig`."""

    def held_out(self) -> frozenset[str]:
        """The users that no choice may look at.

        Raises:
            UsageError: There is no such file, or it has no column user_id.
        """
        if self.held_out_users is None:
            return frozenset()
        from instructrec.evaluation.plan import users_of

        return users_of(self.held_out_users)

    def tune_settings(self) -> dict[str, Any]:
        """Settings of tuning."""
        settings = {"backbone": self.backbone, "seed": self.seed, **self.tuning}
        if self.steps is not None:
            settings["steps"] = self.steps
        elif self.budget is not None:
            share = TUNING_SHARE - TOWER_SHARE if self.tower else TUNING_SHARE
            settings["budget"] = self.budget * share
        return settings

    def sequential_settings(self) -> SequentialConfig:
        """Settings of the sequential retriever."""
        settings = {"seed": self.seed, **self.sequential}
        if self.budget is not None:
            settings.setdefault("budget", self.budget * SEQUENTIAL_SHARE)
        return SequentialConfig(**settings)

    def tower_settings(self) -> TowerConfig:
        """Settings of tuning the text encoder."""
        settings = {"seed": self.seed, **self.tower_tuning}
        if self.budget is not None:
            settings.setdefault("budget", self.budget * TOWER_SHARE)
        return TowerConfig(**settings)

    def retrieval_settings(self) -> dict[str, Any]:
        """What decides the retrievers.

        Raises:
            UsageError: There is no such text encoder.
            ModelError: It cannot be fetched, or is of a kind not known here.
        """
        settings: dict[str, Any] = {
            "protocol": self.protocol.value,
            "dense": encoder_is_here(),
            "sequential": self.sequential_settings().model_dump(),
        }
        if self.encoder is not None:
            from instructrec.retrieval.encoder import find_encoder

            found = find_encoder(self.encoder)
            settings |= {"dense": found is not None, "encoder": self.encoder}
            settings["identity"] = None if found is None else found.identity
        if self.tower:
            settings["tower"] = self.tower_settings().model_dump()
        return settings

    def requests(self) -> int | None:
        """Test requests of each scenario; none for all."""
        if self.test_users is not None or self.budget is None:
            return self.test_users
        singles = {one for text in self.scenarios for one in Scenario.parse(text).singles()}
        room = self.budget * REPORT_SHARE / (2 * LIST_SECONDS * len(singles))
        return max(int(room), FEWEST_REQUESTS)


def imported(config: ImportConfig, progress: Progress = SILENT) -> Stage:
    """The stage that imports logs."""

    def make(target: Path) -> None:
        from instructrec.data.importing import import_dataset

        import_dataset(config.model_copy(update={"out": target, "replace": True}), progress)

    return Stage("dataset", config.settings(), make, files=config.files(), seed=config.seed)


def made_up(users: int, items: int, seed: int) -> Stage:
    """The stage that makes a marketplace."""

    def make(target: Path) -> None:
        from instructrec.data.market import make_market

        make_market(target, users=users, items=items, seed=seed, replace=True)

    settings = {"market": {"users": users, "items": items}}
    return Stage("dataset", settings, make, seed=seed)


def stages_of(
    config: RunConfig,
    dataset: Stage,
    progress: Progress = SILENT,
    executor: Executor | None = None,
) -> list[Stage]:
    """All stages of a run, in order.

    Args:
        config: See `RunConfig`.
        dataset: The stage that makes the dataset (`imported` or `made_up`).
        progress: Handed to every stage.
        executor: Where the corpus is made; in this process when left out.
    """
    base = config.retrieval_settings()
    learnt_from = ("dataset", "corpus") if config.tower else ("dataset",)
    measured = {
        "scenarios": list(config.scenarios),
        "test_users": config.requests(),
        "spread_users": config.spread_users,
        "order_requests": config.order_requests,
    }
    plan: list[tuple[str, Mapping[str, Any], Callable[..., None], tuple[str, ...]]] = [
        ("model", config.tune_settings(), _tune, ("dataset", "corpus")),
        ("retrievers", base, _fit_retrievers, learnt_from),
        (
            "fusion.json",
            {"users": config.fusion_users},
            _fit_fusion,
            ("dataset", "corpus", "model", "retrievers"),
        ),
        (
            "report",
            measured,
            _report,
            ("dataset", "corpus", "model", "retrievers", "fusion.json"),
        ),
        ("retrievers-serving", base, _fit_serving, ("dataset", "retrievers")),
    ]
    corpus_settings = {
        **config.corpus,
        "protocol": config.protocol.value,
        "max_history": config.max_history,
        "teacher": config.teacher,
    }
    if parameters := teacher_parameters(config.teacher, config.teacher_options):
        corpus_settings["teacher_parameters"] = parameters
    corpus = Stage(
        "corpus",
        corpus_settings,
        partial(_corpus, config, progress=progress, executor=executor),
        ("dataset",),
        seed=config.seed,
    )
    held = {"held_out": config.held_out_users} if config.held_out_users else {}
    rest = [
        Stage(
            name,
            settings,
            partial(make, config, progress=progress),
            after,
            files=held if name in _CHOOSING else {},
            seed=config.seed,
        )
        for name, settings, make, after in plan
    ]
    return [dataset, corpus, *rest]


def encoder_is_here() -> bool:
    """Whether the text encoder that lets words meet meanings was pulled."""
    from instructrec import pretrained

    return pretrained.is_pulled(ENCODER)


def _corpus(
    config: RunConfig, target: Path, *, progress: Progress, executor: Executor | None
) -> None:
    from instructrec.instructions.builder import CorpusConfig, build_corpus
    from instructrec.instructions.planning import asking_knowingly
    from instructrec.instructions.teachers.named import teacher_named

    settings = CorpusConfig(
        **config.corpus,
        protocol=config.protocol,
        seed=config.seed,
        max_history=config.max_history,
    )
    dataset = Dataset(target.parent / "dataset")
    teacher = teacher_named(config.teacher, config.teacher_options, progress)
    with asking_knowingly(dataset, teacher, settings, progress):
        build_corpus(
            dataset,
            teacher,
            target,
            settings,
            replace=True,
            executor=executor,
            progress=progress,
        )


def _tune(config: RunConfig, target: Path, *, progress: Progress) -> None:
    from instructrec.instructions.corpus import Corpus
    from instructrec.tuning import tune
    from instructrec.tuning.config import TuneConfig

    run = target.parent
    tune(
        Corpus(run / "corpus"),
        target,
        TuneConfig(**config.tune_settings()),
        held_out=config.held_out(),
        replace=True,
        progress=progress,
    )


def _fit_retrievers(config: RunConfig, target: Path, *, progress: Progress) -> None:
    from instructrec.retrieval.making import make_retrievers

    run = target.parent
    make_retrievers(
        Dataset(run / "dataset"),
        target,
        protocol=config.protocol,
        sequential=config.sequential_settings(),
        held_out=config.held_out(),
        corpus=run / "corpus" if config.tower else None,
        tower=config.tower_settings() if config.tower else None,
        encoder=config.encoder,
        command="instructrec build",
        replace=True,
        progress=progress,
    )


def _fit_serving(config: RunConfig, target: Path, *, progress: Progress) -> None:
    from instructrec.retrieval.making import make_retrievers

    # All rows, test rows among them: this folder is for use and evaluation refuses it.
    run = target.parent
    make_retrievers(
        Dataset(run / "dataset"),
        target,
        protocol=None,
        reuse=run / "retrievers",
        command="instructrec build",
        replace=True,
        progress=progress,
    )


def _fit_fusion(config: RunConfig, target: Path, *, progress: Progress) -> None:
    from instructrec.fitting import Grounds, fit_run
    from instructrec.instructions.corpus import Corpus
    from instructrec.ranking.ranker import Ranker

    run = target.parent
    dataset = Dataset(run / "dataset")
    grounds = Grounds(
        dataset,
        config.protocol,
        Corpus(run / "corpus").texts,
        users=config.fusion_users,
        held_out=config.held_out(),
        max_history=config.max_history,
        seed=config.seed,
    )
    pieces: dict[str, Scorer] = {
        **load_retrievers(run / "retrievers", dataset.catalogue, to_choose=True),
        "lm": Ranker.load(run / "model", dataset.catalogue),
    }
    facts = {"protocol": config.protocol.value, "seed": config.seed}
    write_json(target, fit_run(grounds, pieces, facts, progress))


def _report(config: RunConfig, target: Path, *, progress: Progress) -> None:
    from instructrec.evaluation.of_run import evaluate_run

    evaluate_run(
        target.parent,
        [Scenario.parse(text) for text in config.scenarios],
        target,
        limit=config.requests(),
        seed=config.seed,
        spread_users=config.spread_users,
        order_requests=config.order_requests,
        replace=True,
        progress=progress,
    )
