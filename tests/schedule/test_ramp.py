from __future__ import annotations

import doctest
import itertools
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.schedule import ramp

factors = st.floats(1e-6, 1e6)


@given(start=factors, target=factors, over=st.integers(1, 500))
def test_it_ends_exactly_at_the_target_and_never_leaves_the_way(start: float, target: float, over: int) -> None:
    low, high = min(start, target), max(start, target)
    values = [ramp(start, target, done, over) for done in range(over + 3)]
    assert values[0] == pytest.approx(start)
    assert values[over:] == [target] * 3
    assert all(low * (1 - 1e-9) <= value <= high * (1 + 1e-9) for value in values)


@given(start=factors, target=factors, over=st.integers(2, 100))
def test_it_is_linear_in_the_logarithm(start: float, target: float, over: int) -> None:
    logs = [math.log(ramp(start, target, done, over)) for done in range(over + 1)]
    steps = [b - a for a, b in itertools.pairwise(logs)]
    assert steps == pytest.approx([steps[0]] * over, abs=1e-9)


def test_no_steps_means_at_once() -> None:
    assert ramp(1.0, 0.5, 1, 0) == 0.5


def test_the_examples_in_the_docstring_hold() -> None:
    outcome = doctest.testmod(sys.modules["steersman.schedule.ramp"])
    assert outcome.attempted
    assert not outcome.failed
