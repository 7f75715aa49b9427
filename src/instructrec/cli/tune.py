"""`instructrec tune`: a language model from a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.cli.durations import parse_seconds
from instructrec.cli.progress import make_progress
from instructrec.cli.settings import settled
from instructrec.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Group

    from instructrec.tuning import Tuned

app = new_app()


@app.command()
def tune(
    corpus: Annotated[Path, typer.Argument(help="A corpus folder.", metavar="CORPUS")],
    out: Annotated[Path, typer.Option(help="The model folder to make.", metavar="MODEL")],
    backbone: Annotated[
        str,
        typer.Option(
            help="tiny-causal, mini-causal, tiny-t5, mini-t5 (made from nothing), a checkpoint's "
            "folder or hub name, or a name that `instructrec models list` shows."
        ),
    ] = "tiny-causal",
    dataset: Annotated[
        Path | None,
        typer.Option(help="The corpus's dataset; dataset/ beside the corpus when left out."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for everything, roughly: 30m, 1h30m.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training rows (3 unless limited).")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates of the weights.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds weights, order and draws.")] = 0,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            help='Share of a kind of rows an epoch uses: "T2=0.5", "P1/P2,I0,T3=1", '
            '"turned-around=0"; may be repeated.',
            metavar="KIND=SHARE",
        ),
    ] = None,
    held_out_users: Annotated[
        Path | None,
        typer.Option(
            help="Users whose validation requests no choice may look at: a file of user ids, or "
            "a table with a column user_id.",
            metavar="FILE",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other setting of TuneConfig, such as learning_rate=0.001; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a model that is there give way.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Tune a language model on a corpus; the same command goes on where it was stopped.

    Example: `instructrec tune runs/demo/corpus --backbone tiny-causal --budget 30m --out model`
    """
    chosen: dict[str, Any] = {
        "backbone": backbone,
        "epochs": epochs,
        "steps": steps,
        "budget": None if budget is None else parse_seconds(budget),
        "seed": seed,
        "mix": dict(_pair(text, "--mix") for text in mix or ()),
    }
    chosen |= dict(_pair(text, "--set") for text in settings or ())
    from instructrec.data.dataset import Dataset
    from instructrec.evaluation.plan import read_users
    from instructrec.instructions.corpus import Corpus
    from instructrec.tuning import TuneConfig
    from instructrec.tuning import tune as tune_model
    from instructrec.tuning.start import check_backbone

    config = settled(TuneConfig, **chosen)
    check_backbone(config.backbone)
    held_out, _ = read_users(None if held_out_users is None else str(held_out_users))
    made = tune_model(
        Corpus(corpus),
        out,
        config,
        dataset=None if dataset is None else Dataset(dataset),
        held_out=held_out or (),
        replace=replace,
        progress=make_progress(),
    )
    emit(_told(made), _view(made), as_json=json)


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, found, value = text.rpartition("=")
    if not found or not name.strip() or not value.strip():
        raise UsageError(f"{flag} {text!r} has no value", f'Write {flag} "NAME=VALUE"')
    return name.strip(), value.strip()


def _told(made: Tuned) -> dict[str, Any]:
    """The command's answer."""
    return {
        "model": str(made.folder),
        "steps": made.state.step,
        "tokens": made.state.tokens,
        "best": made.state.best,
        "rule": made.choice.rule.name,
        "pmi_weight": made.choice.pmi_weight,
        "scenarios": made.choice.chosen,
    }


def _view(made: Tuned) -> Group:
    from rich.console import Group
    from rich.table import Table

    table = Table("scenario", "template", "HR@1", "NDCG@5", title="On validation requests")
    for scenario, figures in made.choice.chosen.items():
        hits, gain = (f"{figures[name]:.4f}" for name in ("HR@1", "NDCG@5"))
        table.add_row(scenario, figures["template"], hits, gain)
    best = made.state.best["step"] if made.state.best else made.state.step
    return Group(
        f"{made.folder}: {made.state.step:,} steps, {made.state.tokens:,} tokens; the best "
        f"weights are those of step {best:,}; scored by {made.choice.rule}",
        table,
        f"Next: instructrec evaluate {made.folder} DATASET "
        f'--scenario "{next(iter(made.choice.templates))}" --out REPORT',
    )
