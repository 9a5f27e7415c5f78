"""Those that turn the learning rate: others by their published formulas, and the daemon as it would act alone."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt
from benchmarks.diagnosis.listen import pack

from steersman.rules.engine import Engine, JobFacts
from steersman.rules.finding import FindingState, Severity
from steersman.rules.samples import Samples

Floats = npt.NDArray[np.float64]


class Policy(Protocol):
    """Sees a job go by and says what its planned rate is to be multiplied with."""

    factor: float

    def see(self, step: int, loss: float, validation: float | None) -> None:
        """Take a step's loss, and the validation loss where one was taken after it."""


class Hold:
    """A factor from the first step on; 1 is doing nothing."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def see(self, step: int, loss: float, validation: float | None) -> None:
        """See `Policy`."""


class ReduceOnPlateau:
    """torch's ReduceLROnPlateau: factor .1, patience 10, threshold 1e-4 relative.

    Args:
        every: called with the mean training loss of so many steps; 0 is called with each validation loss.
    """

    def __init__(self, every: int = 0) -> None:
        self.factor = 1.0
        self.every = every
        self.best = math.inf
        self.bad = 0
        self.losses: list[float] = []

    def see(self, step: int, loss: float, validation: float | None) -> None:
        """See `Policy`."""
        value = validation
        if self.every:
            self.losses.append(loss)
            value = sum(self.losses) / self.every if len(self.losses) == self.every else None
            if value is not None:
                self.losses.clear()
        if value is None:
            return
        if value < self.best * (1.0 - 1e-4):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.bad > 10:
            self.factor *= 0.1
            self.bad = 0


class Greedy:
    """GreedyLR (2512.14527) as merged in transformers: factor .95, patience 10, threshold 1e-6, each validation loss.

    Its own bounds, 1e-3 and 1, have nothing to do with the task: it gets the daemon's, 1/16 and 16 of the job's rate.
    """

    def __init__(self) -> None:
        self.factor = 1.0
        self.best = math.inf
        self.good = self.bad = 0

    def see(self, step: int, loss: float, validation: float | None) -> None:
        """See `Policy`."""
        if validation is None:
            return
        if validation < self.best - 1e-6:
            self.best = validation
            self.good, self.bad = self.good + 1, 0
        else:
            self.good, self.bad = 0, self.bad + 1
        if self.good > 10:
            self.factor, self.good = min(self.factor / 0.95, 16.0), 0
        if self.bad > 10:
            self.factor, self.bad = max(self.factor * 0.95, 1.0 / 16.0), 0


class Ramp:
    """A factor that is reached linearly."""

    def __init__(self, factor: float, begin: int, over: int, before: float = 1.0) -> None:
        self.factor = before
        self.target, self.begin, self.over, self.before = factor, begin, max(over, 1), before

    def see(self, step: int, loss: float, validation: float | None) -> None:
        """See `Policy`."""
        share = min((step + 1 - self.begin) / self.over, 1.0)
        self.factor = self.before + (self.target - self.before) * share


class Steersman:
    """The daemon under the policy auto, within the limits of the job's owner.

    Between two adjustments it waits for the cooldown. Its probation, which can only take back, is left out.

    Args:
        facts: what is known of the job.
        widest: the total factor lies within the inverse of the first and the second; a job's defaults are (16, 16).
        most: adjustments of a run.
        cooldown: steps between two.
    """

    RAMP = 10

    def __init__(
        self, facts: JobFacts, widest: tuple[float, float] = (16.0, 16.0), most: int = 3, cooldown: int = 200
    ) -> None:
        self.engine = Engine(pack(), facts)
        self._least, self._greatest = 1.0 / widest[0], widest[1]
        self._most = most
        self._cooldown = cooldown
        self.ramp = Ramp(1.0, 0, 1)
        self.actions: list[tuple[int, float, int, str, float]] = []

    @property
    def factor(self) -> float:
        """In force now."""
        return self.ramp.factor

    def see(self, step: int, loss: float, validation: float | None) -> None:
        """See `Policy`."""
        self.ramp.see(step, loss, validation)

    def breaking(self) -> bool:
        """Whether a critical finding fires."""
        return any(f.severity is Severity.CRITICAL and f.state is FindingState.FIRING for f in self.engine.findings())

    def by(self, prescribed: float, asked: float | None) -> float:
        """The factor to act on, from what is prescribed and what is recommended over the rate in force."""
        del asked
        return prescribed

    def read(self, rows: Samples) -> None:
        """Take rows as the daemon gets them, and act on what the diagnosis prescribes."""
        self.engine.feed(rows)
        if len(self.actions) >= self._most:
            return
        said = self.engine.diagnose()
        if said.prescription is None:
            return
        step = said.at_step
        if self.actions and step - self.actions[-1][0] < self._cooldown:
            return
        lr = self.engine.features().get("lr", 0.0)
        now = self.ramp.target
        by = said.prescription.value if said.prescription.kind == "scale" else said.prescription.value / lr
        by = self.by(by, said.recommended_lr.value / lr if said.recommended_lr is not None and lr > 0.0 else None)
        target = min(max(now * by, self._least), self._greatest)
        if abs(math.log(target / now)) < 0.01:
            return
        over = said.prescription.over_steps or self.RAMP
        self.ramp = Ramp(target, step + 1, over, self.ramp.factor)
        self.engine.note_adjustment(step + 1, target / now)
        self.actions.append((step, target / now, over, said.verdict.value, said.confidence))


def lightning_finder(lrs: Floats, losses: Floats) -> float:
    """Lightning's suggestion: the steepest fall of the smoothed loss (beta .98), without the first ten and the last."""
    good = len(losses)
    smooth = np.empty(good)
    mean = 0.0
    for i, loss in enumerate(losses):
        mean = 0.98 * mean + 0.02 * float(loss)
        smooth[i] = mean / (1.0 - 0.98 ** (i + 1))
        if not math.isfinite(smooth[i]) or (i > 1 and smooth[i] > 4.0 * smooth[:i].min()):
            good = i
            break
    if good < 14:
        return float(lrs[max(good - 1, 0)])
    return float(lrs[10 + int(np.argmin(np.gradient(smooth[10 : good - 1])))])
