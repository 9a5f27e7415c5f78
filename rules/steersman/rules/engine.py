"""One job's features, findings and diagnosis, fed row by row."""

from __future__ import annotations

import json
from typing import Any

from steersman.rules.alarm import Alarm
from steersman.rules.budget import Budget, StoppedRule
from steersman.rules.diagnosis import Diagnostician
from steersman.rules.facts import JobFacts
from steersman.rules.features.panel import Panel
from steersman.rules.finding import Finding, FindingState, Severity
from steersman.rules.forecast import Forecast, extrapolate
from steersman.rules.language.sieve import Sieve
from steersman.rules.packs import Mistake, Pack, PackError, load_pack, shipped_pack
from steersman.rules.rows import RowReader
from steersman.rules.samples import Samples
from steersman.rules.verdict import Diagnosis

__all__ = ["Engine", "Forecast", "JobFacts", "Mistake", "Pack", "PackError", "load_pack", "shipped_pack"]

CHECK_EVERY = 4
"""Points between two checks of the rules; a value that is not finite is checked at once."""

EARLY = 64
"""Points up to which rules are checked at each: a job that is logged seldom may be over by then."""

VERSION = 11
"""Of snapshots; to be raised whenever what a feature, an alarm or the diagnosis keeps changes."""

_LOUDNESS = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}
_ORDER = {FindingState.FIRING: 0, FindingState.PENDING: 1, FindingState.RESOLVED: 2, FindingState.INACTIVE: 3}


