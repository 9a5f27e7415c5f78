"""What two values above everything before them are measured against."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.rules.features.breakout import Breakout


@given(st.lists(st.floats(-20, 20), min_size=4, max_size=23))
def test_the_rattle_knows_nothing_of_the_last_two(values: list[float]) -> None:
    seen = Breakout()
    for value in values:
        seen.update(value)
    changes = np.diff(values[:-2])
    expected = np.abs(changes).mean()
    if len(changes) >= 4:
        expected = min(expected, 0.58 * np.abs(np.diff(changes)).mean())
    elif len(changes) >= 2 and (changes > 0).all():
        expected = 0.0
    assert seen.rattle == pytest.approx(expected, abs=1e-9)
    top = max(values[:-2])
    assert (seen.low, seen.high) == pytest.approx((min(values[-2:]) - top, max(values[-2:]) - top), abs=1e-9)


@pytest.mark.parametrize("start", [[], [3.0, 2.5, 2.0, 1.5, 1.0]])
def test_a_steady_climb_is_no_rattle(start: list[float]) -> None:
    seen = Breakout()
    for value in [*start, *np.arange(12) * 0.7]:
        seen.update(value)
    assert seen.rattle is not None
    assert seen.low > 2 * seen.rattle


def test_of_independent_values_it_is_their_mean_change() -> None:
    rng = np.random.default_rng(0)
    rattles: list[float] = []
    for _ in range(500):
        seen = Breakout()
        for value in rng.standard_normal(23):
            seen.update(value)
        rattles.append(seen.rattle or 0.0)
        seen.update(0.0)
        assert seen.rattle is None
    assert np.mean(rattles) == pytest.approx(1.1, rel=0.05)
