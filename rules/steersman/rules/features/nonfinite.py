"""Losses and gradients that are no numbers."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved

MEMORY = 50


class Nonfinite(Saved):
    """Counts values that are not finite: all, in a row, and among the last 50 points.

    One gradient norm that is not finite beside a finite loss is a normal day of a loss scaler, which skips that
    step (Micikevicius et al. 2018, 1710.03740); four in 50 points are not.

    >>> n = Nonfinite()
    >>> for finite in (True, False, False):
    ...     n.update(finite)
    >>> n.total, n.run, n.recent
    (2, 2, 2)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("total", "run", "points", "where")

    def __init__(self) -> None:
        self.total = 0
        self.run = 0
        self.points = 0
        self.where: list[int] = []

    def update(self, finite: bool) -> None:
        """Take whether a value was finite."""
        self.points += 1
        if finite:
            self.run = 0
        else:
            self.total += 1
            self.run += 1
            self.where.append(self.points)
        if self.where and self.where[0] <= self.points - MEMORY:
            del self.where[0]

    @property
    def recent(self) -> int:
        """How many among the last 50."""
        return len(self.where)
