"""Stretches of a job that can be judged as one."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved


class Regime(Saved):
    """Where the present regime began, and how long rules stay silent in it.

    A regime begins at the start, when a warm-up ends, when the LR jumps, when the batch size changes for good, when
    steps jump back (a restart), and when our own hand changes the LR. Everything is counted in points, never in
    seconds, so that a job logged every 500 steps is judged by the same number of values as one that is logged at each.

    >>> regime = Regime()
    >>> for _ in range(60):
    ...     regime.tick()
    >>> regime.blanked
    False
    >>> regime.begin("LR jumped", step=60)
    >>> regime.blanked
    True
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("points", "since", "first_step", "reason", "number", "blank")
    INITIAL = 50
    LEAST = 20

    def __init__(self) -> None:
        self.points = 0
        self.since = 0
        self.first_step = -1
        self.reason = "start"
        self.number = 0
        self.blank = self.INITIAL

    def tick(self) -> None:
        """One more point."""
        self.points += 1
        self.since += 1

    def begin(self, reason: str, step: int) -> None:
        """Another regime begins."""
        rest = max(self.INITIAL - self.points, 0)
        self.blank = max(self.LEAST, self.points // 50, rest)
        self.since = 0
        self.first_step = step
        self.reason = reason
        self.number += 1

    @property
    def blanked(self) -> bool:
        """Whether it is too early for rules other than the loudest."""
        return self.since < self.blank
