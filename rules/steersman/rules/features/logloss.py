"""The scale on which a loss is judged."""

from __future__ import annotations

import math
import statistics
from typing import ClassVar

from steersman.rules.features.saved import Saved

FLOOR_POINTS = 20
AFFINE_POINTS = 50


class LogLoss(Saved):
    """Logarithm of the loss with a floor, or an affine scale for losses that are not positive.

    In log space most false alarms of a z score vanish (by a factor of 40 at z > 4 over 125,000 healthy steps of a
    pilot). The floor, 1e-4 of the median of the first 20 losses, keeps runs that interpolate from inventing spikes as
    the loss goes to zero. A loss that is not positive among the first 50 (rewards, bounds), and one that
    is negative later, turns the logarithm into asinh((L - median) / (5 scale)), median and scale being those of the
    first 50; what is a percentage then has no meaning, and features that are one are unknown.

    >>> scale = LogLoss()
    >>> round(scale.update(math.e), 3)
    1.0
    >>> scale.affine
    False
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("first", "count", "floor", "affine", "centre", "width")

    def __init__(self) -> None:
        self.first: list[float] = []
        self.count = 0
        self.floor = 0.0
        self.affine = False
        self.centre = 0.0
        self.width = 1.0

    def update(self, loss: float) -> float | None:
        """Take a finite loss; returns it on the scale, or None while an affine scale is still being found."""
        if self.count < AFFINE_POINTS:
            self._learn(loss)
        elif loss < -self.floor:
            self.affine = True
        if self.affine:
            if self.count < AFFINE_POINTS:
                return None
            far = (loss - self.centre) / (5.0 * self.width)
            return math.asinh(min(max(far, -1e300), 1e300))  # infinite where the first were all the same
        if loss < self.floor:
            loss = self.floor
        return math.log(loss if loss > 1e-300 else 1e-300)

    def _learn(self, loss: float) -> None:
        self.count += 1
        self.first.append(loss)
        if loss <= 0.0:
            self.affine = True
        if not self.affine and self.count <= FLOOR_POINTS:
            self.floor = 1e-4 * statistics.median(self.first)
        if self.count == AFFINE_POINTS:
            self.centre = statistics.median(self.first)
            mad = statistics.median([abs(x - self.centre) for x in self.first])
            self.width = max(1.4826 * mad, 1e-3 * abs(self.centre), 1e-300)
            self.first = []

    def back(self, level: float) -> float:
        """From the scale to the job's own unit.

        >>> scale = LogLoss()
        >>> round(scale.back(scale.update(2.0)), 6)
        2.0
        """
        if self.affine:
            return self.centre + 5.0 * self.width * math.sinh(min(max(level, -700.0), 700.0))
        return math.exp(min(level, 700.0))
