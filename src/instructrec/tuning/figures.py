"""loss.json and loss.png: how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructrec.folders import write_json


def write_losses(
    folder: Path,
    curve: Sequence[Mapping[str, float]],
    validations: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any] | None,
) -> None:
    """Write the loss curve as numbers and as a figure.

    Args:
        folder: A model folder.
        curve: Means since the point before: step, tokens, learning_rate, loss, response_loss,
            span_loss (nats a token).
        validations: step, HR@1, and by scenario.
        best: The best of them.
    """
    write_json(
        folder / "loss.json",
        {"training": list(curve), "validation": list(validations), "best": best},
    )
    _draw(folder / "loss.png", curve, validations, best)


def _draw(
    path: Path,
    curve: Sequence[Mapping[str, float]],
    validations: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any] | None,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    for name, label in (("response_loss", "response"), ("span_loss", "titles of the history")):
        points = [(point["step"], point[name]) for point in curve if name in point]
        if points:
            left.plot(*zip(*points, strict=True), label=f"loss, {label}", linewidth=1)
    left.set(xlabel="step", ylabel="nats a token")
    right = left.twinx()
    right.set(ylabel="validation HR@1", ylim=(0, 1))
    if validations:
        steps, hits = zip(*((one["step"], one["HR@1"]) for one in validations), strict=True)
        right.plot(steps, hits, "o-", color="tab:green", label="validation HR@1")
    if best is not None:
        right.plot(best["step"], best["HR@1"], "*", markersize=14, color="tab:red", label="best")
    lines = [*left.get_lines(), *right.get_lines()]
    left.legend(lines, [str(line.get_label()) for line in lines], loc="center right")
    figure.savefig(path, dpi=120, metadata={"Software": None})
