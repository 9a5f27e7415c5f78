"""Whether successive steps agree in direction."""

from __future__ import annotations

import math
from typing import ClassVar

from steersman.rules.features.saved import Saved
from steersman.rules.features.smooth import Smooth


class Hypergradient(Saved):
    """Mean hypergradient cosine and its t statistic.

    The cosine of the step taken before and the descent direction now: positive while the loss would have liked a longer
    step, around zero at the noise floor, negative when steps overshoot (Baydin et al. 2018, 1703.04782; its sign is
    Pflug's stationarity sign, and Cockpit's alpha). A slow classifier of direction, never followed step by step.

    >>> h = Hypergradient()
    >>> for i in range(20):
    ...     h.update(0.3 + 0.05 * (-1) ** i)
    >>> round(h.mean, 2), h.t > 10
    (0.3, True)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("count",)

    def __init__(self, half_life: float = 16.0) -> None:
        self.first = Smooth(half_life)
        self.second = Smooth(half_life)
        self.count = 0

    def update(self, cosine: float) -> None:
        """Take a finite cosine."""
        self.count += 1
        self.first.update(cosine)
        self.second.update(cosine * cosine)

    @property
    def mean(self) -> float:
        """The weighted mean."""
        return self.first.mean

    @property
    def t(self) -> float:
        """Mean over its standard error; 0 below three samples."""
        if self.count < 3:
            return 0.0
        # An exponential weight has the memory of (2 - alpha) / alpha equal ones.
        n = min(float(self.count), (2.0 - self.first.alpha) / self.first.alpha)
        variance = max(self.second.mean - self.mean * self.mean, 0.0) * n / (n - 1.0)
        return self.mean / math.sqrt(max(variance, 1e-6) / n)

    def reset(self) -> None:
        """A new regime: another LR has another cosine."""
        self.count = 0
        self.first.reset()
        self.second.reset()

    def state(self) -> dict[str, object]:
        """See `Saved.state`."""
        return {**super().state(), "first": self.first.state(), "second": self.second.state()}

    def load(self, state: dict[str, object]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self.first.load(state["first"])  # type: ignore[arg-type]  # a dict, as `state` made it
        self.second.load(state["second"])  # type: ignore[arg-type]
