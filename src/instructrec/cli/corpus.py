"""`instructrec corpus`: instructions from a dataset, and what a corpus holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.cli.audit import audit, judge
from instructrec.cli.executors import AddressFlag, ExecutorFlag, WorkersFlag
from instructrec.cli.progress import make_progress
from instructrec.cli.teacher_flags import (
    TEACHER_HELP,
    AnswersColumnsFlag,
    BaseUrlFlag,
    BudgetFlag,
    CacheFlag,
    ConcurrencyFlag,
    DryRunFlag,
    LanguageFlag,
    MaxWordsFlag,
    ParameterFlag,
    PricesFlag,
    PromptsFlag,
    RateFlag,
    TemperatureFlag,
    TimeoutFlag,
    plan_view,
    teacher_options,
)
from instructrec.cli.variety import variety

if TYPE_CHECKING:
    from rich.console import Group

app = new_app("Turn a dataset into instructions, describe a corpus, and check it.")
app.command()(audit)
app.command()(judge)
app.command()(variety)


@app.command()
def build(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.", metavar="DATASET")],
    out: Annotated[Path, typer.Option(help="The corpus folder to make.")],
    teacher: Annotated[str, typer.Option(help=TEACHER_HELP)] = "rules",
    protocol: Annotated[
        str, typer.Option(help="How targets are set apart: leave-one-out, items or time.")
    ] = "leave-one-out",
    scenario: Annotated[
        list[str] | None,
        typer.Option(help='Only this scenario, such as "P1,I0,T3"; may be given several times.'),
    ] = None,
    max_history: Annotated[
        int, typer.Option(min=2, help="Items a sequence has at most, target included.")
    ] = 20,
    varied_wishes: Annotated[
        bool,
        typer.Option("--varied-wishes", help="Vary the wishes that are learnt: limits, typos …"),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seeds every draw.")] = 0,
    executor: ExecutorFlag = None,
    workers: WorkersFlag = None,
    address: AddressFlag = None,
    base_url: BaseUrlFlag = None,
    concurrency: ConcurrencyFlag = None,
    requests_per_minute: RateFlag = None,
    timeout: TimeoutFlag = None,
    budget: BudgetFlag = None,
    prices: PricesFlag = None,
    language: LanguageFlag = None,
    prompts: PromptsFlag = None,
    max_words: MaxWordsFlag = None,
    temperature: TemperatureFlag = None,
    parameter: ParameterFlag = None,
    cache: CacheFlag = None,
    answers_columns: AnswersColumnsFlag = None,
    dry_run: DryRunFlag = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a corpus at OUT.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write instruction data for a dataset; the same command goes on where it stopped.

    Example: `instructrec corpus build runs/demo/dataset --teacher rules --out corpus`
    """
    from instructrec.data.dataset import Dataset
    from instructrec.data.splits import Protocol
    from instructrec.instructions.builder import CorpusConfig, build_corpus
    from instructrec.instructions.diversify import NO_DIVERSITY, DiversityRates
    from instructrec.instructions.executors import executor_named
    from instructrec.instructions.planning import asking_knowingly, plan_corpus
    from instructrec.instructions.schema import Scenario
    from instructrec.instructions.teachers.named import teacher_named

    options = teacher_options(
        parameter,
        base_url=base_url,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        timeout=timeout,
        budget=budget,
        prices=prices,
        language=language,
        prompts=prompts,
        max_words=max_words,
        temperature=temperature,
        cache=cache,
        answers_columns=answers_columns,
    )
    where = executor_named(executor, workers, address)
    progress = make_progress()
    config = CorpusConfig(
        protocol=Protocol.parse(protocol),
        seed=seed,
        max_history=max_history,
        scenarios=tuple(str(Scenario.parse(text)) for text in scenario) if scenario else None,
        diversity=DiversityRates() if varied_wishes else NO_DIVERSITY,
    )
    writer = teacher_named(teacher, options, progress)
    source = Dataset(dataset)
    if dry_run:
        plan = plan_corpus(source, writer, config, progress)
        emit(plan.told(), plan_view(plan), as_json=json)
        return
    with asking_knowingly(source, writer, config, progress):
        made = build_corpus(
            source,
            writer,
            out,
            config,
            replace=replace,
            executor=where,
            progress=progress,
        )
    rows, by_rules = made.manifest["rows"], made.manifest["teacher"]["by_rules"]
    told = ", ".join(f"{rows[split]:,} {split} rows" for split in ("train", "validation", "test"))
    emit(
        {"corpus": str(out), "protocol": protocol, "rows": rows, "texts_by_rules": by_rules},
        f"{out}: {told}, {rows['annotations']:,} texts, {by_rules:,} of them by rules\n"
        f"Next: instructrec tune {out} --backbone tiny-causal --out MODEL",
        as_json=json,
    )


@app.command()
def describe(
    corpus: Annotated[Path, typer.Argument(help="A corpus folder.", metavar="CORPUS")],
    samples: Annotated[int, typer.Option(min=0, help="Samples of each scenario.")] = 1,
    json: JsonFlag = False,
) -> None:
    """Show counts by scenario, template, strategy and split, lengths, and samples side by side.

    Example: `instructrec corpus describe runs/demo/corpus --samples 2`
    """
    from instructrec.instructions.corpus import Corpus
    from instructrec.instructions.summary import describe_corpus

    told = describe_corpus(Corpus(corpus), samples=samples, progress=make_progress())
    emit(told, _described(corpus, told), as_json=json)


def _described(folder: Path, told: dict[str, Any]) -> Group:
    from rich.console import Group

    rows = ", ".join(f"{count:,} {split}" for split, count in told["rows"].items())
    blocks: list[Any] = [f"{folder}: {rows} rows, protocol {told['protocol']}\n"]
    blocks += [_counts(told["counts"], ("scenario", "strategy", "asks"))]
    blocks += [_counts(told["counts"], ("template",))]
    blocks += [_plain_table("Words", told["words"]), _plain_table("Texts", told["texts"])]
    if told["samples"]:
        blocks.append(_samples(told["samples"]))
    return Group(*blocks)


def _counts(counts: list[dict[str, Any]], keys: tuple[str, ...]) -> Any:
    """Rows by ``keys``, one column a split."""
    from rich.table import Table

    table = Table(*keys, title="Rows by " + ", ".join(keys), title_justify="left")
    splits = ("train", "validation", "test")
    for split in splits:
        table.add_column(split, justify="right")
    sums: dict[tuple[str, ...], dict[str, int]] = {}
    for count in counts:
        found = sums.setdefault(tuple(count[key] for key in keys), dict.fromkeys(splits, 0))
        found[count["split"]] += count["rows"]
    for key, found in sorted(sums.items()):
        table.add_row(*key, *(f"{found[split]:,}" if found[split] else "" for split in splits))
    return table


def _plain_table(title: str, rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(*(rows[0] if rows else ()), title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    return table


def _samples(samples: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title="Samples", title_justify="left", show_lines=True)
    table.add_column("scenario", no_wrap=True)
    table.add_column("instruction", ratio=3)
    table.add_column("response", ratio=2)
    for sample in samples:
        kind = f"{sample['scenario']}\n{sample['strategy']}\n{sample['template']}"
        table.add_row(kind, sample["instruction"], sample["response"])
    return table
