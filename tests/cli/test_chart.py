from __future__ import annotations

import math
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steersman.cli.braille import Canvas
from steersman.cli.chart import Chart, Curve, Mark, draw, extremes
from steersman.cli.report.svg import svg
from steersman.tui.feed import Points
from steersman.tui.history import History, thin

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=300)


def curve(values: list[float], steps: list[int] | None = None) -> Curve:
    at = np.arange(len(values)) if steps is None else np.array(steps)
    return Curve("train", at.astype(np.int64), np.array(values, np.float64), "blue")


def lines(chart: Chart, width: int = 40, height: int = 10) -> list[str]:
    return ["".join(text for text, _ in row) for row in draw(chart, width, height)]


@given(VALUES, st.integers(1, 120))
def test_extremes_keep_the_least_and_the_greatest_of_all(values: list[float], columns: int) -> None:
    c = curve(values)
    low, high, bad = extremes(c.steps, c.values, 0, len(values) - 1, columns)
    finite = [v for v in values if math.isfinite(v)]
    assert bool(bad.any()) == (len(finite) < len(values))
    if finite:
        assert np.nanmin(low) == min(finite)
        assert np.nanmax(high) == max(finite)
    else:
        assert np.isnan(low).all()
    known = ~np.isnan(low)
    assert (low[known] <= high[known]).all()


@given(VALUES, st.integers(1, 120))
def test_thinning_keeps_the_extremes_the_ends_and_what_is_not_finite(values: list[float], buckets: int) -> None:
    array = np.array(values)
    kept = thin(array, buckets)
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    finite = array[np.isfinite(array)]
    if len(finite):
        assert finite.min() in array[kept]
        assert finite.max() in array[kept]
    assert np.isfinite(array).all() == np.isfinite(array[kept]).all()
    assert len(kept) <= 4 * max(1, buckets // 2) + 2


@given(VALUES, st.integers(0, 120), st.integers(0, 40), st.booleans())
def test_any_values_at_any_size_give_a_chart_that_fits(values: list[float], width: int, height: int, log: bool) -> None:
    chart = Chart("loss", (curve(values),), (Mark(0, "▲", "red", line=True),), log)
    drawn = lines(chart, width, height)
    assert len(drawn) <= max(1, height)
    if width >= 24:
        assert all(len(line) <= width for line in drawn)


def test_one_spike_among_many_points_is_seen() -> None:
    values = [1.0] * 5000
    values[2500] = 9.0
    top = lines(Chart("loss", (curve(values),)))[1]
    assert any(character > "\u2800" for character in top)


def test_a_value_that_is_not_finite_leaves_a_cross_on_top() -> None:
    assert "×" in lines(Chart("loss", (curve([1.0, math.nan, 2.0]),)))[1]
    assert "×" not in lines(Chart("loss", (curve([1.0, -1.0, 2.0]),), log=True))[1]


def test_a_scale_from_zero_stays_there_where_all_is_zero() -> None:
    chart = Chart("learning rate", (curve([0.0] * 30),), from_zero=True)
    drawn = lines(chart)
    assert [line.split()[0] for line in drawn if "┤" in line] == ["1", "0.5", "0"]
    assert re.findall(r'class="label end"[^>]*>([^<]*)</text>', svg(chart))[:5] == ["0", "0.25", "0.5", "0.75", "1"]


def test_the_axes_say_the_range() -> None:
    drawn = lines(Chart("loss", (curve([4.0, 3.0, 2.0], [100, 200, 1300]),)))
    assert drawn[0].startswith("loss  2 train")
    assert "4 ┤" in drawn[1]
    assert "2 ┤" in drawn[7]
    assert drawn[9].split() == ["100", "1,300"]


def test_a_mark_stands_at_its_step() -> None:
    drawn = lines(Chart("loss", (curve([1.0] * 100),), (Mark(0, "▲", "red"), Mark(99, "↓", "green", line=True))))
    axis = drawn[8].partition("└")[2]
    assert axis[0] == "▲"
    assert axis[-1] == "↓"
    assert any("┊" in line for line in drawn[1:8])


def test_neighbours_are_joined() -> None:
    canvas = Canvas(4, 2)
    canvas.trace([(0, 0), None, None, (7, 7), (0, 0)])
    dots = [
        bin(ord(c) - 0x2800).count("1") if c != " " else 0 for row in canvas.rows() for text, _ in row for c in text
    ]
    assert sum(dots) == 15  # eight up to the top, seven down again


def test_history_takes_what_is_new_and_stays_small() -> None:
    history = History(50)
    steps = np.arange(10_000, dtype=np.int64)
    values = np.sin(steps / 100.0)
    values[7777] = 50.0
    for start in range(0, 10_000, 500):
        # what overlaps is left out
        part = slice(max(0, start - 10), start + 500)
        assert history.extend(Points(steps[part], values[part]))
    assert not history.extend(Points(steps[:100], values[:100]))
    assert len(history.steps) <= 4 * 50 + 500
    assert 50.0 in history.values
    assert (np.diff(history.steps) > 0).all()
    assert history.next_step == 10_000
