"""Whether validation worsens while training improves."""

from __future__ import annotations

import math
import statistics
from typing import Any, ClassVar

from steersman.rules.features.saved import Saved

KEEP = 32


class ValidationSet(Saved):
    """One validation set's last 32 evaluations against its best.

    `rise` is the mean of the last three above the mean of those around the lowest, two before and two after it, in
    standard errors of that difference, the noise of one evaluation being the sd of first differences over sqrt 2 and
    never less than half a percent of the lowest: the one-standard-error idea of Breiman et al. (1984); compare Prechelt
    (1998) for what came of absolute thresholds. The lowest itself is left out: the least of many noisy evaluations is
    low by chance, and an evaluation that is noise alone would stand above it for ever.

    >>> v = ValidationSet()
    >>> for i, x in enumerate([2.0, 1.5, 1.2, 1.0, 1.1, 1.3, 1.6, 2.0, 2.4]):
    ...     v.update(100 * i, x, train=1.5 - 0.2 * i)
    >>> v.rise > 2, v.best_step
    (True, 300)
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "values", "count", "best", "best_step", "best_gap", "gap", "since_best", "around",
    )  # fmt: skip

    def __init__(self) -> None:
        self.values: list[float] = []
        self.count = 0
        self.best = math.inf
        self.best_step = -1
        self.best_gap: float | None = None
        self.gap: float | None = None
        self.since_best = 0
        self.around: list[float] = []
        self._noise: float | None = None

    def update(self, step: int, value: float, train: float | None) -> None:
        """Take a finite evaluation beside the smoothed training loss at the same time."""
        self.count += 1
        self._noise = None
        self.gap = math.log(value) - math.log(train) if train and value > 0.0 and train > 0.0 else None
        self.values.append(value)
        if len(self.values) > KEEP:
            del self.values[0]
        self.since_best += 1
        if value < self.best:
            self.around = self.values[-3:-1]
            self.best, self.best_step, self.best_gap, self.since_best = value, step, self.gap, 0
        elif self.since_best <= 2:
            self.around.append(value)

    @property
    def noise(self) -> float:
        """Noise of one evaluation, in the job's own unit."""
        # Rules are checked far more often than evaluations come.
        if self._noise is None:
            self._noise = self._spread()
        return self._noise

    def _spread(self) -> float:
        least = max(0.005 * abs(self.best), 1e-100)
        if len(self.values) < 4:
            return least
        steps = [b - a for a, b in zip(self.values, self.values[1:], strict=False)]
        # The median of differences keeps the steep start and a steady rise from passing for noise.
        middle = statistics.median(steps)
        spread = 1.4826 * statistics.median([abs(d - middle) for d in steps])
        return max(spread / math.sqrt(2.0), least)

    def load(self, state: dict[str, Any]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self._noise = None

    @property
    def gain(self) -> float:
        """Mean of the last three above that of the evaluations around the best, the job's own unit; 0 without both."""
        last = self.values[-3:]
        return statistics.fmean(last) - statistics.fmean(self.around) if self.around else 0.0

    @property
    def rise(self) -> float | None:
        """The same in standard errors; None before five evaluations."""
        if self.count < 5 or not self.around:
            return None
        return self.gain / (self.noise * math.sqrt(1.0 / 3.0 + 1.0 / len(self.around)))

    @property
    def last(self) -> float:
        """The last evaluation above the best, in percent of the best."""
        return 100.0 * (self.values[-1] - self.best) / abs(self.best) if self.best and self.values else 0.0

    @property
    def gap_rise(self) -> float | None:
        """By how many nats the gap to the training loss has grown since the best evaluation."""
        if self.gap is None or self.best_gap is None:
            return None
        return self.gap - self.best_gap
