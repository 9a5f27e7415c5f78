"""An adjustment on probation: what the loss does now, against what was foretold of the untouched curve."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_DECAY = 0.5 ** (1 / 8)  # half-life of 8 points, as everywhere else
_DRIFT = 0.75  # CUSUM allowance and limit: no false alarm in the pilot's noise, a median delay of 4 to 6 points
_ALARM = 10.0
_CLIP = 3.0


@dataclass(frozen=True)
class Expectation:
    """The untouched curve as it was foretold when the adjustment was laid on, at a few steps.

    Attributes:
        steps: rising.
        mean: the loss foretold at those steps.
        high: the upper bound at those steps.
        spread: noise of one loss around its trend.
        source: "forecast", or "level" where no forecast could be made and the recent level stands in for it.
    """

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    high: tuple[float, ...]
    spread: float
    source: str = "forecast"

    @classmethod
    def level(cls, step: int, recent: Iterable[float], spread: float) -> Expectation:
        """Stands in where no forecast could be made: the recent level goes on, give or take three spreads."""
        finite = sorted(x for x in recent if math.isfinite(x))
        middle = finite[len(finite) // 2] if finite else math.nan
        return cls((step,), (middle,), (middle + 3 * spread,), spread, "level")

    def at(self, step: int) -> tuple[float, float]:
        """Mean and upper bound at a step, between nodes by a straight line, beyond them the last one."""
        right = bisect_right(self.steps, step)
        if right == 0 or right == len(self.steps):
            index = 0 if right == 0 else -1
            return self.mean[index], self.high[index]
        a, b = self.steps[right - 1], self.steps[right]
        w = (step - a) / (b - a)
        return (
            self.mean[right - 1] * (1 - w) + self.mean[right] * w,
            self.high[right - 1] * (1 - w) + self.high[right] * w,
        )


@dataclass(frozen=True)
class Judgement:
    """What came of a probation: whether the adjustment stays, and the numbers in words."""

    keep: bool
    words: str


def window(planned_steps: int, step: int) -> int:
    """How many points a probation lasts: 64 or 1 % of the plan, but at most a third of what remains.

    >>> window(0, 500), window(100_000, 500), window(600, 510)
    (64, 1000, 30)
    """
    points = max(64, planned_steps // 100)
    if planned_steps > step:
        points = min(points, max(8, (planned_steps - step) // 3))
    return points


def spread(recent: Iterable[float]) -> float:
    """Noise of one loss around its trend, from the median absolute difference of neighbours; never 0.

    >>> spread([1.0, 1.0, 1.0]) > 0
    True
    """
    finite = [x for x in recent if math.isfinite(x)]
    steps = sorted(abs(b - a) for a, b in itertools.pairwise(finite))
    noise = 1.4826 * steps[len(steps) // 2] / math.sqrt(2) if steps else 0.0
    scale = abs(finite[-1]) if finite else 1.0
    return max(noise, 1e-6 * scale, 1e-12)


@dataclass
class Probation:
    """Compares point by point; knows neither clock nor engine, and is stored between commits.

    A cut lowers the loss at once in most runs, by less noise and not by more progress, so it earns nothing by being
    lower: it only must not be worse than what was foretold. A raise costs a little at once, so up to three spreads
    above the upper bound are borne while the probation lasts, and none at its end.

    A job that was breaking when its LR was cut goes on breaking for a while, and nothing was foretold of that. To go
    back up is to go back to what broke it: on fresh seeds of the tuning half taking such cuts back harmed 14 of 702
    jobs and helped 393, leaving them in force harmed 12 and helped 401 (`benchmarks.diagnosis.probations`).

    Attributes:
        adjustment_id: which adjustment.
        raising: whether it raised the LR.
        from_step: the last step of the ramp; points up to it do not count.
        points: how long it lasts.
        expected: see `Expectation`.
        spared: whether it cut the LR of a job that was breaking: it is judged, and never taken back.
        seen: points that have been compared.
        broken: points whose loss was not finite.
        smooth: smoothed loss; NaN before the first point.
        worse: the CUSUM of standardised excess over the upper bound.
    """

    adjustment_id: str
    raising: bool
    from_step: int
    points: int
    expected: Expectation
    spared: bool = False
    seen: int = 0
    broken: int = 0
    smooth: float = math.nan
    worse: float = 0.0

    def observe(self, step: int, loss: float) -> Judgement | None:
        """Take one point in; a judgement ends the probation."""
        if step <= self.from_step:
            return None
        self.seen += 1
        mean, high = self.expected.at(step)
        if not math.isfinite(loss):
            self.broken += 1
            if self.raising:
                return Judgement(False, f"the loss is no longer finite at step {step}, after the LR was raised")
        else:
            before = loss if math.isnan(self.smooth) else self.smooth
            self.smooth = before * _DECAY + loss * (1 - _DECAY)
            bound = high + (3 * self.expected.spread if self.raising else 0.0)
            excess = (loss - bound) / self.expected.spread
            if not math.isnan(excess):
                self.worse = max(0.0, self.worse + min(max(excess, -_CLIP), _CLIP) - _DRIFT)
            if self.worse > _ALARM:
                return self._worse(
                    f"worse than foretold for {self.seen} steps on end: the smoothed loss is {self.smooth:.4g} at step "
                    f"{step}; {self._foretold(mean, high)}"
                )
        if self.seen < self.points:
            return None
        return self._end(step, mean, high)

    def diverged(self, rule: str, step: int) -> Judgement:
        """A divergence or a non-finite value was found anew.

        A raise is taken back at once. A cut is not: going back to an LR under which it was worse helps nobody.
        """
        if self.raising:
            return Judgement(False, f"{rule} fired at step {step}, after the learning rate was raised")
        return Judgement(
            True, f"{rule} fired again at step {step}: the cut was not enough, and going back up would not be better"
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same state."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Probation:
        """Read what `to_json` wrote."""
        fields = dict(data)
        e = fields["expected"]
        fields["expected"] = Expectation(
            tuple(e["steps"]), tuple(e["mean"]), tuple(e["high"]), e["spread"], e["source"]
        )
        return cls(**fields)

    def _worse(self, words: str) -> Judgement:
        if not self.spared:
            return Judgement(False, words)
        return Judgement(True, f"{words}; left in force: the job was breaking at the learning rate that it had before")

    def _foretold(self, mean: float, high: float) -> str:
        if self.expected.source == "level":
            return f"before the change it was {mean:.4g}, up to {high:.4g} with its noise"
        return f"up to {high:.4g} was foretold without the change, {mean:.4g} on average"

    def _end(self, step: int, mean: float, high: float) -> Judgement:
        if 2 * self.broken > self.seen or math.isnan(self.smooth):
            return Judgement(
                True, f"not judged: {self.broken} of {self.seen} losses on probation are not finite; left in force"
            )
        if math.isnan(high):
            return Judgement(True, f"not judged: nothing to compare with; the smoothed loss is {self.smooth:.4g}")
        kept = self.smooth <= high
        words = (
            f"{'not worse' if kept else 'worse'} than foretold after {self.seen} steps: the smoothed loss is "
            f"{self.smooth:.4g} at step {step}; {self._foretold(mean, high)}"
        )
        return Judgement(True, words) if kept else self._worse(words)
