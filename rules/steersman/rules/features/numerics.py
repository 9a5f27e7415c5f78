"""What loss scaling and clipping tell of a job's numbers."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved
from steersman.rules.features.smooth import Smooth

MEMORY = 50


class Numerics(Saved):
    """Halvings of the loss scale among the last 50 points, and the share of gradients that were clipped.

    A scaler that doubles its scale until a step overflows, and then halves it, is at work; one that halves it four
    times in 50 points has met gradients that no scale will fit (compare the scale's fall in OPT's logbook). More than
    half of all gradients clipped means that the clip sets the step, not the learning rate (Google's tuning playbook).

    >>> n = Numerics()
    >>> for scale in (8.0, 4.0, 4.0, 2.0):
    ...     n.scaled(scale)
    >>> n.halvings
    2
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("scale", "points", "where")

    def __init__(self) -> None:
        self.scale = 0.0
        self.points = 0
        self.where: list[int] = []
        self.clipped = Smooth(32.0)

    def scaled(self, scale: float) -> None:
        """Take the loss scale of a point."""
        self.points += 1
        if 0.0 < scale < 0.75 * self.scale:
            self.where.append(self.points)
        if self.where and self.where[0] <= self.points - MEMORY:
            del self.where[0]
        self.scale = scale

    def clip(self, before: float, after: float) -> None:
        """Take the gradient norm before and after clipping."""
        self.clipped.update(1.0 if after < 0.999 * before else 0.0)

    @property
    def halvings(self) -> int:
        """Halvings among the last 50 points."""
        return len(self.where)

    def state(self) -> dict[str, object]:
        """See `Saved.state`."""
        return {**super().state(), "clipped": self.clipped.state()}

    def load(self, state: dict[str, object]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self.clipped.load(state["clipped"])  # type: ignore[arg-type]  # a dict, as `state` made it
