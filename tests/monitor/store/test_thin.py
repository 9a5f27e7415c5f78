from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.monitor.store import thin
from steersman.rules.samples import Column, Samples

# last, first, smallest and largest number, a NaN, +inf, -inf
MUST_STAY = 7


def of(values: list[float]) -> Samples:
    steps = np.arange(len(values))
    return Samples(steps, steps.astype(np.float64) + 0.5, {"loss": Column.full(values, "nat")})


@given(st.lists(st.floats(width=32), max_size=300), st.integers(0, 60))
def test_what_is_kept_was_there_and_what_matters_is_kept(values: list[float], points: int) -> None:
    samples = of(values)
    kept = thin(samples, points)
    got, stored = kept.columns["loss"].values, samples.columns["loss"].values
    # every point is an original one, in the old order
    assert (np.diff(kept.steps) > 0).all()
    assert got.tobytes() == stored[kept.steps].tobytes()
    assert (kept.times == kept.steps + 0.5).all()
    assert kept.columns["loss"].unit == "nat"
    # the bound
    if points == 0 or len(values) <= points:
        assert len(kept) == len(values)
    else:
        assert 1 <= len(kept) <= points
    # ends, extremes, and what is no number
    if values:
        assert kept.steps[-1] == len(values) - 1
    if 0 < points < min(MUST_STAY, len(values)):
        return  # there is no room for all of them
    if values:
        assert kept.steps[0] == 0
        assert kept.steps[-1] == len(values) - 1
    finite = stored[np.isfinite(stored)]
    if finite.size:
        assert finite.min() in got
        assert finite.max() in got
    assert np.isnan(stored).any() == np.isnan(got).any()
    assert (np.inf in stored) == (np.inf in got)
    assert (-np.inf in stored) == (-np.inf in got)


@pytest.mark.parametrize("points", [40, 200, 1000])
def test_a_screen_is_used_well_and_every_region_is_seen(points: int) -> None:
    rng = np.random.default_rng(1)
    samples = of(rng.normal(size=20_000).tolist())
    kept = thin(samples, points)
    assert points * 0.8 <= len(kept) <= points
    assert np.diff(kept.steps).max() <= 3 * 2 * 20_000 / points


def test_every_spike_of_a_long_flat_curve_is_seen() -> None:
    values = np.ones(10_000)
    values[[1234, 5678, 9000]] = [50.0, -7.0, float("nan")]
    kept = thin(of(values.tolist()), 100)
    assert {1234, 5678, 9000} <= set(kept.steps.tolist())
