"""The cosine of a step and its own gradient, from rows as the probe sends them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steersman.rules.engine import Engine
from steersman.rules.facts import JobFacts
from steersman.rules.packs import Pack
from steersman.rules.samples import Column, Samples


def _job(momentum: float, shared: float, norms: bool = True, keep: slice = slice(None), n: int = 2_000) -> Samples:
    """SGD with momentum on gradients of 50 numbers that have a part in common."""
    draw = np.random.default_rng(5)
    common = draw.normal(size=50)
    buffer, theta = np.zeros(50), np.full(50, 10.0)
    rows: dict[str, list[float]] = {
        name: [math.nan] * n for name in ("grad_norm", "update_norm", "weight_norm", "predicted_decrease")
    }
    for step in range(n):
        g = shared * common + draw.normal(size=50)
        buffer = momentum * buffer + g
        rows["grad_norm"][step] = float(np.linalg.norm(g))
        if step % 10 == 9 and step + 1 < n:
            rows["predicted_decrease"][step] = float(1e-3 * g @ buffer)
            rows["update_norm"][step + 1] = float(1e-3 * np.linalg.norm(buffer))
            rows["weight_norm"][step + 1] = float(np.linalg.norm(theta))
    columns = {
        name: Column(np.nan_to_num(np.array(column)), np.isfinite(column))
        for name, column in rows.items()
        if norms or name != "grad_norm"
    }
    columns["loss"] = Column.full([2.0] * n)
    steps = np.arange(n)
    whole = Samples(steps, np.asarray(1.7e9 + steps, np.float64), columns)
    return Samples(
        steps[keep], whole.times[keep], {k: Column(c.values[keep], c.present[keep]) for k, c in columns.items()}
    )


def _c_own(rows: Samples) -> float | None:
    engine = Engine(Pack(), JobFacts("SGD", 2_000))
    engine.feed(rows)
    return engine.features().get("c_own")


def test_without_momentum_a_step_is_its_gradient() -> None:
    assert _c_own(_job(0.0, 0.0)) == pytest.approx(1.0)


def test_momentum_over_noise_and_over_a_gradient_that_stays() -> None:
    assert _c_own(_job(0.9, 0.0)) == pytest.approx(math.sqrt(1.0 - 0.81), abs=0.06)
    assert (_c_own(_job(0.9, 30.0)) or 0.0) > 0.99


def test_it_is_unknown_without_gradient_norms_and_where_the_next_row_is_missing() -> None:
    assert _c_own(_job(0.9, 0.0, norms=False)) is None
    assert _c_own(_job(0.9, 0.0, keep=slice(9, None, 10))) is None
