"""The points of one series as far as a chart needs them: fetched bit by bit, thinned when they grow too many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steersman.tui.feed import Points


class History:
    """Grows at its end; keeps at most four points a column, the extremes among them.

    Args:
        columns: dot columns of the chart.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.steps: NDArray[np.int64] = np.empty(0, np.int64)
        self.values: NDArray[np.float64] = np.empty(0, np.float64)

    @property
    def next_step(self) -> int:
        """The first step that is not here yet."""
        return int(self.steps[-1]) + 1 if len(self.steps) else 0

    def extend(self, points: Points) -> bool:
        """Takes new points in; what is known already is left out. Says whether there was anything new."""
        fresh = points.steps >= self.next_step
        if not fresh.any():
            return False
        self.steps = np.concatenate([self.steps, points.steps[fresh]])
        self.values = np.concatenate([self.values, points.values[fresh]])
        if len(self.steps) > 4 * self.columns:
            keep = thin(self.values, self.columns)
            self.steps, self.values = self.steps[keep], self.values[keep]
        return True


def thin(values: NDArray[np.float64], buckets: int) -> NDArray[np.intp]:
    """Places of the first, least, greatest and one non-finite value of each of `buckets` / 2 equal parts."""
    kept: set[int] = {0, len(values) - 1} if len(values) else set()
    for part in np.array_split(np.arange(len(values)), max(1, buckets // 2)):
        if not len(part):
            continue
        finite = part[np.isfinite(values[part])]
        kept.add(int(part[0]))
        if len(finite):
            kept.update((int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])))
        if len(finite) < len(part):
            kept.add(int(part[~np.isfinite(values[part])][0]))
    return np.array(sorted(kept), np.intp)
