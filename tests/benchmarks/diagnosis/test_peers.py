"""Others' formulas alarm where their authors say they do, and nowhere else on a quiet run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.diagnosis.bootstrap import bootstrap
from benchmarks.diagnosis.peers.detectors import FLAT, SPIKES, Run
from benchmarks.diagnosis.peers.policies import Greedy, ReduceOnPlateau, lightning_finder


def _run(spike: float = 1.0, flat: bool = False) -> Run:
    n = 1000 if flat else 400
    noise = np.random.default_rng(0).normal(0.0, 0.01, size=n)
    loss = (np.ones(n) if flat else 0.5 + 1.5 * np.exp(-np.arange(n) / 150.0)) + noise
    norm = 1.0 + noise
    loss[300:330] *= spike
    norm[300] *= spike
    steps = np.arange(25, n, 25)
    return Run(loss, norm, np.full(n, 0.1), steps, loss[steps])


@pytest.mark.parametrize("name", [n for n in SPIKES if "ZClip" not in n and "Exploding" not in n])
def test_a_spike_is_found_and_a_quiet_run_left_alone(name: str) -> None:
    quiet = [s for s in SPIKES[name](_run()) if s >= 64]
    assert len(quiet) <= 1
    if "Page-Hinkley" in name:
        # Its threshold is in units of the loss: nothing of the size of a spike reaches 50.
        return
    assert any(300 <= step <= 360 for step in SPIKES[name](_run(spike=40.0)))


def test_what_is_not_a_number_is_found() -> None:
    run = _run(spike=math.nan)
    assert next(iter(SPIKES["SageMaker ExplodingTensor"](run))) == 300


@pytest.mark.parametrize("name", list(FLAT))
def test_a_flat_run_is_found(name: str) -> None:
    if name == "hotcb plateau":
        return  # its range of 0.005 is below this noise
    assert list(FLAT[name](_run(flat=True)))


def test_reduce_on_plateau_cuts_after_eleven_that_bring_nothing() -> None:
    policy = ReduceOnPlateau()
    for step in range(12):
        policy.see(step, 1.0, 1.0)
    assert policy.factor == pytest.approx(0.1)


def test_greedy_raises_while_it_improves_and_keeps_its_bounds() -> None:
    policy = Greedy()
    for step in range(12):
        policy.see(step, 1.0, 1.0 - 0.01 * step)
    assert policy.factor == pytest.approx(1.0 / 0.95)
    for step in range(2000):
        policy.see(step, 1.0, 2.0)
    assert policy.factor == pytest.approx(1.0 / 16.0)


def test_the_finder_suggests_where_the_loss_falls_fastest() -> None:
    lrs = np.geomspace(1e-8, 1.0, 100)
    losses = 3.0 - 2.0 / (1.0 + np.exp(-(np.arange(100) - 60.0) / 3.0))
    assert 1e-4 < lightning_finder(lrs, losses) < 1e-1


def test_clusters_that_agree_within_themselves_widen_the_interval() -> None:
    items = [(pair, pair < 5) for pair in range(10) for _ in range(100)]
    low, high = bootstrap(items, lambda item: item[0], lambda item: (float(item[1]), 1.0))
    assert low < 0.3
    assert high > 0.7
