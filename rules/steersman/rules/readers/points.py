"""Series that a log has point by point, until they become a table."""

from __future__ import annotations

from array import array

import numpy as np

from steersman.rules.readers.lines import MAX_ROWS
from steersman.rules.readers.reading import ReadError
from steersman.rules.readers.table import MAX_COLUMNS, Table, from_points

_LARGEST = 1 << 53


class Points:
    """Collects points in the order of writing."""

    def __init__(self) -> None:
        self.count = 0
        self._series: dict[str, tuple[array[int], array[int], array[float], array[float]]] = {}

    def series(self, name: str) -> tuple[array[int], array[int], array[float], array[float]] | None:
        """The arrays of a series, for a loop that has no time for calls: order, steps, values, times."""
        found = self._series.get(name)
        if found is None and len(self._series) < MAX_COLUMNS:
            found = self._series[name] = (array("q"), array("q"), array("d"), array("d"))
        return found

    def add(self, name: str, step: int, value: float, time: float) -> None:
        """Take a point.

        Raises:
            ReadError: there are more of them than fit.
        """
        found = self.series(name)
        self.count += 1
        if self.count > MAX_ROWS:
            raise ReadError(f"it has more than the {MAX_ROWS:,} points that are read")
        if found is not None and -_LARGEST < step < _LARGEST:
            found[0].append(self.count)
            found[1].append(step)
            found[2].append(value)
            found[3].append(time)

    @property
    def names(self) -> list[str]:
        """Of all series, in the order in which they came."""
        return list(self._series)

    @property
    def longest(self) -> int:
        """Points of the longest series."""
        return max((len(arrays[0]) for arrays in self._series.values()), default=0)

    def table(self, by_time: bool = False) -> Table:
        """The table; `by_time`: the clock says in which order the points were written, as where files overlap."""
        shown = {name: arrays for name, arrays in self._series.items() if len(arrays[0])}
        if by_time and shown:
            times = np.concatenate([np.asarray(arrays[3]) for arrays in shown.values()])
            order = np.concatenate([np.asarray(arrays[0]) for arrays in shown.values()])
            rank = np.empty(len(times), dtype=np.int64)
            # Within one tick of the clock there may be several steps, and each series has all of them.
            count = np.concatenate([np.asarray(arrays[1]) for arrays in shown.values()])
            rank[np.lexsort((order, count, times))] = np.arange(len(times))
            start = 0
            for name, (_, steps, values, clock) in list(shown.items()):
                mine = array("q", rank[start : start + len(steps)].tobytes())
                start += len(steps)
                shown[name] = (mine, steps, values, clock)
        return from_points(shown)
