"""On a quadratic bowl all is known in closed form: what the probe samples must be that.

With the loss sum(h x^2) / 2 plain gradient descent at the rate r makes x(t) = (1 - r h)^t x(0). Successive steps agree
where r < 1/h, overshoot where 1/h < r < 2/h, and of the decrease that the gradient promises the share 1 - r k / 2 comes
true, k being the curvature along the step (Nesterov, Introductory Lectures on Convex Optimization, 2004, 1.2.3).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

STEPS = 21


class Bowl:
    """Descends a quadratic from ones; watched like any other job."""

    def __init__(self, curvature: list[float], lr: float, momentum: float = 0.0) -> None:
        self.h = torch.tensor(curvature, dtype=torch.double)
        self.x = torch.nn.Parameter(torch.ones(len(curvature), dtype=torch.double))
        self.optimizer = torch.optim.SGD([self.x], lr=lr, momentum=momentum)
        self.losses: list[float] = []

    def loss(self) -> torch.Tensor:
        return 0.5 * (self.h * self.x**2).sum()

    def descend(self, steps: int = STEPS) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.loss()
            self.losses.append(loss.item())
            loss.backward()
            self.optimizer.step()


def sampled(receiver: Any, name: str) -> dict[int, float]:
    receiver.take()
    return {int(row["step"]): row[name] for row in receiver.rows if name in row}


@pytest.mark.parametrize(("share", "sign"), [(0.1, 1), (0.9, 1), (1.1, -1), (1.9, -1)])
def test_steps_agree_below_one_over_the_curvature_and_overshoot_above(
    probe: Any, receiver: Any, share: float, sign: int
) -> None:
    del probe
    Bowl([2.0], share / 2.0).descend()
    cosines = sampled(receiver, "hypergrad_cos")
    assert sorted(cosines) == [10, 20]
    assert list(cosines.values()) == pytest.approx([sign, sign], abs=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.7, 0.99, 1.6, 1.9])
@pytest.mark.parametrize("curvature", [[2.0], [2.0, 1.0, 0.3, 0.05], [2.0, 1.9, 1.8], [2.0, 0.001]])
def test_cosine_and_promise_are_those_of_theory(
    probe: Any, receiver: Any, share: float, curvature: list[float]
) -> None:
    del probe
    bowl = Bowl(curvature, share / 2.0)
    bowl.descend()
    rate, h = share / 2.0, torch.tensor(curvature, dtype=torch.double)
    factor = 1.0 - rate * h

    def gradient(step: int) -> torch.Tensor:
        return h * factor**step

    for step, cosine in sampled(receiver, "hypergrad_cos").items():
        now, before = gradient(step), gradient(step - 1)
        assert cosine == pytest.approx(float(now @ before / (now.norm() * before.norm())), abs=1e-4)
    promises = sampled(receiver, "predicted_decrease")
    assert sorted(promises) == [9, 19]
    for step, promise in promises.items():
        g = gradient(step)
        assert promise == pytest.approx(rate * float(g @ g), rel=1e-4)
        along = float(g @ (h * g) / (g @ g))
        decrease = bowl.losses[step] - bowl.losses[step + 1]
        assert decrease / promise == pytest.approx(1.0 - rate * along / 2.0, abs=1e-3)


@pytest.mark.parametrize("rate", [0.01, 0.05, 1.0, 3.9])
def test_with_momentum_the_sign_is_that_of_theory(probe: Any, receiver: Any, rate: float) -> None:
    """Heavy-ball descent (Polyak 1964) with the curvature 1: x(t + 1) = (1 + m - r) x(t) - m x(t - 1)."""
    del probe
    Bowl([1.0], rate, momentum=0.95).descend(61)
    before, now, signs = 1.0, 1.0, {}
    for step in range(1, 61):
        before, now = now, (1.95 - rate) * now - 0.95 * before
        signs[step] = math.copysign(1.0, now * (before - now))
    found = sampled(receiver, "hypergrad_cos")
    assert sorted(found) == [10, 20, 30, 40, 50, 60]
    assert {step: round(cosine, 4) for step, cosine in found.items()} == {step: signs[step] for step in found}
