"""What the evaluation of rules may cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from steersman.rules.rule import Rule

Value = float | bool | None

BOUND_US = 1000.0
"""CPU time of one evaluation, in microseconds, beyond which a rule is slow."""

SAMPLE_EVERY = 256
"""Checks between two measurements; a rule that was slow is measured at each check until that is settled."""

STRIKES = 8
"""Measurements in a row, all beyond the bound, after which a rule is stopped."""


@dataclass(frozen=True)
class StoppedRule:
    """A rule that was switched off for one job.

    Attributes:
        rule: its name.
        step: the job's step at which it was.
        reason: why, one sentence with numbers.
    """

    rule: str
    step: int
    reason: str

    def __str__(self) -> str:
        return f"the rule {self.rule} was stopped at step {self.step}: {self.reason}"


class Budget:
    """Measures, now and then, what each rule costs, and names those that cost too much.

    The size of an expression is bounded and its functions are few, so that no rule should ever be slow: some 200 parts
    cost a microsecond or two, or some forty where nothing is known. This is what remains if that should be wrong, or a
    machine far slower. What is measured is the CPU time of this thread, and a rule is slow only if each of eight
    measurements says so: whatever else the machine does cannot stop a rule.

    Args:
        bound_us: CPU time of one evaluation that is too much, in microseconds.
        clock: CPU time of this thread in nanoseconds.
    """

    def __init__(self, bound_us: float = BOUND_US, clock: Callable[[], int] = time.thread_time_ns) -> None:
        self.bound_us = bound_us
        self._clock = clock
        self._wait = 1
        self._strikes: dict[str, list[float]] = {}

    def due(self) -> bool:
        """Count a check; whether it is one at which rules are measured."""
        self._wait -= 1
        return self._wait <= 0

    def measure(self, rules: Sequence[Rule], values: Mapping[str, Value], step: int) -> list[StoppedRule]:
        """Evaluate each rule once more, with the clock beside it; the rules that have been slow for too long."""
        slow: list[StoppedRule] = []
        for rule in rules:
            before = self._clock()
            for condition in (rule.expr, rule.unless, rule.clear):
                if condition is not None:
                    condition.evaluate(values)
            cost = (self._clock() - before) / 1000.0
            if cost <= self.bound_us:
                self._strikes.pop(rule.name, None)
                continue
            strikes = self._strikes.setdefault(rule.name, [])
            strikes.append(cost)
            if len(strikes) >= STRIKES:
                del self._strikes[rule.name]
                slow.append(
                    StoppedRule(
                        rule.name,
                        step,
                        f"too slow: one evaluation took at least {min(strikes):.0f} µs of CPU time in {STRIKES} "
                        f"measurements, where {self.bound_us:.0f} µs are allowed",
                    )
                )
        self._wait = 1 if self._strikes else SAMPLE_EVERY
        return slow
