"""``instructrec data``: import raw logs, make a marketplace, describe a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
    format: Annotated[str, typer.Option(help="The files' format.", metavar="NAME")] = "auto",
    columns: Annotated[str, typer.Option(help="OURS=THEIRS,OURS=A+B,…", metavar="MAP")] = "",
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
    users: Annotated[int, typer.Option(min=1, help="How many users.")] = 2000,
    items: Annotated[int, typer.Option(min=1, help="How many items.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same shop.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Make the dataset of a made-up shop.

    `instructrec data market --users 2000 --items 1000 --seed 0 --out dataset`
    """
    from instructrec.data.market import make_market

    dataset = make_market(out, users=users, items=items, seed=seed, replace=replace)
    rows = dataset.manifest["rows"]
    shown = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    emit({"dataset": str(out), "rows": rows}, f"{out}: {shown}", as_json=json)
