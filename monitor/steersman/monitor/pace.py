"""How fast a job steps, and when its silence is longer than its pace explains."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

_INTERVALS = 64
_MINUTE = 60.0


@dataclass
class Pace:
    """Steps of the lead rank against its own clock, and when something was last heard on the daemon's.

    Attributes:
        heard_at: when rows last arrived, on the daemon's clock; 0 before the first.
        intervals: the last step intervals, seconds.
        marks: (time, step) over the last minute, at most two a second.
    """

    heard_at: float = 0.0
    intervals: deque[float] = field(default_factory=lambda: deque(maxlen=_INTERVALS))
    marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=150))
    _last: float = math.nan
    _end: tuple[float, int] = (math.nan, -1)

    def rows(self, steps: list[int], times: list[float], clock: float) -> None:
        """Rows of the lead rank have arrived."""
        self.heard_at = clock
        for step, time in zip(steps, times, strict=True):
            gap = time - self._last
            if gap >= 0:
                self.intervals.append(gap)
            self._last = time
            if not self.marks or time - self.marks[-1][0] >= 0.5:
                self.marks.append((time, step))
        self._end = (times[-1], steps[-1])
        while self.marks and times[-1] - self.marks[0][0] > _MINUTE:
            self.marks.popleft()

    def steps_per_second(self) -> float:
        """Over the last minute; NaN where it can't be told."""
        if not self.marks or self._end[0] <= self.marks[0][0] or self._end[1] < self.marks[0][1]:
            return math.nan
        return (self._end[1] - self.marks[0][1]) / (self._end[0] - self.marks[0][0])

    def patience(self) -> float:
        """Seconds of silence that this job's pace explains: 20 of its median steps, at least 30 s."""
        if not self.intervals:
            return 30.0
        return max(30.0, 20 * sorted(self.intervals)[len(self.intervals) // 2])

    def silent(self, clock: float) -> bool:
        """Whether nothing has been heard for longer than that."""
        return self.heard_at > 0 and clock - self.heard_at > self.patience()
