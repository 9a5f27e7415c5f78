"""The trend of a regime, row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.rules.features.trend import PAIRWISE, SLOTS, BlockRing, Trend


def ring(levels: list[float]) -> BlockRing:
    made = BlockRing()
    for step, level in enumerate(levels, 1):
        made.add(math.log(step + 1), math.log(step), level)
    return made


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(200, 1500), st.booleans())
def test_a_trend_stays_where_nothing_is_said_of_a_change(seed: int, n: int, by_lr: bool) -> None:
    made, rng = BlockRing(), np.random.default_rng(seed)
    before: Trend | None = None
    for step in range(1, n):
        changed = made.add(math.log(step + 1), math.log(step), 3.0 + float(rng.standard_normal()))
        now = made.trend(by_lr)
        assert changed or now == before or made.points == 20, step
        before = now


@pytest.mark.parametrize("more", [0, 1])
def test_the_last_block_of_an_odd_number_is_not_in_it(more: int) -> None:
    levels = [3.0 - 0.3 * math.log(k + 1) for k in range(2 * PAIRWISE)]
    blocks = ring(levels)
    while len(blocks.ys) < PAIRWISE + 2 + more:
        blocks.add(math.log(100 + blocks.points), math.log(99 + blocks.points), 50.0 if more else 2.0)
    assert len(blocks.ys) < SLOTS
    found = blocks.trend(by_lr=False)
    assert found is not None
    x, y = np.array(blocks.xs), np.array(blocks.ys)
    n = len(y) - len(y) % 2
    half = slice(n - n // 2, n)
    centre = x[half].mean()
    line = np.polyfit(x[half] - centre, y[half], 1)
    rest = y[half] - np.polyval(line, x[half] - centre)
    assert found.x == pytest.approx(centre)
    assert found.y == pytest.approx(y[half].mean())
    assert found.noise == pytest.approx(math.sqrt(rest @ rest / (n // 2 - 2)))
    assert found.span == pytest.approx(x[n - 1] - x[n - n // 2])
