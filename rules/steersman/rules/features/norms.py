"""How far the gradient norm has moved from where it began."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved
from steersman.rules.features.smooth import Smooth

LEARN = 20


class GradientLevel(Saved):
    """Smoothed ln grad norm against the mean of the first 20: what has vanished, and what has grown, in nats.

    A gradient that is a thousandth of what it was is convergence where the loss has fallen, and has vanished where it
    has not. Relative to the job's own start: norms of healthy runs span fourteen decades.

    >>> g = GradientLevel()
    >>> for _ in range(40):
    ...     g.update(0.0)
    >>> for _ in range(80):
    ...     g.update(-7.0)
    >>> round(g.change, 1)
    -7.0
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("count", "start")

    def __init__(self) -> None:
        self.count = 0
        self.start = 0.0
        self.fast = Smooth(8.0)

    def update(self, level: float) -> None:
        """Take ln of a norm."""
        count = self.count = self.count + 1
        if count <= LEARN:
            self.start += (level - self.start) / count
        self.fast.update(level)

    @property
    def change(self) -> float:
        """Nats above the start; negative where it has fallen."""
        return self.fast.mean - self.start

    def state(self) -> dict[str, object]:
        """See `Saved.state`."""
        return {**super().state(), "fast": self.fast.state()}

    def load(self, state: dict[str, object]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self.fast.load(state["fast"])  # type: ignore[arg-type]  # a dict, as `state` made it
