from __future__ import annotations

import pytest

from steersman.agent.measure.figures import compared, low, timed, typical


def test_steps_are_compared_with_the_same_step_of_other_blocks() -> None:
    """Every second step does more; one block of three was disturbed, and the middle does not see it."""
    bare = [[1.0, 1.0], [1.0, 1.0], [9.0, 9.0]]
    assert typical(bare) == 1.0
    added = compared([[1.1, 1.3], [1.1, 1.3], [1.1, 1.3]], bare)
    assert added.us == pytest.approx(0.2e6)
    assert added.percent == pytest.approx(20)
    assert added.quartiles_us[0] == pytest.approx(-7.8e6)
    assert added.quartiles_percent[0] == pytest.approx(-780)
    assert added.low_us == pytest.approx(0.2e6)


def test_what_was_timed_by_itself_needs_no_difference() -> None:
    added = timed([0.01, 0.03, 0.02], [[1.0], [3.0], [2.0]])
    assert (added.us, added.percent) == pytest.approx((20_000, 1.0))
    assert added.low_percent == pytest.approx(1.0)
    assert added.quartiles_us == pytest.approx((10_000, 30_000))


def test_low_is_the_tenth_part() -> None:
    assert low([float(n) for n in range(100, 0, -1)]) == 11
