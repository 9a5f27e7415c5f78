"""Whether Adam's second moment has fallen behind the gradient."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved

BETA2 = 0.999


class StaleMoment(Saved):
    """Squared gradient norm over its exponential mean with Adam's memory, and how long it has been far below it.

    While gradients are small the second moment forgets that they were ever large; the first large one then makes a step
    that is too long (Wortsman et al. 2023, 2304.13013; 2506.04805). What Adam keeps for each weight is here kept for
    the whole: a proxy.

    Args:
        beta2: of Adam, 0.999 where it is not known.

    >>> s = StaleMoment()
    >>> for _ in range(3000):
    ...     s.update(0.01, 1)
    >>> s.update(1.0, 1)
    >>> s.ratio > 5
    True
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("moment", "weight", "ratio", "drought", "was_dry")

    def __init__(self, beta2: float = BETA2) -> None:
        self.beta2 = beta2
        self.moment = 0.0
        self.weight = 0.0
        self.ratio = 1.0
        self.drought = 0
        self.was_dry = 0

    def update(self, norm: float, steps: int) -> None:
        """Take a finite gradient norm that stands for so many steps."""
        square = norm * norm
        weight, moment = self.weight, self.moment
        if weight > 0.0 and moment > 0.0:
            self.ratio = square * weight / moment
        keep = self.beta2 if steps <= 1 else self.beta2 ** min(steps, 100_000)
        self.moment = keep * moment + (1.0 - keep) * square
        self.weight = keep * weight + (1.0 - keep)
        if self.ratio < 0.2:
            self.drought += max(steps, 1)
            self.was_dry = self.drought
        else:
            self.drought = 0
            # A drought is remembered for as long as what it did to the moment.
            self.was_dry = max(self.was_dry - 4 * max(steps, 1), 0) if self.was_dry else 0
