"""Figures as inline SVG: bars with intervals, points, lines. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from instructrec.evaluation.report import Kind

WIDTH = 760
_LEFT, _RIGHT = 190, 60
_HEIGHT, _TOP, _BOTTOM = 300, 16, 40
_COLOURS = 6


@dataclass(frozen=True)
class Point:
    """One model in a figure.

    Attributes:
        label: Its name.
        y: The figure.
        kind: Whose.
        x: Where it stands, in a scatter.
        interval: Ends of the interval, in bars.
    """

    label: str
    y: float
    kind: Kind
    x: float = 0.0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One line of a figure: its name and its points."""

    label: str
    points: Sequence[tuple[float, float]]


def bars(points: Sequence[Point], chance: float | None) -> str:
    """Bars, the first at the top, with intervals and what guessing reaches."""
    most = max([*(p.interval[1] if p.interval else p.y for p in points), chance or 0.0, 1e-9])
    scale = (WIDTH - _LEFT - _RIGHT) / most
    height = 24 * len(points) + 10
    parts = []
    for place, point in enumerate(points):
        y = 24 * place + 6
        low, high = point.interval or (point.y, point.y)
        parts += [
            _text(_LEFT - 8, y + 13, point.label, "end"),
            f'<rect class="{point.kind}" x="{_LEFT}" y="{y}" height="16" '
            f'width="{point.y * scale:.1f}"/>',
            f'<line class="whisker" x1="{_LEFT + low * scale:.1f}" y1="{y + 8}" '
            f'x2="{_LEFT + high * scale:.1f}" y2="{y + 8}"/>',
            _text(_LEFT + high * scale + 6, y + 13, f"{point.y:.3f}"),
        ]
    if chance is not None:
        x = _LEFT + chance * scale
        parts.append(
            f'<line class="trap" stroke-dasharray="4 3" x1="{x:.1f}" y1="0" x2="{x:.1f}" '
            f'y2="{height}"><title>chance</title></line>'
        )
    return _svg(height, parts)


def scatter(points: Sequence[Point], label: str) -> str:
    """Points over a logarithmic axis; what takes no time stands at its left end."""
    shown = [max(point.x, 1e-3) for point in points]
    low, high = math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))
    high = max(high, low + 1)
    ys = _range([point.y for point in points])
    parts = _frame(ys, label, [(at - low, f"1e{at}") for at in range(low, high + 1)], high - low)
    for point, x in zip(points, shown, strict=True):
        left = _x(math.log10(x) - low, 0, high - low)
        top = _y(point.y, ys)
        parts += [
            f'<circle class="{point.kind}" cx="{left:.1f}" cy="{top:.1f}" r="5"/>',
            _text(left + 8, top + 4, point.label),
        ]
    return _svg(_HEIGHT, parts)


def curves(
    lines: Sequence[Line],
    label: str,
    range_: tuple[float, float] | None = None,
    ticks: Sequence[str] = (),
) -> str:
    """Lines with points.

    Args:
        lines: Each is named in a legend below.
        label: Of the horizontal axis.
        range_: Of the vertical axis; what the points need when left out.
        ticks: Names of the places 0, 1, 2 …; numbers when left out.
    """
    xs = [x for line in lines for x, _ in line.points]
    first, last = min(xs), max(xs)
    last = last if last > first else first + 1
    ys = range_ or _range([y for line in lines for _, y in line.points])
    steps = [first + (last - first) * part / 4 for part in range(5)]
    named = [(at - first, f"{at:g}") for at in steps]
    if ticks:
        named = [(float(at), name) for at, name in enumerate(ticks)]
    parts = _frame(ys, label, named, last - first)
    for number, line in enumerate(lines):
        colour = f"l{number % _COLOURS}"
        at = [(_x(x, first, last), _y(y, ys)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline class="{colour}" points="{path}"/>')
        if len(at) <= 40:
            parts += [f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in at]
        top = _HEIGHT + 16 * number
        parts += [
            f'<rect class="{colour}" x="{_LEFT}" y="{top}" width="14" height="4"/>',
            _text(_LEFT + 20, top + 6, line.label),
        ]
    return _svg(_HEIGHT + 16 * len(lines) + 6, parts)


def _frame(
    ys: tuple[float, float], label: str, ticks: Sequence[tuple[float, str]], width: float
) -> list[str]:
    """Axes: five heights, and the places named."""
    parts = []
    for part in range(5):
        value = ys[0] + (ys[1] - ys[0]) * part / 4
        top = _y(value, ys)
        parts += [
            f'<line class="axis" x1="{_LEFT}" y1="{top:.1f}" x2="{WIDTH - _RIGHT}" '
            f'y2="{top:.1f}"/>',
            _text(_LEFT - 8, top + 4, f"{value:.3g}", "end"),
        ]
    for at, name in ticks:
        parts.append(_text(_x(at, 0, width), _HEIGHT - _BOTTOM + 16, name, "middle"))
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, _HEIGHT - 8, label, "middle", "soft"))
    return parts


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05
    return max(0.0, low - room), high + room


def _x(value: float, first: float, last: float) -> float:
    return _LEFT + (value - first) / (last - first) * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, ys: tuple[float, float]) -> float:
    share = (value - ys[0]) / (ys[1] - ys[0])
    return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" '
        f'role="img">{"".join(parts)}</svg>'
    )
