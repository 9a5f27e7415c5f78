"""From the factor in force to the one that was asked for, a little with each step."""

from __future__ import annotations

import math


def ramp(start: float, target: float, done: int, over: int) -> float:
    """The factor for the step that is number `done` of a ramp of `over` steps, linear in the logarithm of the factor.

    The first step is number 1; with the last, and ever after, the factor is exactly the target. No steps at all means
    at once. A factor that is not positive has no logarithm: there the target holds at once.

    >>> [round(ramp(1.0, 0.25, done, 2), 6) for done in (0, 1, 2, 3)]
    [1.0, 0.5, 0.25, 0.25]
    >>> ramp(1.0, 0.3, 1, 0)
    0.3
    """
    if done >= over or start <= 0.0 or target <= 0.0:
        return target
    if done <= 0:
        return start
    return start * math.exp(math.log(target / start) * done / over)
