"""``instructrec data``: import raw logs, make a marketplace, describe a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from instructrec.cli.app import JsonFlag, check_choice, emit, new_app
from instructrec.cli.progress import make_progress

app = new_app("Import logs, make a marketplace, describe a dataset.")

FileOption = Annotated[Path | None, typer.Option(metavar="FILE")]


@app.command("import")
def import_(
    out: Annotated[Path, typer.Option(help="The dataset folder to make.", metavar="DATASET")],
    interactions: Annotated[
        Path | None, typer.Option(help="Who did what when.", metavar="FILE")
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="The catalogue; may be the interactions' file.", metavar="FILE"),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Search queries and their items.", metavar="FILE")
    ] = None,
    users: Annotated[Path | None, typer.Option(help="Facts about users.", metavar="FILE")] = None,
    format: Annotated[
        str,
        typer.Option(
            help="auto, table, amazon-2014|2018|2023, movielens-100k|1m|latest or recbole.",
            metavar="NAME",
        ),
    ] = "auto",
    columns: Annotated[
        str, typer.Option(help="Our columns made of yours: OURS=THEIRS,OURS=A+B,…", metavar="MAP")
    ] = "",
    delimiter: Annotated[
        str | None, typer.Option(help="What separates fields; found out when left out.")
    ] = None,
    header: Annotated[bool, typer.Option(help="Whether line 1 names the columns.")] = True,
    clock: Annotated[
        str | None, typer.Option(help="ms: a calendar; order: positions.", metavar="ms|order")
    ] = None,
    time_unit: Annotated[
        str, typer.Option(help="The unit of numeric timestamps.", metavar="auto|s|ms")
    ] = "auto",
    k_core: Annotated[
        int, typer.Option(min=0, help="Least interactions of a user and of an item.")
    ] = 0,
    repeats: Annotated[
        str,
        typer.Option(help="A user's later interactions with an item.", metavar="drop|keep"),
    ] = "drop",
    min_rating: Annotated[float | None, typer.Option(help="Least rating.")] = None,
    max_per_user: Annotated[
        int | None, typer.Option(min=1, help="Keep a user's last so many.")
    ] = None,
    max_rejected: Annotated[
        float, typer.Option(min=0, max=1, help="The share of rows that may be bad.")
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seeds the item split.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Make a dataset of raw logs: CSV, TSV, Parquet, JSON lines, Amazon, MovieLens, RecBole.

    `instructrec data import --interactions log.csv --items items.csv
    --columns user_id=uid,timestamp=time,categories=shelf+kind --out dataset`
    """
    from instructrec.data.importing import ImportConfig, import_dataset
    from instructrec.data.readers import FORMATS

    settings: dict[str, Any] = {
        "format": check_choice(format, FORMATS, "format"),
        "time_unit": check_choice(time_unit, ("auto", "s", "ms"), "time unit"),
        "repeats": check_choice(repeats, ("drop", "keep"), "way with repeats"),
        "clock": clock and check_choice(clock, ("ms", "order"), "clock"),
    }
    config = ImportConfig(
        out=out,
        interactions=interactions,
        items=items,
        queries=queries,
        users=users,
        columns=columns,
        delimiter=delimiter,
        header=header,
        k_core=k_core,
        min_rating=min_rating,
        max_per_user=max_per_user,
        max_rejected=max_rejected,
        seed=seed,
        replace=replace,
        **settings,
    )
    dataset = import_dataset(config, make_progress())
    emit(
        {"dataset": str(out), "clock": dataset.clock, **_figures(dataset.manifest)},
        _summary(out, dataset.manifest),
        as_json=json,
    )


def _figures(manifest: dict[str, Any]) -> dict[str, Any]:
    return {"rows": manifest["rows"], **manifest["import"]}


