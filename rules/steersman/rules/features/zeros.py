"""Losses of exactly zero."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved


class Zeros(Saved):
    """How long a loss has been exactly 0.0, and what it was before.

    Some trainers replace a loss that is no number by zero and go on. A loss that is learned away comes down to zero;
    one that was replaced falls there from where it stood.

    >>> z = Zeros()
    >>> for x in (0.25, 0.0, 0.0):
    ...     z.update(x)
    >>> z.run, z.before, z.earlier
    (2, 0.25, 0)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("run", "before", "least", "earlier")

    def __init__(self) -> None:
        self.run = 0
        self.before = 0.0
        self.least = 0.0
        self.earlier = 0

    def update(self, loss: float) -> None:
        """Take a finite loss."""
        if loss == 0.0:
            self.run += 1
            return
        self.earlier += self.run
        self.run = 0
        self.before = loss
        if loss > 0.0 and (self.least == 0.0 or loss < self.least):
            self.least = loss
