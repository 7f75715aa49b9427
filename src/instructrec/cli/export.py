"""`instructrec export`: a model as ONNX graphs, for fast answers on a processor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from instructrec.cli.app import JsonFlag, emit, new_app
from instructrec.cli.progress import make_progress
from instructrec.errors import ModelError, UsageError

app = new_app()


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A model folder or name.", metavar="MODEL")],
    out: Annotated[Path, typer.Option(help="The folder to make.", metavar="FOLDER")],
    to: Annotated[
        str, typer.Option(help="onnx-int8 (weights in eight bits) or onnx (float32).")
    ] = "onnx-int8",
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare both on validation requests of --dataset."),
    ] = False,
    dataset: Annotated[
        Path | None, typer.Option(help="What --check asks about.", metavar="DATASET")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="Requests that --check asks.")] = 300,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a folder that is there give way.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Turn a model into ONNX graphs that `recommend`, `evaluate` and `rank` read like any model.

    With `--check` exit code 1 says that the export ranks otherwise (mean Spearman below .99).

    Example: `instructrec export runs/demo/model --out model-int8 --check --dataset
    runs/demo/dataset`
    """
    if check and dataset is None:
        raise UsageError("--check needs something to ask about", "Add --dataset DATASET")
    if dataset is not None and not check:
        raise UsageError("--dataset goes with --check", "Add --check, or leave it out")
    from instructrec.exporting import LEAST_SPEARMAN, check_export, export_model

    progress = make_progress()
    sizes = export_model(model, out, to=to, replace=replace, progress=progress)
    payload = {"out": str(out), "format": to, "bytes": asdict(sizes)}
    lines = [f"{to}: {out}", f"weights: {_megabytes(sizes.before)} → {_megabytes(sizes.after)}"]
    found = None
    if dataset is not None:
        found = check_export(model, out, dataset, requests=requests, progress=progress)
        payload["check"] = {**asdict(found), "passed": found.passed}
        lines += [
            f"{found.requests} requests of {found.candidates} candidates, model → export",
            f"Spearman: mean {found.spearman:.4f}, lowest {found.lowest:.4f}",
            f"HR@1 of ten: {found.hit_rate[0]:.4f} → {found.hit_rate[1]:.4f}",
            f"a request: {found.milliseconds[0]:.1f} ms → {found.milliseconds[1]:.1f} ms",
        ]
    emit(payload, "\n".join(lines), as_json=json)
    if found is not None and not found.passed:
        raise ModelError(
            f"{out} ranks otherwise than {model}: mean Spearman {found.spearman:.4f} is below "
            f"{LEAST_SPEARMAN}",
            "Use --to onnx, or the model itself",
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count else "not on disk here"
