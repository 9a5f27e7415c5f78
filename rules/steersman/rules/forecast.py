"""Where the smoothed loss is going if nobody touches it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steersman.rules.features.panel import Panel


@dataclass(frozen=True)
class Forecast:
    """The smoothed loss so many steps from now, from the job's own trend.

    Attributes:
        steps: how many steps from now.
        value: the loss expected, in the job's own unit.
        low: lower end of a 90 % interval.
        high: upper end of a 90 % interval.
    """

    steps: int
    value: float
    low: float
    high: float


def extrapolate(panel: Panel, steps: int) -> Forecast | None:
    """Draw the trend of the last half of the regime on for so many steps.

    The abscissa is the logarithm of steps (or of the sum of LRs, at the rate in force, where the schedule moves), on
    which the loss of most jobs is close to a straight line over less than an e-fold. The interval has the uncertainty
    of level and slope and the noise of a mean over some 8 points.
    """
    trend = panel.trend()
    if trend is None or steps < 0:
        return None
    if panel.rate.points > 0 and panel.rate.varied:
        total = panel.rate.total + max(panel.rate.now, 0.0) * steps
        x = math.log(total) if total > 0.0 else trend.x
    else:
        x = math.log(panel.step + 2.0 + steps)
    ahead = x - trend.x
    level = trend.y + trend.slope * ahead
    error = math.hypot(trend.error * ahead, trend.noise / 4.0)
    # A mean with a half-life of 8 points has the noise of some 23 equal ones.
    spread = 1.645 * math.hypot(error, panel.z.scale / math.sqrt(23.0))
    back = panel.scale.back
    return Forecast(steps, back(level), back(level - spread), back(level + spread))
