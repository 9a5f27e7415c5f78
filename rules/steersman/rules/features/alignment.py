"""How much of a step is the gradient that it was made with."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved
from steersman.rules.features.smooth import Smooth


class Alignment(Saved):
    """Mean cosine of a step and the descent direction of its own gradient, -<g, du> / (|g| |du|).

    It tells what no later gradient can: how much of a step is left of earlier ones. Under momentum b it is 1 where the
    gradient hardly changes and sqrt(1 - b^2), .44 for .9, where successive gradients have nothing in common, so that it
    stands for the noise of the gradient where a cosine of successive steps around 0 may have two causes. For SGD
    without momentum it is 1 always. The promise comes with one row, the length of the step with the next.

    >>> a = Alignment()
    >>> a.promised(step=9, predicted=0.02, norm=1.0)
    >>> a.moved(step=10, length=0.04)
    >>> round(a.mean.mean, 2)
    0.5
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("step", "cosine_length")

    def __init__(self, half_life: float = 16.0) -> None:
        self.mean = Smooth(half_life)
        self.step = -1
        self.cosine_length = 0.0

    def promised(self, step: int, predicted: float, norm: float | None) -> None:
        """Take the decrease that a row's step promises and the norm of its gradient, None where that is unknown."""
        known = norm is not None and norm > 0.0
        self.step = step if known else -1
        self.cosine_length = predicted / norm if norm is not None and known else 0.0

    def moved(self, step: int, length: float) -> None:
        """Take the length of the step before this row; nothing is learned where the row before is missing."""
        if self.step >= 0 and step == self.step + 1:
            self.mean.update(min(max(self.cosine_length / length, -1.0), 1.0))
        self.step = -1

    def reset(self) -> None:
        """A new regime."""
        self.mean.reset()
        self.step = -1

    def state(self) -> dict[str, object]:
        """See `Saved.state`."""
        return {**super().state(), "mean": self.mean.state()}

    def load(self, state: dict[str, object]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self.mean.load(state["mean"])  # type: ignore[arg-type]  # a dict, as `state` made it
