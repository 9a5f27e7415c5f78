"""Curves as braille: the least and the greatest value of every dot column, so that no spike is lost.

Knows neither Textual nor Rich: takes arrays, returns rows of (characters, style).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from steersman.cli.braille import Canvas
from steersman.cli.palette import CRITICAL, DIM, FAINT
from steersman.cli.words import count, number

Row = list[tuple[str, str]]
Spans = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]

_LARGEST = 1e300


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    name: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    style: str


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step: a sign on the time axis, and a line up through the plot where it acted."""

    step: int
    sign: str
    style: str
    line: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart before it is drawn.

    Attributes:
        title: stands above it.
        curves: the last is drawn on top.
        marks: the last is drawn on top.
        log: whether the values are on a logarithmic scale; values that are not positive are then left out.
        from_zero: whether a linear scale begins at zero.
        empty: what to say where there is no point.
    """

    title: str
    curves: tuple[Curve, ...] = ()
    marks: tuple[Mark, ...] = field(default=())
    log: bool = False
    from_zero: bool = False
    empty: str = "no point yet"


def extremes(steps: NDArray[np.int64], values: NDArray[np.float64], first: int, last: int, columns: int) -> Spans:
    """The least and greatest finite value of each of `columns` equal spans of steps, and where a value is not finite.

    Args:
        steps: ascending.
        values: one a step.
        first: first step of the first span.
        last: last step of the last span.
        columns: number of spans.

    Returns:
        low and high, NaN where a span has no finite value, and a flag for spans with one that is not.
    """
    low = np.full(columns, np.inf)
    high = np.full(columns, -np.inf)
    bad = np.zeros(columns, np.bool_)
    inside = (steps >= first) & (steps <= last)
    steps, values = steps[inside], values[inside]
    place = np.minimum((steps - first) * columns // (last - first + 1), columns - 1)
    finite = np.isfinite(values)
    np.minimum.at(low, place[finite], values[finite])
    np.maximum.at(high, place[finite], values[finite])
    bad[place[~finite]] = True
    none = low > high
    low[none] = high[none] = np.nan
    return low, high, bad


def draw(chart: Chart, width: int, height: int) -> list[Row]:
    """The chart as `height` rows: a title, the plot, the time axis with its marks, and its labels."""
    if width < 12 or height < 4:
        return [[(chart.title[:width], "bold")]]
    curves = [curve for curve in chart.curves if len(curve.steps)]
    title = _title(chart, width)
    if not curves:
        above = (height - 2) // 2
        return [
            title,
            *[[] for _ in range(above)],
            [(chart.empty.center(width), DIM)],
            *[[] for _ in range(height - above - 2)],
        ]
    first = min(int(curve.steps[0]) for curve in curves)
    last = max(int(curve.steps[-1]) for curve in curves)
    plot_height = height - 3
    low, high = _range(curves, chart)
    labels = _labels(low, high, plot_height, chart.log)
    margin = max(map(len, labels.values()))
    cells = width - margin - 2
    rows = _plot(chart, curves, (first, last), (low, high), (cells, plot_height))
    result = [title]
    for row, runs in enumerate(rows):
        label = labels.get(row, "")
        result.append([(f"{label:>{margin}} ", DIM), ("┤" if label else "│", FAINT), *runs])
    result.append([(" " * (margin + 1), ""), ("└", FAINT), *_axis(chart.marks, first, last, cells)])
    left, right = count(first), count(last)
    result.append([(" " * (margin + 2) + left + right.rjust(max(1, cells - len(left))), DIM)])
    return result


def _title(chart: Chart, width: int) -> Row:
    row: Row = [(chart.title, "bold")]
    room = width - len(chart.title)
    for curve in chart.curves:
        if len(curve.values):
            words = f"  {number(float(curve.values[-1]))} {curve.name}".rstrip()
            if len(words) <= room:
                row.append((words, curve.style))
                room -= len(words)
    if chart.log and room >= 5:
        row.append(("  log", DIM))
    return row


def _scaled(curve: Curve, log: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The points of a curve on the chart's scale, without those that a logarithm can not show."""
    if not log:
        # Twice the largest number is none: what a diverged run leaves is drawn at the edge of what can be scaled.
        finite = np.isfinite(curve.values)
        return curve.steps, np.where(finite, np.clip(curve.values, -_LARGEST, _LARGEST), curve.values)
    shown = ~(curve.values <= 0)
    with np.errstate(invalid="ignore"):
        return curve.steps[shown], np.log10(curve.values[shown])


