"""What two values above everything before them are measured against."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.rules.features.breakout import Breakout


@given(st.lists(st.floats(-20, 20), min_size=4, max_size=30))
def test_the_rattle_knows_nothing_of_the_last_two(values: list[float]) -> None:
    seen = Breakout()
    for value in values:
        seen.update(value)
    changes = np.abs(np.diff(values[:-2]))
    assert seen.rattle == pytest.approx(changes.mean(), abs=1e-9)
    top = max(values[:-2])
    assert (seen.low, seen.high) == pytest.approx((min(values[-2:]) - top, max(values[-2:]) - top), abs=1e-9)
