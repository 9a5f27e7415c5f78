"""Whether a series has left everything it ever was, upwards."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved

EARLY = 24
"""Values after which others know how far single ones lie apart."""
_PER_CHANGE = 0.58
"""Mean absolute first over second difference of independent normal values: sqrt(2) over sqrt(6)."""


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
    Neumann 1941): of independent ones the mean change is 1.13 standard deviations. A trend is in the changes too, and
    not in the changes of the changes, which are taken once there are three of them; before that one that has only ever
    risen counts as a trend.

    Attributes:
        low: what the lower of the last two stands above all before them; negative where it does not.
        high: the same of the higher.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "count", "top", "last", "low", "high", "change", "before", "oldest", "first", "second", "climbs",
    )  # fmt: skip

    def __init__(self) -> None:
        self.count = 0
        self.top = 0.0
        self.last = 0.0
        self.low = 0.0
        self.high = 0.0
        # The last three changes; of those before the last two values: their mean, that of their changes, the rises.
        self.change = 0.0
        self.before = 0.0
        self.oldest = 0.0
        self.first = 0.0
        self.second = 0.0
        self.climbs = 0

    def update(self, level: float) -> None:
        """Take a value on its scale."""
        self.count = count = self.count + 1
        last = self.last
        if count >= 3:
            top = self.top
            self.low, self.high = (level - top, last - top) if level < last else (last - top, level - top)
        if count == 2 or (count > 2 and last > self.top):
            self.top = last
        if count < EARLY:
            before = self.before
            if count >= 4:
                self.first += (abs(before) - self.first) / (count - 3)
                if before > 0.0:
                    self.climbs += 1
                if count >= 5:
                    self.second += (abs(before - self.oldest) - self.second) / (count - 4)
            self.oldest, self.before, self.change = before, self.change, level - last
        self.last = level

    @property
    def rattle(self) -> float | None:
        """Mean change from one value to the next before the last two, but for a trend; from the 4th to the 23rd."""
        count = self.count
        if not 4 <= count < EARLY:
            return None
        if count >= 7:
            return min(self.first, _PER_CHANGE * self.second)
        return 0.0 if count >= 5 and self.climbs == count - 3 else self.first

    def burst(self) -> None:
        """Take a value that is beyond all numbers: e times e above the highest."""
        self.update(max(self.top, self.last) + 2.0)
