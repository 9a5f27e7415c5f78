from __future__ import annotations

import pytest
from scipy import stats

from steersman.rules.backtest.interval import PerThousand, Share, mcnemar


def test_exact_intervals_are_those_of_the_books() -> None:
    assert (Share(5, 10).low, Share(5, 10).high) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert (Share(0, 300).low, Share(300, 300).high) == (0.0, 1.0)
    assert Share(0, 300).high == pytest.approx(1.0 - 0.025 ** (1 / 300), abs=1e-9)
    assert PerThousand(0, 1000).high == pytest.approx(3.6889, abs=1e-3)


def test_of_nothing_nothing_is_known() -> None:
    assert (Share(0, 0).value, Share(0, 0).low, Share(0, 0).high) == (None, 0.0, 1.0)
    assert (PerThousand(0, 0).value, PerThousand(0, 0).low, PerThousand(0, 0).high) == (None, 0.0, float("inf"))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_bounds_of_a_rate_leave_two_and_a_half_per_cent_on_either_side(count: int) -> None:
    rate = PerThousand(count, 1000)
    assert stats.poisson.cdf(count, rate.high) == pytest.approx(0.025)
    if count:
        assert stats.poisson.sf(count - 1, rate.low) == pytest.approx(0.025)


def test_mcnemar_looks_only_at_the_runs_of_which_one_is_right() -> None:
    assert mcnemar(1, 8) == pytest.approx(2 * sum(stats.binom.pmf(k, 9, 0.5) for k in (0, 1)))
    assert mcnemar(8, 1) == mcnemar(1, 8)
    assert mcnemar(3, 3) == 1.0
