"""Charts as SVG: what `curves` gives, drawn for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from steersman.cli.chart import Chart, Curve, extremes
from steersman.cli.words import count, number
from steersman.rules.samples import Bools, Floats, Ints

WIDTH, HEIGHT = 720, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 10, 24, 22
_COLUMNS = 640
_FEW = 400


def svg(chart: Chart) -> str:
    """A chart as an `<svg>` element; its colours are classes of the page's style."""
    curves = [curve for curve in chart.curves if len(curve.steps)]
    title = escape(chart.title)
    head = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><text class="title" x="{_LEFT}" y="15">'
    )
    if not curves:
        return f"{head}{title}: {escape(chart.empty)}</text></svg>"
    first = min(int(curve.steps[0]) for curve in curves)
    last = max(int(curve.steps[-1]) for curve in curves)
    low, high = _range(curves, chart)
    parts = [f"{head}{title}{' (log)' if chart.log else ''}</text>"]
    parts += _grid(low, high, chart.log)
    for mark in chart.marks:
        x = _x(np.array([mark.step]), first, last)[0]
        parts.append(f'<line class="onset" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="onset" x="{x + 4:.1f}" y="{_TOP + 10}">step {count(mark.step)}</text>')
    for k, curve in enumerate(curves):
        parts += _curve(curve, k, (first, last), (low, high), chart)
    parts.append(f'<text class="label" x="{_LEFT}" y="{HEIGHT - 6}">{count(first)}</text>')
    parts.append(f'<text class="label end" x="{WIDTH - _RIGHT}" y="{HEIGHT - 6}">{count(last)}</text>')
    names = [curve.name for curve in curves if curve.name]
    if len(names) > 1:
        parts.append(f'<text class="label end" x="{WIDTH - _RIGHT}" y="15">{escape(", ".join(names))}</text>')
    return "".join(parts) + "</svg>"


def kind(chart: Chart, index: int) -> str:
    """The class of a curve: what it shows."""
    if chart.title == "loss":
        return "train" if chart.curves[index].name == "train" else "val"
    return "rate" if chart.title == "learning rate" else "norm"


def _scaled(values: Floats, log: bool) -> Floats:
    if not log:
        # What is infinite is drawn as a cross, and must not set the scale.
        return np.where(np.isfinite(values), np.clip(values, -1e300, 1e300), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log10(np.where(values > 0, values, np.nan)), dtype=np.float64)


def _range(curves: Sequence[Curve], chart: Chart) -> tuple[float, float]:
    every = np.concatenate([_scaled(curve.values, chart.log) for curve in curves])
    every = every[np.isfinite(every)]
    if not len(every):
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    if chart.from_zero and low >= 0:
        low, high = 0.0, high * 1.05 or 1.0
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    return low, high


def _x(steps: Ints, first: int, last: int) -> Floats:
    share = (steps.astype(np.float64) - first) / max(1.0, float(last) - first)
    return np.asarray(_LEFT + share * (WIDTH - _LEFT - _RIGHT), dtype=np.float64)


def _y(values: Floats, low: float, high: float) -> Floats:
    share = values / (high - low) - low / (high - low)
    return np.asarray(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), dtype=np.float64)


def _grid(low: float, high: float, log: bool) -> list[str]:
    parts = []
    for place in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low * (1 - place) + high * place
        y = HEIGHT - _BOTTOM - place * (HEIGHT - _TOP - _BOTTOM)
        shown = number(10.0 ** min(value, 308.0) if log else value, 3)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="label end" x="{_LEFT - 6}" y="{y + 4:.1f}">{escape(shown)}</text>')
    return parts


def _curve(curve: Curve, index: int, steps: tuple[int, int], span: tuple[float, float], chart: Chart) -> list[str]:
    name = kind(chart, index)
    values = _scaled(curve.values, chart.log)
    bad = ~np.isfinite(curve.values)
    parts = [f'<path class="{name}" d="{_path(*_thinned(curve.steps, values, steps), steps, span)}"/>']
    if name == "val" and len(curve.steps) <= _FEW:
        xs, ys = _x(curve.steps[~bad], *steps), _y(values[~bad], *span)
        parts += [
            f'<circle class="val" cx="{x:.1f}" cy="{y:.1f}" r="2"/>'
            for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
            if math.isfinite(y)
        ]
    crosses = sorted({round(x) for x in _x(curve.steps[bad], *steps).tolist()})
    parts += [f'<text class="bad" x="{x - 4}" y="{_TOP + 4}">×</text>' for x in crosses[:: max(1, len(crosses) // 100)]]
    return parts


def _thinned(curve_steps: Ints, values: Floats, steps: tuple[int, int]) -> tuple[Ints, Floats]:
    """At most two points a column, the least and the greatest, so that no spike is lost."""
    if len(values) <= 2 * _COLUMNS:
        return curve_steps, values
    first, last = steps
    low, high, _ = extremes(curve_steps, values, first, last, _COLUMNS)
    middle = first + (np.arange(_COLUMNS) + 0.5) * (last - first + 1) / _COLUMNS
    shown: Bools = np.isfinite(low)
    out_steps = np.repeat(middle[shown], 2).astype(np.int64)
    pairs: Floats = np.stack([low[shown], high[shown]], axis=1)
    pairs[1::2] = pairs[1::2, ::-1]
    return out_steps, pairs.reshape(-1)


def _path(curve_steps: Ints, values: Floats, steps: tuple[int, int], span: tuple[float, float]) -> str:
    words = []
    pen_down = False
    for x, y in zip(_x(curve_steps, *steps).tolist(), _y(values, *span).tolist(), strict=True):
        if not math.isfinite(y):
            pen_down = False
            continue
        words.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = True
    return "".join(words)
