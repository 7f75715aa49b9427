"""`instructrec corpus variety`: how varied a corpus is, beside real requests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, emit
from instructrec.cli.progress import make_progress

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def variety(
    corpus: Annotated[Path, typer.Argument(help="A corpus folder.", metavar="CORPUS")],
    beside: Annotated[
        Path | None,
        typer.Option(help="A file of real requests to compare with: Parquet, CSV or JSON lines."),
    ] = None,
    column: Annotated[str, typer.Option(help="The column of that file that holds them.")] = "text",
    sample: Annotated[int, typer.Option(min=10, help="Texts of each kind to look at.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seeds the draw of the samples.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Measure how varied the training texts are: n-grams, likeness to each other, lengths, shares.

    With `--beside`, the same figures of real requests, on samples of one size, and the distance.

    Example: `instructrec corpus variety runs/demo/corpus --beside requests.csv --column text`
    """
    from instructrec.instructions.corpus import Corpus
    from instructrec.instructions.variety import corpus_variety, read_texts

    reference = read_texts(beside, column) if beside else None
    told = corpus_variety(
        Corpus(corpus), reference, sample=sample, seed=seed, progress=make_progress()
    )
    emit({"corpus": str(corpus), "sample": sample, **told}, _shown(told), as_json=json)


def _shown(told: Mapping[str, Any]) -> Group:
    from rich.console import Group

    shares = [
        f"{name}: " + ", ".join(f"{key} {share:.1%}" for key, share in found.items())
        for name, found in told["shares"].items()
    ]
    blocks: list[Any] = [f"{told['rows']:,} training rows", *shares, ""]
    blocks.append(_figures("Figures by kind of text", told["texts"]))
    for kind, found in told.get("beside", {}).items():
        distance = found["distance"]
        blocks += [
            "",
            _figures(
                f"{kind} beside the real requests, on samples of one size",
                {"ours": found["ours"], "theirs": found["theirs"]},
            ),
            "Jensen-Shannon divergence in bits, and that of two halves of the real requests: "
            + ", ".join(
                f"{name.replace('_', ' ')} {distance[name]:.4f} ({distance[f'floor_{name}']:.4f})"
                for name in ("words", "small_words", "lengths")
            ),
        ]
    return Group(*blocks)


def _figures(title: str, columns: Mapping[str, Mapping[str, float]]) -> Table:
    """One row a figure, one column a collection; of two, their difference as well."""
    from rich.table import Table

    table = Table("figure", title=title, title_justify="left")
    names = list(columns)
    for name in (*names, *(["difference"] if names == ["ours", "theirs"] else [])):
        table.add_column(name, justify="right")
    for figure in next(iter(columns.values()), {}):
        values = [columns[name][figure] for name in names]
        told = [f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in values]
        if names == ["ours", "theirs"]:
            told.append(f"{values[0] - values[1]:+.4g}")
        table.add_row(figure.replace("_", " "), *told)
    return table
