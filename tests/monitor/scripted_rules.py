"""Rules that do what a test says: the daemon is what is tested, not the science."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steersman.monitor.facts import Facts
from steersman.monitor.probation import Expectation
from steersman.rules.budget import StoppedRule
from steersman.rules.finding import Finding, FindingState, Severity
from steersman.rules.samples import Samples
from steersman.rules.verdict import Diagnosis, Prescription, PrescriptionKind, RecommendedLR, Verdict


@dataclass
class ScriptedEngine:
    """Fires `rule` at each step of `fire_at`, resolves when an adjustment is noted; sums what it is fed."""

    script: ScriptedRules
    seen: int = 0
    total: float = 0.0
    step: int = -1
    time: float = 0.0
    first: int = -1
    firing: bool = False
    notes: list[list[float]] = field(default_factory=list)

    def feed(self, samples: Samples) -> Sequence[Finding]:
        if self.script.breaks_at is not None and int(samples.steps[-1]) >= self.script.breaks_at:
            raise ZeroDivisionError("scripted")
        changed = []
        for i, step in enumerate(samples.steps.tolist()):
            self.seen += 1
            self.step, self.time = step, float(samples.times[i])
            loss = samples.columns.get("loss")
            if loss is not None and loss.present[i]:
                self.total += float(loss.values[i])
            if step in self.script.fire_at:
                self.firing, self.first = True, step
                changed.append(self._finding())
        return changed

    def note_adjustment(self, step: int, factor: float) -> None:
        self.notes.append([step, factor])
        self.firing = False

    def findings(self) -> Sequence[Finding]:
        return [] if self.first < 0 else [self._finding()]

    def _finding(self) -> Finding:
        state = FindingState.FIRING if self.firing else FindingState.RESOLVED
        summary = f"seen {self.seen}, sum {self.total!r}, notes {self.notes}"
        verdict = self.script.verdict.value
        return Finding("scripted", state, self.script.severity, verdict, self.first, self.step, self.time, summary)

    def stopped(self) -> Sequence[StoppedRule]:
        slow = self.script.slow_at
        return () if slow is None or self.step < slow else (StoppedRule("scripted", slow, "too slow: it was scripted"),)

    def diagnose(self) -> Diagnosis:
        if not self.firing:
            return Diagnosis(Verdict.HEALTHY, 0.9, None, self.step, self.time, "healthy")
        prescription = Prescription(PrescriptionKind.SCALE, self.script.factor, 4, "scripted", "none")
        recommended = RecommendedLR(0.05, 0.02, 0.1)
        return Diagnosis(
            self.script.verdict,
            0.9,
            self.first,
            self.step,
            self.time,
            "learning rate too high",
            recommended_lr=recommended,
            prescription=prescription,
            lr_is_the_lever=True,
            rules=("scripted",),
        )

    def expectation(self, step: int, steps: int) -> Expectation | None:
        if self.script.foretold is None:
            return None
        value = self.script.foretold
        return Expectation((step, step + steps), (value, value), (value * 1.1, value * 1.1), 0.0)

    def snapshot(self) -> bytes:
        state = {k: v for k, v in self.__dict__.items() if k != "script"}
        return json.dumps(state).encode()


@dataclass(frozen=True)
class ScriptedRules:
    fire_at: frozenset[int] = frozenset()
    verdict: Verdict = Verdict.LR_TOO_HIGH
    severity: Severity = Severity.CRITICAL
    factor: float = 0.5
    foretold: float | None = 3.0
    slow_at: int | None = None
    breaks_at: int | None = None
    rules: int = 1
    files: tuple[str, ...] = ("scripted.yaml",)

    def new(self, facts: Facts) -> ScriptedEngine:
        return ScriptedEngine(self)

    def restore(self, facts: Facts, snapshot: bytes) -> ScriptedEngine:
        state: Mapping[str, Any] = json.loads(snapshot)
        return ScriptedEngine(self, **state)
