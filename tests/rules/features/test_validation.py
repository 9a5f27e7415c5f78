"""Evaluations that are noise alone are no overfitting, and ones that turn are, through the same noise."""

from __future__ import annotations

import numpy as np
import pytest

from steersman.rules.features.validation import ValidationSet

LIMIT = 3.0  # of the rule `overfitting`


def risen(values: np.ndarray) -> int:
    """Evaluations in a row, at most, at which a set stands beyond the limit."""
    found, most, run = ValidationSet(), 0, 0
    for step, value in enumerate(values):
        found.update(step, float(value), train=1.0)
        run = run + 1 if (found.rise or 0.0) > LIMIT else 0
        most = max(most, run)
    return most


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.2])
def test_noise_alone_seldom_rises(noise: float) -> None:
    rng = np.random.default_rng(3)
    falling = 2.0 * np.arange(1, 61) ** -0.1
    flat = np.full(60, 1.5)
    called = [
        risen(level * np.exp(noise * rng.standard_normal(60))) >= 3 for level in (falling, flat) for _ in range(100)
    ]
    assert np.mean(called) < 0.04


@pytest.mark.parametrize("noise", [0.01, 0.02])
def test_a_turn_is_seen_through_noise(noise: float) -> None:
    rng = np.random.default_rng(4)
    turning = np.concatenate([np.linspace(2.0, 1.0, 20), np.linspace(1.0, 1.6, 30)])
    called = [risen(turning * np.exp(noise * rng.standard_normal(50))) >= 3 for _ in range(100)]
    assert np.mean(called) > 0.95
