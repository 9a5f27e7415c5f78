"""Whether a series has left everything it ever was, upwards."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved

_LATELY = 32


class Breakout(Saved):
    """The last two values against the highest of all before them.

    A run that blows up leaves its own past within a few points: three are enough to see it, where a z score needs
    twenty to know what is usual. Two values, because one may be a bad batch. (Records of a series: of n values in no
    order the last two are above all others once in n (n - 1) / 2; Rényi 1962.)

    >>> b = Breakout()
    >>> for x in (0.3, 0.2, 1.2, 3.2):
    ...     b.update(x)
    >>> round(b.low, 1), round(b.high, 1), round(b.rattle, 1)
    (0.9, 2.9, 0.1)

    How far single values lie apart is told from the changes between those before the two, which need no location (von
    Neumann 1941): of independent ones the mean change is 1.13 standard deviations.

    Attributes:
        low: what the lower of the last two stands above all before them; negative where it does not.
        high: the same of the higher.
        rattle: mean change, up or down, from one value to the next among those before them; 0 before the fourth.
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("count", "top", "last", "low", "high", "rattle", "change", "older")

    def __init__(self) -> None:
        self.count = 0
        self.top = 0.0
        self.last = 0.0
        self.low = 0.0
        self.high = 0.0
        self.rattle = 0.0
        self.change = 0.0
        self.older = 0.0

    def update(self, level: float) -> None:
        """Take a value on its scale."""
        self.count = count = self.count + 1
        last = self.last
        if count >= 3:
            top = self.top
            self.low, self.high = (level - top, last - top) if level < last else (last - top, level - top)
        if count == 2 or (count > 2 and last > self.top):
            self.top = last
        if count >= 4:
            self.rattle += (self.older - self.rattle) / min(count - 3, _LATELY)
        self.older = self.change
        self.change = abs(level - last)
        self.last = level

    def burst(self) -> None:
        """Take a value that is beyond all numbers: e times e above the highest."""
        self.update(max(self.top, self.last) + 2.0)
