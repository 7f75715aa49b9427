"""`instructrec build`: all stages of a run from one's own logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.cli.durations import parse_seconds
from instructrec.cli.executors import AddressFlag, ExecutorFlag, WorkersFlag
from instructrec.cli.progress import make_progress
from instructrec.cli.settings import from_file, settled, settled_with
from instructrec.cli.teacher_flags import (
    TEACHER_HELP,
    AnswersColumnsFlag,
    BaseUrlFlag,
    CacheFlag,
    ConcurrencyFlag,
    LanguageFlag,
)

if TYPE_CHECKING:
    from instructrec.stages import RunConfig

app = new_app()

File = Path | None
BUDGET = 1800.0
"""Seconds that a run may take, roughly, when nothing is said."""


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="The run folder.", metavar="RUN")],
    interactions: Annotated[File, typer.Option(help="Who did what when.", metavar="FILE")] = None,
    items: Annotated[File, typer.Option(help="The catalogue.", metavar="FILE")] = None,
    queries: Annotated[
        File, typer.Option(help="Search queries and their items.", metavar="FILE")
    ] = None,
    users: Annotated[File, typer.Option(help="Facts about users.", metavar="FILE")] = None,
    format: Annotated[str, typer.Option(help="The files' format.", metavar="NAME")] = "auto",
    columns: Annotated[str, typer.Option(help="OURS=THEIRS,OURS=A+B,…", metavar="MAP")] = "",
    delimiter: Annotated[str | None, typer.Option(help="What separates fields.")] = None,
    clock: Annotated[
        str | None, typer.Option(help="ms: a calendar; order: positions.", metavar="ms|order")
    ] = None,
    k_core: Annotated[
        int, typer.Option(min=0, help="Users and items with fewer interactions go.")
    ] = 0,
    max_rejected: Annotated[float, typer.Option(help="Share of rows that may be bad.")] = 0.01,
    protocol: Annotated[
        str | None,
        typer.Option(help="How targets are set apart: leave-one-out (default), items or time."),
    ] = None,
    teacher: Annotated[str | None, typer.Option(help=TEACHER_HELP)] = None,
    base_url: BaseUrlFlag = None,
    concurrency: ConcurrencyFlag = None,
    teacher_budget: Annotated[
        str | None,
        typer.Option(
            help="What a teacher that is a language model may cost in this run: 5usd, 2M "
            "(tokens); its other settings are teacher_options of --config.",
            metavar="AMOUNT",
        ),
    ] = None,
    language: LanguageFlag = None,
    varied_wishes: Annotated[
        bool,
        typer.Option("--varied-wishes", help="Vary the wishes that are learnt: limits, typos …"),
    ] = False,
    cache: CacheFlag = None,
    answers_columns: AnswersColumnsFlag = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="tiny-causal (default), mini-causal, tiny-t5, mini-t5, or any checkpoint."
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="The text encoder: minilm (default), or a folder or hub name in the layout of "
            "sentence-transformers.",
            metavar="NAME|FOLDER",
        ),
    ] = None,
    tower: Annotated[
        bool,
        typer.Option("--tower", help="Tune the text encoder on the corpus as well (minutes)."),
    ] = False,
    budget: Annotated[
        str | None, typer.Option(help="Time for everything, roughly: 30m (default), 1h30m.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of tuning, instead of the budget's.")
    ] = None,
    test_users: Annotated[
        int | None, typer.Option(min=1, help="Test requests of each scenario, drawn at random.")
    ] = None,
    held_out_users: Annotated[
        File,
        typer.Option(
            help="Users whose validation requests no choice may look at: ids, or a table with a "
            "column user_id.",
            metavar="FILE",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seeds everything.")] = None,
    executor: ExecutorFlag = None,
    workers: WorkersFlag = None,
    address: AddressFlag = None,
    config: Annotated[
        File,
        typer.Option(
            help="A JSON file of settings (corpus, tuning, scenarios, …); flags go before it.",
            metavar="FILE",
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a recommender from your own logs; the same command goes on where it stopped.

    Stages: dataset, corpus, model, retrievers, fusion, report, retrievers-serving. One that is
    there and was made by the same settings from the same files is not made again.

    Example: `instructrec build --interactions log.csv --items items.csv
    --columns user_id=uid,item_id=sku --budget 30m --out runs/shop`
    """
    flags = {
        "protocol": protocol,
        "teacher": teacher,
        "backbone": backbone,
        "encoder": encoder,
        "tower": tower or None,
        "budget": None if budget is None else parse_seconds(budget),
        "steps": steps,
        "test_users": test_users,
        "held_out_users": held_out_users,
        "seed": seed,
    }
    from instructrec.build import run_stages
    from instructrec.data.importing import ImportConfig, open_readers
    from instructrec.instructions.executors import executor_named
    from instructrec.stages import imported, stages_of

    where = executor_named(executor, workers, address)
    options = {
        "base_url": base_url,
        "concurrency": concurrency,
        "budget": teacher_budget,
        "language": language,
        "cache": cache,
        "answers_columns": answers_columns,
    }
    settings = _settings(config, _given(flags), _given(options), varied_wishes)
    source = settled(
        ImportConfig,
        out=out / "dataset",
        interactions=interactions,
        items=items,
        queries=queries,
        users=users,
        format=format,
        columns=columns,
        delimiter=delimiter,
        clock=clock,
        k_core=k_core,
        max_rejected=max_rejected,
        seed=settings.seed,
    )
    settings.held_out()
    open_readers(source)  # A wrong path or column is told before anything is made.
    progress = make_progress()
    stages = stages_of(settings, imported(source, progress), progress, where)
    made = run_stages(out, stages, progress)
    from rich.console import Group

    from instructrec.cli.results import next_view, result_view, results

    told: dict[str, Any] = {"run": str(out), "made": made, **results(out)}
    ask = f'instructrec recommend {out} --want "what you want, in your words"'
    emit(told, Group(result_view(out), next_view(out, ask)), as_json=json)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _settings(
    file: Path | None, flags: dict[str, Any], options: dict[str, Any], varied_wishes: bool
) -> RunConfig:
    from instructrec.data.splits import Protocol
    from instructrec.instructions.builder import CorpusConfig
    from instructrec.instructions.diversify import DiversityRates
    from instructrec.instructions.teachers.options import TeacherOptions
    from instructrec.retrieval.settings import SequentialConfig, TowerConfig
    from instructrec.stages import RunConfig
    from instructrec.tuning.config import TuneConfig
    from instructrec.tuning.start import check_backbone

    settled_with(CorpusConfig, file, {}, within="corpus")
    known = {**from_file(file), **flags}
    if varied_wishes:
        varied = {"diversity": DiversityRates().model_dump()}
        flags = {**flags, "corpus": {**known.get("corpus", {}), **varied}}
    Protocol.parse(known.get("protocol", Protocol.LEAVE_ONE_OUT))
    if known.get("budget") is None and known.get("steps") is None:
        flags = {**flags, "budget": BUDGET}
    found = settled_with(TeacherOptions, file, options, within="teacher_options")
    settings = settled_with(RunConfig, file, {**flags, "teacher_options": found})
    tuning = settings.tune_settings()
    rest = {name: value for name, value in tuning.items() if name not in settings.tuning}
    settled_with(TuneConfig, file, rest, within="tuning")
    settled_with(SequentialConfig, file, {}, within="sequential")
    settled_with(TowerConfig, file, {}, within="tower_tuning")
    check_backbone(settings.backbone)
    return settings
