"""Whether a fall has stopped short."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved


class Knee(Saved):
    """Fall of the last four points over the steepest fall that four points ever had.

    Near 0 after a steep start, the run has hit something: a floor, or nothing left to learn.

    >>> k = Knee()
    >>> for x in (4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0):
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
        count = self.count = self.count + 1
        last = self.last
        last.append(level)
        if count <= 4:
            if count == 1:
                self.first = level
            if count < 4:
                return
        else:
            del last[0]
        a, b, c, d = last
        # Least squares through four equidistant points.
        fall = self.fall = 0.3 * (a - d) + 0.1 * (b - c)
        if fall > self.steepest:
            self.steepest = fall

    @property
    def ratio(self) -> float | None:
        """The present fall over the steepest; None before eight points, or where it never fell."""
        if self.count < 8 or self.steepest <= 0.0:
            return None
        return self.fall / self.steepest
