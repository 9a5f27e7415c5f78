"""Whether a loss has come back from a spike."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved

PATIENCE = 2000


class Recovery(Saved):
    """Counts the points since a spike from which the loss has not come back.

    It is back when its mean over some 8 points is within one sd of where it was. Spikes of a 176-billion-parameter run
    were over within 30 points, and the same team saw up to 2,000 (BLOOM's chronicles). After that the new level is
    what there is.

    >>> r = Recovery()
    >>> r.spiked(level=1.0)
    >>> r.update(2.0), r.since
    (None, 1)
    >>> r.update(0.9), r.since
    (None, 0)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("active", "since", "level")

    def __init__(self) -> None:
        self.active = False
        self.since = 0
        self.level = 0.0

    def spiked(self, level: float) -> None:
        """A spike from a level to which it has to come back; another one while it has not is the same spike."""
        if not self.active:
            self.active, self.since, self.level = True, 0, level

    def update(self, smooth: float) -> None:
        """Take the smoothed loss, once a point."""
        if not self.active:
            return
        self.since += 1
        if smooth <= self.level or self.since > PATIENCE:
            self.reset()

    def reset(self) -> None:
        """Nothing to come back from."""
        self.active, self.since = False, 0
