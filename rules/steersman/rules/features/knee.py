"""Whether a fall has stopped short."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved


class Knee(Saved):
    """Fall of the last four points over the steepest fall that four points ever had.

    Near 0 after a steep start, the run has hit something: a floor, or nothing left to learn.

    >>> k = Knee()
    >>> for x in (4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0):
    ...     k.update(x)
    >>> k.ratio
    0.0
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("last", "steepest", "fall", "count", "first")

    def __init__(self) -> None:
        self.last: list[float] = []
        self.steepest = 0.0
        self.fall = 0.0
        self.count = 0
        self.first = 0.0

    def update(self, level: float) -> None:
        """Take a value on its scale."""
        self.count += 1
        if self.count == 1:
            self.first = level
        last = self.last
        last.append(level)
        if len(last) < 4:
            return
        if len(last) > 4:
            del last[0]
        # Least squares through four equidistant points.
        self.fall = 0.3 * (last[0] - last[3]) + 0.1 * (last[1] - last[2])
        if self.fall > self.steepest:
            self.steepest = self.fall

    @property
    def ratio(self) -> float | None:
        """The present fall over the steepest; None before eight points, or where it never fell."""
        if self.count < 8 or self.steepest <= 0.0:
            return None
        return self.fall / self.steepest
