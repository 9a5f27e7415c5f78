"""How far the loss stands above where it has been."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved
from steersman.rules.features.smooth import Smooth

BEGINNING = 16
"""Losses that are the beginning of a job: one alone may be high by chance."""


class DrawUp(Saved):
    """Smoothed loss against its best and against its first value, in nats of log-loss.

    `up` is the mean over some 8 points minus the lowest mean over some 32. `above_start` compares with the first value
    of the job: the loss of the model that nobody had touched yet. The draw-up is Page's (1954) sum of a series less its
    lowest value so far, without a slack; BLOOM's and PaLM's logs give such heights of spikes.

    >>> d = DrawUp()
    >>> for x in [1.0] * 100 + [2.0] * 100:
    ...     d.update(x)
    >>> round(d.up, 2), round(d.above_start, 2)
    (1.0, 1.0)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("best", "first", "began", "top", "count")

    def __init__(self) -> None:
        self.fast = Smooth(8.0)
        self.base = Smooth(32.0)
        self.best = 0.0
        self.first = 0.0
        self.began = 0.0
        self.top = 0.0
        self.count = 0

    def update(self, level: float) -> None:
        """Take a loss on its scale."""
        if self.count == 0:
            self.first = self.top = level
        count = self.count = self.count + 1
        if count <= BEGINNING:
            self.began += (level - self.began) / count
        fast = self.fast.update(level)
        if fast > self.top:
            self.top = fast
        base = self.base.update(level)
        if count <= 8 or base < self.best:
            self.best = base

    @property
    def up(self) -> float:
        """Nats above the best."""
        return self.fast.mean - self.best

    @property
    def above_start(self) -> float:
        """Nats above the first value; negative when it has fallen."""
        return self.fast.mean - self.first

    @property
    def below_beginning(self) -> float:
        """Nats that the mean over some 32 points stands below that of the first `BEGINNING`."""
        return self.began - self.base.mean

    @property
    def fell(self) -> float:
        """Nats from the first value down to the best."""
        return self.first - self.best

    @property
    def overshoot(self) -> float:
        """Nats that the smoothed loss once rose above the first value."""
        return self.top - self.first

    def rebase(self, afresh: bool) -> None:
        """A new regime: the best counts from here, what the smoothing remembers stays.

        Args:
            afresh: the first value counts from here, too.
        """
        self.best = max(self.best, self.base.mean, self.fast.mean)
        if afresh:
            self.first = self.began = self.top = self.fast.mean

    def state(self) -> dict[str, object]:
        """See `Saved.state`."""
        return {**super().state(), "fast": self.fast.state(), "base": self.base.state()}

    def load(self, state: dict[str, object]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self.fast.load(state["fast"])  # type: ignore[arg-type]  # a dict, as `state` made it
        self.base.load(state["base"])  # type: ignore[arg-type]
