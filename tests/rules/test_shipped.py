"""Rules fire on series made for them, beside the cases shipped with the pack; on healthy ones nothing loud does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.rules.engine import Engine, JobFacts, load_pack
from steersman.rules.finding import FindingState, Severity
from steersman.rules.samples import Samples


def _series() -> Any:
    spec = importlib.util.spec_from_file_location("series", Path(__file__).parent / "series.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


s = _series()
nan = float("nan")


def grown(n: int, by: float, over: int) -> np.ndarray:
    return np.asarray(10.0 * (1.0 + (by - 1.0) * np.minimum(np.arange(n) / over, 1.0)))


def overfitting() -> Any:
    n = 1000
    t = np.arange(n)
    val = np.where(t < 400, 2.0 - t / 400, 1.0 + (t - 400) / 400) + 0.01 * np.cos(t)
    return s.job(s.falling(n), val=val)


def broken_gradient(norms: int) -> Any:
    grad = np.ones(120)
    grad[100 : 100 + norms] = np.inf
    return s.job(s.falling(120), grad=grad)


def slow() -> Any:
    n = 700
    loss = np.concatenate([s.falling(150), s.falling(150)[-1] * np.exp(0.0022 * np.arange(n - 150))])
    rise = np.exp(0.012 * np.maximum(np.arange(n) - 300, 0) + 0.01 * np.sin(np.arange(n)))
    return s.job(loss * s.flat(n, 1.0, 0.01), grad=rise, c=0.0)


def spiked() -> Any:
    loss = s.falling(600)
    loss[500] *= 2.0
    return s.job(loss)


FIRES: dict[str, Callable[[], Samples]] = {
    "nonfinite_loss": lambda: s.job(np.where(np.arange(100) < 70, s.falling(100), nan)),
    "nonfinite_gradient": lambda: broken_gradient(6),
    "nonfinite_gradient_once": lambda: broken_gradient(1),
    "runaway": lambda: s.job(np.concatenate([s.falling(200), s.falling(200)[-1] * np.exp(0.03 * np.arange(60))])),
    "slow_divergence": slow,
    "lr_high_no_progress": lambda: s.job(
        np.concatenate([[2.3], s.flat(40, 6.0), s.flat(160, 2.4)]), c=-0.02, r=0.08, weight=grown(201, 5.0, 20)
    ),
    "lr_high_stalled": lambda: s.job(s.stalled(), c=-0.02, r=0.3, weight=grown(300, 1.5, 60)),
    "lr_high": lambda: s.job(s.flat(500, 3.0), c=-0.1, r=0.05, promise=0.05),
    "lr_low": lambda: s.job(s.falling(400, power=0.05), c=0.4, r=0.0005),
    "lr_low_slightly": lambda: s.job(s.falling(400, power=0.1), c=0.3, r=0.003),
    "lr_zero": lambda: s.job(s.flat(200, 3.0), lr=0.0, c=None),
    "plateau_floor": lambda: s.job(s.flat(900, 1.0, 0.01), c=0.0, r=0.001),
    "plateau_stuck": lambda: s.job(s.flat(900, 1.0, 0.01), c=0.2, r=0.01),
    "plateau_unknown": lambda: s.job(s.flat(900, 1.0, 0.01), c=None),
    "overfitting": overfitting,
    "spike": spiked,
}

HEALTHY: dict[str, Callable[[], Samples]] = {
    "constant rate": lambda: s.job(s.falling()),
    "steps still agree a little": lambda: s.job(s.falling(), c=0.05),
    "no direction, no norm": lambda: s.job(s.falling(), c=None),
    "cosine": lambda: s.job(s.falling(), lr=1e-3 * (1 + np.cos(np.pi * np.arange(600) / 600)) / 2),
    "warm-up": lambda: s.job(s.falling(), lr=1e-3 * np.minimum(np.arange(1, 601) / 60, 1.0)),
    "LR dropped by ten on plan": lambda: s.job(s.falling(), lr=np.where(np.arange(600) < 300, 1e-3, 1e-4)),
    "towards zero": lambda: s.job(s.falling(900, power=1.5), r=0.02, weight=grown(900, 2.0, 300)),
    "loss below zero": lambda: s.job(s.falling() - 3.0),
    "noisy": lambda: s.job(s.falling(noise=0.2)),
    "very long steps, but it falls": lambda: s.job(s.falling(power=0.8), r=0.08, weight=grown(600, 2.0, 60)),
}


def fired(samples: Samples, planned: int = 0) -> dict[str, Severity]:
    engine = Engine(load_pack(), JobFacts("AdamW", planned))
    return {f.rule: f.severity for f in engine.feed(samples) if f.state is FindingState.FIRING}


@pytest.mark.parametrize("rule", FIRES)
def test_the_rule_fires(rule: str) -> None:
    declared = {r.name: r.severity for r in load_pack().rules}
    found = fired(FIRES[rule]())
    assert rule in found
    assert found[rule] is declared[rule]


@pytest.mark.parametrize("planned", [0, 600])
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_loud_fires_on_a_healthy_job(name: str, planned: int) -> None:
    found = fired(HEALTHY[name](), planned)
    assert {rule for rule, severity in found.items() if severity is not Severity.INFO} == set()


@pytest.mark.parametrize("rule", ["lr_high_stalled", "lr_high_no_progress", "lr_low", "lr_high", "plateau_stuck"])
def test_without_a_direction_no_rate_is_blamed_for_a_flat_loss(rule: str) -> None:
    samples = FIRES[rule]()
    blind = {k: v for k, v in samples.columns.items() if k in ("loss", "lr/0")}
    found = fired(Samples(samples.steps, samples.times, blind))
    assert "lr_high_stalled" not in found
    assert "lr_low" not in found
    assert "lr_high" not in found


def test_a_loss_of_two_hundred_times_its_level_is_a_spike_however_widely_losses_scatter() -> None:
    """Four standard deviations, because small losses scatter over decades; five nats all the same."""
    scatter = np.random.default_rng(2).uniform(-2.1, 2.1, 400)
    loss = 0.1 * np.exp(scatter)
    assert "spike" not in fired(s.job(loss))
    loss[300] = 0.1 * np.exp(5.3)
    assert fired(s.job(loss))["spike"] is Severity.INFO