class Engine:
    """Watches one job.

    How rows are cut into batches changes nothing, and what is said of a prefix of a job is what the whole job says up
    to there. It takes anything for a row (NaN, infinities, gaps, absent columns, steps that jump back) and never raises
    on it.

    Args:
        pack: the rules.
        facts: what the job said of itself.
        budget: what a rule may cost.
    """

    def __init__(self, pack: Pack, facts: JobFacts, budget: Budget | None = None) -> None:
        self.pack = pack
        self.facts = facts
        self._panel = Panel(facts)
        self._rows = RowReader(self._panel)
        self._watch([Alarm(rule) for rule in pack.rules])
        self._diagnostician = Diagnostician(facts)
        self._coming: list[list[float]] = []
        self._budget = budget or Budget()
        self._stopped: dict[str, StoppedRule] = {}

    def feed(self, samples: Samples) -> list[Finding]:
        """Take rows of one rank; returns the findings whose state changed, in order."""
        changed: list[Finding] = []
        panel, regime, coming, rows = self._panel, self._panel.regime, self._coming, self._rows
        for bad in rows.read(samples):
            if coming and max(panel.step, rows.passed) >= coming[0][0]:
                self._adjust(coming.pop(0)[1])
            if bad is None:
                continue
            points = regime.points
            if bad or points % CHECK_EVERY == 0 or points < EARLY:
                self._check(changed)
        return changed

    def _watch(self, alarms: list[Alarm]) -> None:
        self._alarms = alarms
        whole = len(alarms) == len(self.pack.rules)
        self._sieve = self.pack.sieve if whole else Sieve([alarm.rule.expr for alarm in alarms])
        self._open = {place for place, alarm in enumerate(alarms) if alarm.open}

    def _check(self, changed: list[Finding]) -> None:
        panel = self._panel
        values = panel.values()
        points, step, time = panel.regime.points, panel.step, panel.time
        settled = not panel.regime.blanked
        if self._budget.due():
            for slow in self._budget.measure([a.rule for a in self._alarms], values, step):
                self._stop(slow, changed)
        open_, alarms, sieve = self._open, self._alarms, self._sieve
        # Where nothing holds and nothing is open, which is most of the time, there is nothing to step.
        held = sieve.may_hold(values)
        for place in sorted(open_.union(held)) if open_ or held else ():
            alarm = alarms[place]
            holds = place in held if sieve.settles(place, held) else alarm.rule.expr.evaluate(values)
            if alarm.check(values, holds, points, step, time, settled):
                changed.append(alarm.finding())
                (open_.add if alarm.open else open_.discard)(place)
        self._diagnostician.watch(values, [alarms[place] for place in open_] if open_ else ())
        panel.checked(values)

    def _stop(self, slow: StoppedRule, changed: list[Finding]) -> None:
        self._stopped[slow.rule] = slow
        for alarm in [a for a in self._alarms if a.rule.name == slow.rule]:
            if alarm.stop(self._panel.time):
                changed.append(alarm.finding())
        self._watch([alarm for alarm in self._alarms if alarm.rule.name != slow.rule])

    @property
    def stopped(self) -> tuple[StoppedRule, ...]:
        """The rules that were too slow and are switched off for this job, in the order in which they were."""
        return tuple(self._stopped.values())

    def note_adjustment(self, step: int, factor: float) -> None:
        """Our own hand multiplied the LR by `factor` from `step` on: a new regime, not a surprise."""
        if step > self._panel.step:
            self._coming.append([float(step), float(factor)])
            self._coming.sort()
        else:
            self._adjust(factor)

    def _adjust(self, factor: float) -> None:
        before = self.diagnose()
        self._panel.adjusted += 1
        self._diagnostician.adjusted(factor, before)
        self._panel.begin("adjusted", afresh=True)

    def findings(self) -> list[Finding]:
        """Every finding that is not inactive: firing before pending before resolved, the loudest first."""
        found = [a.finding() for a in self._alarms if a.status != FindingState.INACTIVE.value]
        return sorted(found, key=lambda f: (_ORDER[f.state], _LOUDNESS[f.severity]))

    def diagnose(self) -> Diagnosis:
        """The one cause that best explains what is firing."""
        return self._diagnostician.diagnose(self._panel, self._alarms)

    def features(self) -> dict[str, float]:
        """The features that are known now, by the names that rules use; a truth is 1 or 0."""
        return {name: float(v) for name, v in self._panel.values().items() if v is not None}

    def forecast(self, steps: int) -> Forecast | None:
        """The smoothed loss `steps` from now if nobody touches the job; None where it cannot be told."""
        return extrapolate(self._panel, steps)

    def snapshot(self) -> bytes:
        """The state of everything, for `restore`."""
        state: dict[str, Any] = {
            "version": VERSION,
            "panel": self._panel.state(),
            "group": self._rows.group,
            "together": self._rows.together,
            "alarms": {a.rule.name: a.state() for a in self._alarms},
            "diagnosis": self._diagnostician.state(),
            "coming": self._coming,
            "stopped": [[s.rule, s.step, s.reason] for s in self._stopped.values()],
        }
        return json.dumps(state, separators=(",", ":")).encode()

    @classmethod
    def restore(cls, pack: Pack, facts: JobFacts, blob: bytes) -> Engine:
        """An engine that goes on exactly where the one that was saved stood.

        A rule that the pack has gained since starts inactive; the state of one that it has lost is dropped.

        Raises:
            ValueError: where the blob is not a snapshot of this version.
        """
        state = json.loads(blob)
        if not isinstance(state, dict) or state.get("version") != VERSION:
            raise ValueError("not a snapshot of this engine's version: feed the job's rows again from the start")
        engine = cls(pack, facts)
        try:
            engine._panel.load(state["panel"])
            engine._rows.group, engine._rows.together = state["group"], state["together"]
            for alarm in engine._alarms:
                if alarm.rule.name in state["alarms"]:
                    alarm.load(state["alarms"][alarm.rule.name])
            engine._diagnostician.load(state["diagnosis"])
            engine._coming = state["coming"]
            engine._stopped = {rule: StoppedRule(rule, step, reason) for rule, step, reason in state.get("stopped", [])}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a whole snapshot ({error!r}): feed the job's rows again from the start") from None
        engine._watch([a for a in engine._alarms if a.rule.name not in engine._stopped])
        return engine