def _summary(out: Path, manifest: dict[str, Any]) -> str:
    rows, done = manifest["rows"], manifest["import"]
    tables = [name for name in ("items", "interactions", "queries", "users") if name in rows]
    lines = [f"{out}: " + ", ".join(f"{rows[name]:,} {name}" for name in tables)]
    for name, file in done["files"].items():
        renamed = [f"{ours}={theirs}" for ours, theirs in file["columns"].items() if ours != theirs]
        lines.append(f"  {name} of {file['file']}: {', '.join([file['format'], *renamed])}")
    for kind in ("bad", "dropped"):
        lines += [
            f"  {kind}: {count:,} rows of {table}: {reason}"
            for table, reasons in done[kind].items()
            for reason, count in reasons.items()
        ]
    if rows["rejected"]:
        lines.append(f"  samples of those rows are in {out / 'rejected.jsonl'}")
    return "\n".join(lines)


@app.command()
def market(
    out: Annotated[Path, typer.Option(help="The dataset folder to make.", metavar="DATASET")],
    users: Annotated[int, typer.Option(min=1, help="How many users.")] = 3000,
    items: Annotated[int, typer.Option(min=1, help="How many items.")] = 1500,
    seed: Annotated[int, typer.Option(help="The same seed makes the same shop.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Make the dataset of a made-up shop.

    `instructrec data market --users 3000 --items 1500 --seed 0 --out dataset`
    """
    from instructrec.data.market import make_market

    dataset = make_market(
        out, users=users, items=items, seed=seed, replace=replace, progress=make_progress()
    )
    rows = dataset.manifest["rows"]
    shown = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    emit({"dataset": str(out), "rows": rows}, f"{out}: {shown}", as_json=json)


@app.command()
def describe(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.", metavar="DATASET")],
    out: Annotated[
        Path | None,
        typer.Option(help="Draw it: a folder for the pictures and figures.", metavar="FOLDER"),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Say how large, sparse, long and skewed a dataset is, and what it lacks.

    `instructrec data describe dataset --out described`
    """
    from instructrec.data.dataset import Dataset
    from instructrec.data.describe import describe as count
    from instructrec.data.describe import write_description

    opened = Dataset(dataset)
    description = count(opened)
    if out is not None:
        write_description(description, opened, out, replace=replace)
    emit(description.figures, _described(description.figures, out), as_json=json)


def _described(figures: dict[str, Any], out: Path | None) -> Group:
    """The figures as a person reads them."""
    popularity = figures["popularity"]
    rows = {
        **{name.replace("_", " "): f"{value:,}" for name, value in figures["counts"].items()},
        "interactions a user": _spread(figures["lengths"]),
        "words a title": _spread(figures["titles"]),
        "distinct titles": f"{figures['titles']['distinct']:,}",
        "popularity": f"Gini {popularity['gini']}, the top 1 % of items have "
        f"{popularity['top_1_percent']:.1%}, the top 10 % {popularity['top_10_percent']:.1%}",
        "items without interactions": f"{popularity['items_without_interactions']:,}",
        "ratings": _tally(figures["ratings"]),
        "events": _tally(figures["events"]),
        "time": " to ".join(figures["time"].values()) or f"clock: {figures['clock']}",
    }
    if queries := figures["queries"]:
        rows["queries"] = f"{queries['queries']:,} with {queries['judgements']:,} judgements"
        rows["words a query"] = _spread(queries["words"])
    table = Table("of", figures["dataset"], show_header=True)
    for name, shown in rows.items():
        if shown:
            table.add_row(name, shown)
    lacks = [f"no {name}: {so}" for name, so in figures["missing"].items()]
    lacks += [
        f"{table_name}.{column} is filled in {share:.1%} of the rows"
        for table_name, columns in figures["filled"].items()
        for column, share in columns.items()
        if share < 1
    ]
    drawn = f"pictures are in {out}" if out else "--out FOLDER draws it"
    return Group(table, *(Text(line) for line in (*lacks, drawn)))


def _spread(figures: dict[str, float]) -> str:
    if not figures:
        return ""
    marks = ", ".join(f"{name} {value:g}" for name, value in figures.items() if name[0] == "p")
    return f"mean {figures['mean']:.2f}, {marks}, max {figures['max']:g}"


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items())
