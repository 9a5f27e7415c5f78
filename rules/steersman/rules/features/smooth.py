"""The exponentially weighted mean that the others are made of."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved


class Smooth(Saved):
    """Exponentially weighted mean (Roberts, Technometrics 1959) with a half-life in points.

    A plain mean until it has seen enough for that.

    Args:
        half_life: points after which a value counts half.

    >>> s = Smooth(8)
    >>> [round(s.update(x), 3) for x in (4.0, 2.0)]
    [4.0, 3.0]
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("mean", "count")

    def __init__(self, half_life: float) -> None:
        self.alpha: float = 1.0 - 2.0 ** (-1.0 / half_life)
        self.mean = 0.0
        self.count = 0

    def update(self, x: float) -> float:
        """Take a finite value; returns the mean."""
        count = self.count = self.count + 1
        weight, mean = self.alpha, self.mean
        if count * weight < 1.0:
            weight = 1.0 / count
        mean += weight * (x - mean)
        self.mean = mean
        return mean

    def reset(self) -> None:
        """Forget everything."""
        self.mean, self.count = 0.0, 0
