"""How often a loss has spiked of late."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved

MEMORY = 500
APART = 10


class Spikes(Saved):
    """Counts spikes of loss and gradient norm together among the last 500 points, those at least ten points apart.

    One spike is an accident from which most runs recover by themselves; runs that spike again and again were cured by
    a lower rate, a shorter second moment or the removal of batches (Chowdhery et al. 2022, section 5.1; Wortsman et al.
    2023).

    >>> s = Spikes()
    >>> for point in (3, 5, 40, 90):
    ...     s.spiked(point)
    >>> s.recent(100), s.recent(545)
    (3, 1)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("where", "last")

    def __init__(self) -> None:
        self.where: list[int] = []
        self.last = -APART

    def spiked(self, point: int) -> None:
        """The loss stands in a spike at this point."""
        if point >= self.last + APART:
            self.where.append(point)
            if len(self.where) > MEMORY // APART:
                del self.where[0]
        self.last = point

    def recent(self, point: int) -> int:
        """How many there were in the last 500 points up to this one."""
        where = self.where
        while where and where[0] <= point - MEMORY:
            del where[0]
        return len(where)
