"""What the loss does once the learning rate has risen beyond all that it was before."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved


class Surge(Saved):
    """The loss against where it stood when the LR surged: rose at once to more than twice its highest so far.

    A warm-up rises in small steps, and cycles and restarts come back to a peak that was there before: none of them
    surges. Afterwards everything else begins a new regime and waits until it knows what is usual, while here the
    comparison is with what was usual before, which is known.

    >>> surge = Surge()
    >>> surge.begin(0.8, peak=0.1, level=1.0, noise=0.1)
    >>> for x in (1.0, 1.3, 1.4, 1.5):
    ...     surge.update(x)
    >>> round(surge.stands, 1), round(surge.top, 1)
    (0.4, 0.4)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("peak", "level", "noise", "since", "mean", "last", "top")
    LEAST = 2.0
    """How far beyond its highest the LR has to rise."""
    WATCHED = 64
    """Points for which the comparison goes on."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.level = 0.0
        self.noise = 0.0
        self.since = self.WATCHED
        self.mean = 0.0
        self.last = 0.0
        self.top = 0.0

    @property
    def active(self) -> bool:
        """Whether the comparison still goes on."""
        return self.since < self.WATCHED

    def begin(self, lr: float, peak: float, level: float, noise: float) -> None:
        """The LR rose to `lr`; where that is a surge, everything after it is compared with this.

        Args:
            lr: in force from now on.
            peak: the highest before.
            level: smoothed loss, on its scale.
            noise: standard deviation of single losses around it.
        """
        if self.active or not 0.0 < self.LEAST * peak < lr or noise <= 0.0:
            return
        self.peak, self.level, self.noise = peak, level, noise
        self.since, self.top = 0, 0.0
        self.mean = self.last = level

    def update(self, level: float) -> None:
        """Take a loss on its scale."""
        self.since += 1
        if self.since > 1:  # the first was made by the weights of before
            self.mean += (level - self.mean) / min(self.since - 1, 8)
            self.top = max(self.top, min(level, self.last) - self.level)
            self.last = level

    @property
    def stands(self) -> float:
        """How far the mean of the last eight losses, or of those there are, stands above the level of before."""
        return self.mean - self.level
