"""What is happening to one rule in one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from steersman.rules.explain import Explanation, Value
from steersman.rules.features.saved import Saved
from steersman.rules.finding import Evidence, Finding, FindingState, Severity
from steersman.rules.rule import Rule

# A look at an enumeration's value costs as much as the rest of a check.
_INACTIVE, _PENDING, _FIRING, _RESOLVED = (
    str(s.value) for s in (FindingState.INACTIVE, FindingState.PENDING, FindingState.FIRING, FindingState.RESOLVED)
)
_INFO = str(Severity.INFO.value)


class Alarm(Saved):
    """A rule's state for one job: inactive, pending, firing, resolved.

    `check` gets the features and the clock, so that what it says depends on nothing else.

    Args:
        rule: what its author wrote.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "status", "severity", "first_step", "last_step", "since", "began", "began_step", "checks", "summary", "evidence"
    )  # fmt: skip

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.status = _INACTIVE
        self.severity = self._usual = str(rule.severity.value)
        self.first_step = -1
        self.last_step = -1
        self.since = 0.0
        self.began = 0
        self.began_step = -1
        self.checks = 0
        self.summary = ""
        self.evidence: list[list[Any]] = []
        self._seen: Mapping[str, Value] | None = None
        self._seen_first: Mapping[str, Value] | None = None
        self._told = tuple(dict.fromkeys((*rule.evidence, *rule.expr.names)))
        self._explanation = Explanation.of(rule.explain)
        self._wanted = tuple(dict.fromkeys((*self._told, *sorted(self._explanation.names))))

    def check(
        self, values: Mapping[str, Value], holds: bool | None, points: int, step: int, time: float, settled: bool
    ) -> bool:
        """Step the state; returns whether it changed.

        Args:
            values: the features.
            holds: whether they make the rule's `expr` true; None is unknown.
            points: points seen so far, the clock of `for`.
            step: the job's step.
            time: of the sample.
            settled: whether enough of the regime has been seen to say that something is over.
        """
        rule = self.rule
        before = self.status
        if not holds and before != _FIRING and before != _PENDING:
            return False
        severity = self._usual
        if holds and rule.unless is not None:
            unless = rule.unless.evaluate(values)
            if unless is None:
                severity = _INFO
            elif unless:
                holds = False
        if before == _FIRING:
            if holds:
                self._see(values, step)
            elif settled and self._over(holds, values):
                self.status = _RESOLVED
        elif holds:
            if before != _PENDING:
                self.began, self.began_step, self.checks = points, step, 0
            self.checks += 1
            self.severity = severity
            self._see(values, step)
            held = self.checks >= rule.hold.count if rule.hold.checks else points - self.began >= rule.hold.count
            self.status = _FIRING if held else _PENDING
            if held:
                self.first_step = step
        elif before == _PENDING:
            self.status = _RESOLVED if self.first_step >= 0 else _INACTIVE
        if self.status == before:
            return False
        self.since = time
        return True

    @property
    def open(self) -> bool:
        """Whether it is pending or firing: an alarm that is not stays as it is until its rule's `expr` holds."""
        return self.status == _PENDING or self.status == _FIRING

    def stop(self, time: float) -> bool:
        """The rule is switched off: what fired is resolved; returns whether its state changed."""
        before = self.status
        if before == _INACTIVE:
            return False
        self.status = _RESOLVED if self.first_step >= 0 else _INACTIVE
        self.since = time if self.status != before else self.since
        return self.status != before

    def _over(self, holds: bool | None, values: Mapping[str, Value]) -> bool:
        if self.rule.clear is None:
            return not holds
        clear = self.rule.clear.evaluate(values)
        return clear if clear is not None else holds is not True

    def _see(self, values: Mapping[str, Value], step: int) -> None:
        # Sentences and evidence are made when someone reads them; what they are made of is kept.
        self.last_step = step
        self._seen = values
        if self.status != _FIRING:
            self._seen_first = values

    def _settle(self) -> None:
        """Put down what was seen last: as numbers, and, as it was before it fired, as a sentence."""
        if self._seen is not None:
            seen, self._seen = self._seen, None
            self.evidence = [[name, float(v)] for name in self._wanted if (v := seen.get(name)) is not None]
        if self._seen_first is not None:
            first, self._seen_first = self._seen_first, None
            self.summary = self._explanation.fill(first)

    def state(self) -> dict[str, Any]:
        """See `Saved.state`."""
        self._settle()
        return super().state()

    def load(self, state: dict[str, Any]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self._seen = self._seen_first = None

    def finding(self) -> Finding:
        """The state as others see it."""
        self._settle()
        return Finding(
            rule=self.rule.name,
            state=FindingState(self.status),
            severity=Severity(self.severity),
            verdict=self.rule.verdict.value,
            first_step=self.first_step,
            last_step=self.last_step,
            since=self.since,
            summary=self._summary(),
            evidence=tuple(self._evidence(name, value) for name, value in self.evidence if name in self._told),
        )

    def _summary(self) -> str:
        """The sentence with the numbers of the last check at which it held: what lasts is told as it stands.

        Where one of them is not known any more, the sentence stays as it was.
        """
        values: dict[str, Value] = {name: value for name, value in self.evidence}
        return self._explanation.fill(values) if values.keys() >= self._explanation.needed else self.summary

    def _evidence(self, name: str, value: float) -> Evidence:
        threshold = self.rule.expr.threshold(name)
        if threshold is None:
            return Evidence(name, value, float("nan"), f"{name} is {value:.3g}")
        side = "above" if value > threshold else "below" if value < threshold else "at"
        return Evidence(name, value, threshold, f"{name} is {value:.3g}, {side} {threshold:g}")
