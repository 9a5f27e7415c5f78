"""A series as a small chart with its least, middle and last value; a list of series as a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from steersman.cli import views
from steersman.cli.braille import Canvas
from steersman.cli.words import count, number, plural

_HEIGHT = 10


def series_table(infos: Sequence[views.SeriesInfo]) -> Table:
    """One row a series."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("SERIES", no_wrap=True)
    table.add_column("UNIT")
    table.add_column("POINTS", justify="right")
    for info in infos:
        table.add_row(Text(info.name), Text(info.unit), Text(count(info.points)))
    return table


def series_chart(series: views.Series, width: int) -> Group:
    """One small chart a rank, at most four, and a line of numbers under each."""
    parts: list[RenderableType] = []
    unit = f" [{series.unit}]" if series.unit else ""
    shown = list(series.ranks.items())[:4]
    for rank, points in shown:
        title = f"{series.job}  {series.name}{unit}" + (f"  rank {rank}" if len(series.ranks) > 1 else "")
        parts.append(Text(title, "bold"))
        parts.append(_chart(points, width))
    if len(series.ranks) > len(shown):
        parts.append(Text(f"and {plural(len(series.ranks) - len(shown), 'rank')} more; --rank R shows one", "dim"))
    if not series.ranks:
        parts.append(Text(f"{series.job}  {series.name}: no point yet", "dim"))
    return Group(*parts)


def extremes(steps: Sequence[int], values: Sequence[float], columns: int) -> list[tuple[float, float] | None]:
    """The least and the greatest finite value in each of `columns` equal spans of steps; None where there is none.

    Example:
        >>> extremes([0, 1, 2, 3], [5.0, 1.0, 2.0, 9.0], 2)
        [(1.0, 5.0), (2.0, 9.0)]
    """
    spans: list[tuple[float, float] | None] = [None] * columns
    if not steps:
        return spans
    first, width = steps[0], steps[-1] - steps[0] + 1
    for step, value in zip(steps, values, strict=True):
        if math.isfinite(value):
            place = min(columns - 1, (step - first) * columns // width)
            known = spans[place]
            spans[place] = (value, value) if known is None else (min(known[0], value), max(known[1], value))
    return spans


def _chart(points: views.RankSeries, width: int) -> RenderableType:
    finite = [v for v in points.values if math.isfinite(v)]
    bad = len(points.values) - len(finite)
    if not finite:
        return Text("  no finite value" if bad else "  no point yet", "dim")
    low, high = min(finite), max(finite)
    labels = (number(high), number((low + high) / 2), number(low))
    margin = max(map(len, labels)) + 1
    cells = max(8, width - margin - 1)
    canvas = Canvas(cells, _HEIGHT)
    top = 4 * _HEIGHT - 1
    canvas.trace(
        [
            None if span is None else (_place(span[0], low, high, top), _place(span[1], low, high, top))
            for span in extremes(points.steps, points.values, 2 * cells)
        ]
    )
    text = Text()
    for row, runs in enumerate(canvas.rows()):
        label = {0: labels[0], _HEIGHT // 2: labels[1], _HEIGHT - 1: labels[2]}.get(row, "")
        text.append(f"{label:>{margin - 1}} ", "dim").append("│", "dim")
        text.append("".join(characters for characters, _ in runs) + "\n", "cyan")
    first, last = count(points.steps[0]), count(points.steps[-1])
    text.append(" " * margin + "└" + "─" * cells + "\n", "dim")
    text.append(" " * (margin + 1) + first + last.rjust(max(1, cells - len(first))) + "\n", "dim")
    text.append(" " * (margin + 1) + f"min {number(low)}   median {number(statistics.median(finite))}   ")
    text.append(f"max {number(high)}   last {number(points.values[-1])}")
    if bad:
        text.append(f"   not finite: {bad}", "bold red")
    return text


def _place(value: float, low: float, high: float, top: int) -> int:
    return round((value - low) / (high - low) * top) if high > low else top // 2
