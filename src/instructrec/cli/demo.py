"""`instructrec demo`: a shop from nothing to a tuned, measured, talkable recommender."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from instructrec.cli.answers import answer_view
from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.cli.durations import parse_seconds
from instructrec.cli.progress import make_progress

if TYPE_CHECKING:
    from instructrec.answers import Recommendation
    from instructrec.demo import Example

app = new_app()


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The run folder.", metavar="RUN")],
    users: Annotated[int | None, typer.Option(min=50, help="Shoppers.")] = None,
    items: Annotated[int | None, typer.Option(min=50, help="Items.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same demo.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="tiny-causal, mini-causal, tiny-t5, mini-t5, or any checkpoint."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of tuning.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for everything, roughly, instead of steps: 8m.")
    ] = None,
    test_users: Annotated[
        int | None, typer.Option(min=10, help="Test requests of each scenario, at most.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A JSON file of settings; flags go before it.", metavar="FILE"),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a shop, learn it, measure it beside its rivals, and answer three requests.

    The same command goes on where it stopped.

    Example: `instructrec demo --out runs/demo`
    """
    seconds = None if budget is None else parse_seconds(budget)
    from instructrec.cli.results import next_view, result_view, results
    from instructrec.cli.settings import settled_with
    from instructrec.demo import DemoConfig, examples, make_demo

    given = {
        "users": users,
        "items": items,
        "seed": seed,
        "backbone": backbone,
        "steps": steps,
        "budget": seconds,
        "test_users": test_users,
    }
    flags = {name: value for name, value in given.items() if value is not None}
    settings = settled_with(DemoConfig, config, flags)
    from instructrec.tuning.start import check_backbone

    check_backbone(settings.backbone)
    made = make_demo(out, settings, make_progress())
    shown = list(examples(out))
    told: dict[str, Any] = {
        "run": str(out),
        "made": made,
        "settings": settings.model_dump(mode="json"),
        **results(out),
        "examples": [
            {
                "title": one.title,
                "asked": one.asked,
                "answer": one.answer.to_dict(),
                "without_encoder": None if one.without is None else one.without.to_dict(),
            }
            for one in shown
        ],
    }
    ask = f'instructrec recommend {out} --want "something cosy for rainy evenings" --k 5'
    view = Group(result_view(out), *(_example(one) for one in shown), next_view(out, ask))
    emit(told, view, as_json=json)


def _example(example: Example) -> RenderableType:
    blocks: list[RenderableType] = [
        Text(),
        Text(example.title, style="bold underline"),
        Text(f"$ {example.asked}", style="green"),
        answer_view(example.answer),
    ]
    if example.without is not None:
        blocks += [Text(), _side_by_side(example.answer, example.without)]
    return Group(*blocks)


def _side_by_side(with_encoder: Recommendation, without: Recommendation) -> Table:
    table = Table("#", "with minilm", "without it", box=None, pad_edge=False)
    places = max(len(with_encoder.items), len(without.items))
    for place in range(places):
        pair = [
            Text(answer.items[place].title) if place < len(answer.items) else Text()
            for answer in (with_encoder, without)
        ]
        table.add_row(str(place + 1), *pair)
    return table
