"""Figures of a report: bars with intervals, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from instructrec.evaluation.report import HEADLINE, OrderCheck, Row

_COLOURS = {"ours": "#1f6f8b", "rival": "#b9c0c7", "trap": "#d9a08a"}


def draw_bars(path: Path, rows: Sequence[Row], chance: float | None) -> None:
    """Draw the headline of every model of one table, with its interval.

    Args:
        path: The PNG file; its folder is made if absent.
        rows: Of one table, best last or in any order: they are drawn as given, first at the top.
        chance: What guessing reaches, drawn as a line where it is known.
    """
    # The figure is built without pyplot: no global state, no display, the same bytes each time.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.5, 0.9 + 0.38 * len(rows)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(rows), 0, -1)
    name = rows[0].headline
    means = [row.metrics[name] for row in rows]
    below = [max(0.0, row.metrics[name] - row.interval[name][0]) for row in rows]
    above = [max(0.0, row.interval[name][1] - row.metrics[name]) for row in rows]
    axes.barh(
        places,
        means,
        xerr=[below, above],
        color=[_COLOURS[row.kind] for row in rows],
        error_kw={"elinewidth": 1.2, "ecolor": "#33383d", "capsize": 2.5},
        height=0.68,
    )
    for place, row in zip(places, rows, strict=True):
        end = row.interval[name][1] + 0.012
        axes.text(end, place, f"{row.metrics[name]:.3f}", va="center", fontsize=8)
    if chance is not None:
        axes.axvline(chance, color="#8a4b2a", linewidth=1, linestyle="--", label="chance")
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    axes.set_yticks(list(places), [row.model for row in rows])
    axes.set_xlim(0, min(1.12, max(row.interval[name][1] for row in rows) + 0.12))
    axes.set_xlabel(f"{name}, {rows[0].users:,} requests, 95 % intervals")
    axes.set_title(f"{rows[0].scenario} · {rows[0].protocol} · {rows[0].candidates}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def draw_places(path: Path, checks: Sequence[OrderCheck]) -> None:
    """Draw HR@1 by the place at which the target is given, a line a scenario and model.

    Args:
        path: The PNG file; its folder is made if absent.
        checks: Of a whole report.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.5, 2.2 + 0.12 * len(checks)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for check in checks:
        label = f"{check.scenario} {check.model}"
        axes.plot(check.places, check.hits, marker="o", markersize=3, linewidth=1, label=label)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("place of the target in the given list")
    axes.set_ylabel(HEADLINE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=6)
    figure.savefig(path, metadata={"Software": None})
