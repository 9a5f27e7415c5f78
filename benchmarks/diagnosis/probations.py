"""Which adjustments a probation should take back: fresh seeds of the tuning half, run to their ends.

    python -m benchmarks.diagnosis.probations       # some ten minutes on two cores; a line for each way

Every way is the daemon under the policy auto, and only the judgement on what it did differs. No held-out task or
optimizer is loaded.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

from benchmarks.diagnosis.branches import STEPS
from benchmarks.diagnosis.peers.policies import Hold, Ramp, Steersman
from benchmarks.diagnosis.trial import try_all

from steersman.monitor.docket import OWN_RAMP_STEPS
from steersman.monitor.probation import Expectation, Judgement, Probation, spread, window
from steersman.monitor.rulebook import RulebookEngine
from steersman.rules.facts import JobFacts
from steersman.rules.finding import FindingState
from steersman.rules.samples import Samples
from steersman.rules.verdict import Verdict

OCTAVES = (-5, -3, 0, 2, 3, 4, 5, 6, 8)
SEEDS = (101, 102, 103, 104)
TAIL = 64


class Judged(Steersman):
    """The daemon with its probation.

    Args:
        facts: what is known of the job.
        breaking: whether a cut of a job that is breaking is taken back, too.
        cuts: whether any cut is.
    """

    def __init__(self, facts: JobFacts, breaking: bool = True, cuts: bool = True) -> None:
        super().__init__(facts)
        self._breaking, self._cuts = breaking, cuts
        self._tail: deque[float] = deque(maxlen=TAIL)
        self._probation: Probation | None = None
        self._undo = 1.0

    def see(self, step: int, loss: float, validation: float | None) -> None:
        """See `Policy`."""
        super().see(step, loss, validation)
        self._tail.append(loss)
        if self._probation is not None:
            self._judge(step, self._probation.observe(step, loss))

    def read(self, rows: Samples) -> None:
        """See `Steersman`; nothing is asked for while something is on probation."""
        if self._probation is not None:
            for finding in self.engine.feed(rows):
                fired = finding.state is FindingState.FIRING and finding.verdict in (
                    Verdict.DIVERGED,
                    Verdict.NONFINITE,
                )
                if self._probation is not None and fired and finding.first_step > self._probation.from_step:
                    self._judge(finding.first_step, self._probation.diverged(finding.rule, finding.first_step))
            return
        acted = len(self.actions)
        before = self.ramp.target
        super().read(rows)
        if len(self.actions) == acted:
            return
        step, factor, over = self.actions[-1][:3]
        points = window(STEPS, step)
        noise = spread(self._tail)
        # The rows on which it was laid have not come yet: this is the untouched curve.
        told = RulebookEngine(self.engine).expectation(step, over + points)
        expected = Expectation.level(step, self._tail, noise) if told is None else replace(told, spread=noise)
        self._undo = before
        raising = factor > 1.0
        spared = not raising and (not self._cuts or (not self._breaking and self.breaking()))
        self._probation = Probation(str(step), raising, step + 1 + over, points, expected, spared)

    def _judge(self, step: int, judgement: Judgement | None) -> None:
        if judgement is None:
            return
        self._probation = None
        if judgement.keep:
            return
        now = self.ramp.target
        self.ramp = Ramp(self._undo, step + 1, OWN_RAMP_STEPS, self.ramp.factor)
        if math.isfinite(self._undo / now):
            self.engine.note_adjustment(step + 1, self._undo / now)


def ways(said: JobFacts) -> dict[str, Any]:
    """Doing nothing, and the ways of judging."""
    return {
        "nothing": Hold(),
        "never taken back": Steersman(said),
        "taken back": Judged(said),
        "all but cuts of a breaking job": Judged(said, breaking=False),
        "raises only": Judged(said, cuts=False),
    }


if __name__ == "__main__":
    try_all(ways, OCTAVES, SEEDS)