def _range(curves: Sequence[Curve], chart: Chart) -> tuple[float, float]:
    values = np.concatenate([_scaled(curve, chart.log)[1] for curve in curves])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if chart.from_zero and not chart.log and low >= 0:
        low = 0.0
        high = high * 1.08 or 1.0  # a constant close to the upper edge reads as a value, not as a border
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    return low, high


def _labels(low: float, high: float, rows: int, log: bool) -> dict[int, str]:
    """Labels by row: top and bottom, and the middle where there is room."""

    def label(row: int) -> str:
        place = 1 - row / max(1, rows - 1)
        value = low * (1 - place) + high * place
        return number(10.0 ** min(value, 308.0) if log else value, 3)

    chosen = [0, rows - 1] if rows < 5 else [0, (rows - 1) // 2, rows - 1]
    if rows >= 13:
        chosen = [0, (rows - 1) // 4, (rows - 1) // 2, 3 * (rows - 1) // 4, rows - 1]
    return {row: label(row) for row in chosen}


def _plot(
    chart: Chart, curves: Sequence[Curve], steps: tuple[int, int], span: tuple[float, float], size: tuple[int, int]
) -> list[Row]:
    cells, height = size
    low, high = span
    canvas = Canvas(cells, height)
    top = 4 * height - 1
    bad_cells: set[int] = set()
    for curve in curves:
        least, most, bad = extremes(*_scaled(curve, chart.log), *steps, 2 * cells)
        bad_cells.update(int(x) // 2 for x in np.flatnonzero(bad))
        with np.errstate(invalid="ignore"):
            bottom_dots = (least - low) / (high - low) * top
            top_dots = (most - low) / (high - low) * top
        canvas.trace(
            [
                None if math.isnan(a) else (round(a), round(b))
                for a, b in zip(bottom_dots.tolist(), top_dots.tolist(), strict=True)
            ],
            curve.style,
        )
    lines = {_cell(mark.step, *steps, cells): mark.style for mark in chart.marks if mark.line}
    return [_with_lines(runs, lines, bad_cells if row == 0 else set()) for row, runs in enumerate(canvas.rows())]


def _with_lines(runs: Row, lines: dict[int, str], bad: set[int]) -> Row:
    """Puts a dotted line where the plot is empty, and a cross on top where a value was not finite."""
    if not lines and not bad:
        return runs
    result: Row = []
    x = 0
    for characters, style in runs:
        for character in characters:
            if x in bad:
                result.append(("×", f"bold {CRITICAL}"))
            elif character == " " and x in lines:
                result.append(("┊", lines[x]))
            elif result and result[-1][1] == style:
                result[-1] = (result[-1][0] + character, style)
            else:
                result.append((character, style))
            x += 1
    return result


def _cell(step: int, first: int, last: int, cells: int) -> int:
    return max(0, min(cells - 1, (step - first) * cells // (last - first + 1)))


def _axis(marks: Sequence[Mark], first: int, last: int, cells: int) -> Row:
    signs = {_cell(mark.step, first, last, cells): mark for mark in marks if mark.step <= last}
    row: Row = []
    x = 0
    for cell in sorted(signs):
        row.append(("─" * (cell - x), FAINT))
        row.append((signs[cell].sign, signs[cell].style))
        x = cell + 1
    row.append(("─" * (cells - x), FAINT))
    return row
