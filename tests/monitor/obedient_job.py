"""A job that does what it is told, for tests of what is decided."""

from __future__ import annotations

from steersman.monitor.adjustment import (
    Acknowledgement,
    Adjustment,
    Command,
)
from steersman.monitor.control import Control, Policy
from steersman.monitor.docket import Moment
from steersman.monitor.limits import Limits
from steersman.monitor.probation import Expectation
from steersman.rules.verdict import Diagnosis, Prescription, PrescriptionKind, Verdict


def diagnosis(factor: float = 0.5, verdict: Verdict = Verdict.LR_TOO_HIGH) -> Diagnosis:
    prescription = Prescription(PrescriptionKind.SCALE, factor, 0, "too hot", "slower")
    return Diagnosis(verdict, 0.9, 10, 20, 20.0, "learning rate too high", prescription=prescription)


def at(step: int, clock: float = 0.0) -> Moment:
    return Moment(step, float(step), clock, (0.1,))


def control(policy: Policy = Policy.AUTO, **limits: float) -> Control:
    return Control("run", "attempt-1", policy, Limits.asked(limits))


def ack(adjustment_id: str, state: str, step: int, factor: float = 0.5, message: str = "") -> Acknowledgement:
    return Acknowledgement(adjustment_id, 0, state, step, (0.1 * factor,), (0.1,), message, float(step))


def lay_on(c: Control, step: int, *, foretold: float = 3.0, points: int = 10, breaking: bool = False) -> Adjustment:
    """The job obeys the newest command; the comparison begins."""
    return obeyed(c, c.take_commands()[-1], step, foretold=foretold, points=points, breaking=breaking)


def obeyed(
    c: Control, command: Command, step: int, *, foretold: float = 3.0, points: int = 10, breaking: bool = False
) -> Adjustment:
    """The job obeys a command that was taken; the comparison begins."""
    c.acknowledge(ack(command.adjustment_id, "armed", -1), at(step))
    c.acknowledge(ack(command.adjustment_id, "applied", step, command.overlay.number), at(step))
    expected = Expectation((step, step + 100), (foretold, foretold), (foretold * 1.1, foretold * 1.1), 0.05)
    c.put_on_probation(command.adjustment_id, expected, points, breaking=breaking)
    return c.find(command.adjustment_id)


def run_probation(c: Control, adjustment: Adjustment, loss: float, points: int = 10) -> Adjustment:
    first = adjustment.applied_step + adjustment.over_steps + 1
    for step in range(first, first + points):
        c.observe(step, loss, at(step))
    return c.find(adjustment.id)
