"""What the learning rate does."""

from __future__ import annotations

import math
from typing import ClassVar

from steersman.rules.features.saved import Saved

JUMP = math.log(1.05)


class LearningRate(Saved):
    """Facts of the schedule: the rate, its peak, its phase, its sum, and whether it just jumped.

    A jump is a change of 5 % or more between two points that is also more than three times the change before it, so
    that a warm-up, a cosine or a linear decay never jumps, however seldom it is logged.

    >>> rate = LearningRate()
    >>> [rate.update(lr, 1) for lr in (0.1, 0.1, 0.01)]
    [False, False, True]
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "now",
        "peak",
        "total",
        "points",
        "zeros",
        "zero_run",
        "change",
        "rising",
        "low",
        "high",
        "still",
    )

    def __init__(self) -> None:
        self.now = 0.0
        self.peak = 0.0
        self.total = 0.0
        self.points = 0
        self.zeros = 0
        self.zero_run = 0
        self.change = 0.0
        self.rising = True
        self.low = math.inf
        self.high = 0.0
        self.still = 0

    def update(self, lr: float, steps: int) -> bool:
        """Take a finite rate that was in force for so many steps; returns whether it jumped."""
        before, self.now = self.now, lr
        self.points += 1
        if lr > 0.0:
            self.total += lr * (steps if steps > 1 else 1)
        if lr > self.peak:
            self.peak = lr
        if lr < self.low:
            self.low = lr
        if lr > self.high:
            self.high = lr
        if lr == before:
            # The common case, and the cheapest.
            if lr <= 0.0:
                self.zeros += 1
                self.zero_run += 1
            self.change = 0.0
            self.still += 1
            if self.still >= 4:
                self.rising = False
            return False
        if lr <= 0.0:
            self.zeros += 1
            self.zero_run += 1
            return False
        self.zero_run = 0
        if before <= 0.0:
            return False
        change = math.log(lr) - math.log(before)
        last, self.change = self.change, change
        self.still = 0
        if self.rising:
            # From its first point on it only ever rose: the job warms up.
            self.rising = change > 0.0 and (self.points > 2 or change < math.log(4.0))
            if self.rising:
                return False
        return abs(change) >= JUMP and abs(change) > 3.0 * abs(last)

    def begin(self) -> None:
        """A new regime."""
        self.low = self.high = self.now

    @property
    def warming(self) -> bool:
        """Whether it has only risen so far, and still does."""
        return self.rising and self.points > 1

    @property
    def varied(self) -> bool:
        """Whether it changed by 5 % or more within the regime, without a jump."""
        return self.high > 1.05 * max(self.low, 0.0)

    @property
    def decaying(self) -> bool:
        """Whether it is 5 % or more below the highest of its regime."""
        return self.now < 0.95 * self.high

    @property
    def zero_share(self) -> float:
        """Share of points at a rate of zero."""
        return self.zeros / self.points if self.points else 0.0
