"""Whether the job changed its batch size for good."""

from __future__ import annotations

import math
from typing import ClassVar

from steersman.rules.features.saved import Saved

CHANGE = math.log(1.2)
ALIKE = math.log(1.05)
NEEDED = 3


class BatchSize(Saved):
    """Follows the examples of a step: another size begins where three samples in a row agree on it.

    The last batch of an epoch is often smaller, and sizes that differ from batch to batch agree on nothing. With the
    batch the noise of losses and gradients changes, and with it what every statistic takes for usual (McCandlish et
    al. 2018).

    >>> b = BatchSize()
    >>> [b.update(x) for x in (32.0, 32.0, 32.0, 7.0, 32.0, 64.0, 64.0, 64.0, 64.0)]
    [False, False, False, False, False, False, False, True, False]
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("size", "other", "seen")

    def __init__(self) -> None:
        self.size = 0.0
        self.other = 0.0
        self.seen = 0

    def update(self, size: float) -> bool:
        """Take a positive size; returns whether another one has just begun."""
        if self.size > 0.0 and abs(math.log(size / self.size)) < CHANGE:
            self.seen = 0
            return False
        if self.seen and abs(math.log(size / self.other)) < ALIKE:
            self.seen += 1
        else:
            self.other, self.seen = size, 1
        if self.seen < NEEDED:
            return False
        first = self.size <= 0.0
        self.size, self.seen = self.other, 0
        return not first
