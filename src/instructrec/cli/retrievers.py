"""`instructrec retrievers`: what finds candidates, fitted on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.cli.durations import parse_seconds
from instructrec.cli.progress import make_progress
from instructrec.cli.settings import settled
from instructrec.errors import UsageError

app = new_app("Fit what finds candidates in the catalogue.")


@app.callback()
def _group() -> None:
    """Fit what finds candidates in the catalogue."""


@app.command()
def fit(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.", metavar="DATASET")],
    out: Annotated[Path, typer.Option(help="The folder to make.", metavar="RETRIEVERS")],
    corpus: Annotated[
        Path | None,
        typer.Option(help="A corpus, for kinds that learn from instructions.", metavar="CORPUS"),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="Which, with commas: popularity, neighbours, lexical, dense, sequential, tower; "
            "all that can be made here when left out, tower only with --corpus."
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
    ann_from: Annotated[
        int, typer.Option(min=0, help="Catalogues of more items get an index over their vectors.")
    ] = 1_000_000,
    protocol: Annotated[
        str | None,
        typer.Option(help="Whose training rows are learnt from: leave-one-out (default), …"),
    ] = None,
    serving: Annotated[
        bool,
        typer.Option(
            "--serving",
            help="Learn from all rows: for use, never for evaluation. Trains the whole schedule, "
            "or with --refit as long as served best there.",
        ),
    ] = False,
    refit: Annotated[
        Path | None,
        typer.Option(
            help="Retrievers that were fitted on training rows: fit theirs again, with their "
            "settings and what they have chosen, on training and validation rows, all that comes "
            "before a test item; with --serving on all rows.",
            metavar="RETRIEVERS",
        ),
    ] = None,
    held_out_users: Annotated[
        Path | None,
        typer.Option(
            help="Users whose validation targets no choice may look at: a file of user ids, or a "
            "table with a column user_id.",
            metavar="FILE",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes of the sequential model over all sequences.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for its training, at most: 10m, 90s.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seeds everything; 0 when left out.")] = None,
    tower_settings: Annotated[
        list[str] | None,
        typer.Option(
            "--tower",
            help="A setting of TowerConfig, such as steps=300 or budget=600; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other setting of SequentialConfig, such as dimensions=64; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a folder that is there give way.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Fit retrievers on a dataset; the same command goes on where it was stopped.

    Example: `instructrec retrievers fit runs/demo/dataset --kinds lexical,sequential --out found`
    """
    if serving and (protocol is not None or held_out_users is not None):
        raise UsageError(
            "--serving learns from all rows and chooses nothing",
            "Leave out --protocol and --held-out-users, or --serving",
        )
    if refit is not None and held_out_users is not None:
        raise UsageError(
            "--refit obeys what was chosen before and chooses nothing",
            "Leave out --held-out-users, or --refit",
        )
    flags: dict[str, Any] = {
        "epochs": epochs,
        "budget": None if budget is None else parse_seconds(budget),
        "seed": seed,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    given |= dict(_pair(text, "--set") for text in settings or ())
    towers: dict[str, Any] = {} if seed is None else {"seed": seed}
    towers |= dict(_pair(text, "--tower") for text in tower_settings or ())
    from instructrec.data.dataset import Dataset
    from instructrec.data.splits import Protocol
    from instructrec.evaluation.plan import users_of
    from instructrec.retrieval.making import make_retrievers
    from instructrec.retrieval.settings import SequentialConfig, TowerConfig
    from instructrec.retrieval.source import read_source

    source = None if refit is None else read_source(refit)
    usual = Protocol.LEAVE_ONE_OUT if source is None else source.protocol
    wanted = Protocol.parse(protocol or usual)
    # Flags that a refit leaves out are its source's; those that it has must agree with them.
    known = {} if source is None else source.sequential.model_dump()
    tuned = {} if source is None or source.tower is None else source.tower.model_dump()
    says_tower = source is None or bool(tower_settings)
    written = make_retrievers(
        Dataset(dataset),
        out,
        protocol=None if serving else wanted,
        kinds=None if kinds is None else _kinds(kinds),
        sequential=settled(SequentialConfig, **{**known, **given}),
        held_out=users_of(held_out_users) if held_out_users is not None else (),
        corpus=corpus,
        tower=settled(TowerConfig, "--tower", **{**tuned, **towers}) if says_tower else None,
        encoder=encoder,
        ann_from=ann_from,
        reuse=refit,
        refit=refit is not None and not serving,
        replace=replace,
        progress=make_progress(),
    )
    told: dict[str, Any] = {
        "retrievers": str(out),
        "kinds": list(written),
        "protocol": None if serving else wanted.value,
        "sequential": _sequential(out) if "sequential" in written else None,
        "tower": _tower(out) if "tower" in written else None,
    }
    emit(told, _view(told), as_json=json)


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    if not kinds:
        raise UsageError("--kinds names none", "Write --kinds lexical,sequential")
    return list(dict.fromkeys(kinds))


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name.strip() or not value.strip():
        raise UsageError(f"{flag} {text!r} has no value", f'Write {flag} "NAME=VALUE"')
    return name.strip(), value.strip()


def _sequential(folder: Path) -> dict[str, Any]:
    """How the training of the sequential model went."""
    from instructrec.folders import read_json
    from instructrec.retrieval.sequential import ABOUT

    about = read_json(folder / "sequential" / ABOUT)
    return {name: about[name] for name in ("plan", "curve", "validations", "best_step")}


def _tower(folder: Path) -> dict[str, Any]:
    """Whether tuning the encoder has helped, and how much."""
    from instructrec.folders import read_json
    from instructrec.retrieval.tower import ABOUT

    about = read_json(folder / "tower" / ABOUT)
    return {name: about[name] for name in ("kept", "NDCG", "difference", "pairs", "best_step")}


def _view(told: dict[str, Any]) -> str:
    lines = [f"{told['retrievers']}: {', '.join(told['kinds'])}"]
    if told["sequential"] is not None:
        plan, best = told["sequential"]["plan"], told["sequential"]["best_step"]
        loss = told["sequential"]["curve"][-1]["loss"]
        lines.append(
            f"sequential: {plan['stop']:,} steps planned, the weights of step {best:,}, "
            f"last training loss {loss:.4f}"
        )
    if told["tower"] is not None:
        reached, gap = told["tower"]["NDCG"], told["tower"]["difference"]
        kept = "kept" if told["tower"]["kept"] else "not kept: that may be chance"
        lines.append(
            f"tower: validation NDCG {reached['untuned']:.4f} untuned, {reached['tuned']:.4f} "
            f"tuned ({gap['low']:+.4f} to {gap['high']:+.4f}), {kept}"
        )
    return "\n".join(lines)
