"""What an adjustment would do to a job's learning rate, in numbers and in words, before anybody says yes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.cli import views
from steersman.cli.words import factor, number, plural


@dataclass(frozen=True)
class Plan:
    """The learning rate now and after.

    Attributes:
        from_lr: in force now; None where it is not known.
        to_lr: once it is fully laid on, if the job's own schedule stays where it is; None where it is not known.
        total_factor: on the job's own learning rate afterwards; None where it is not known.
        over_steps: length of the ramp; 0 is at once.
        limits: what the owner allows.
        outside: which bound it breaks, in words; empty where it breaks none.
    """

    from_lr: float | None
    to_lr: float | None
    total_factor: float | None
    over_steps: int
    limits: views.Limits
    outside: str

    def sentences(self) -> tuple[str, ...]:
        """What a person should read before saying yes."""
        ramp = f"over {plural(self.over_steps, 'step')}" if self.over_steps else "at once"
        low, high = factor(self.limits.min_factor), factor(self.limits.max_factor)
        bounds = f"the owner allows {low} to {high}"
        if self.limits.min_lr is not None or self.limits.max_lr is not None:
            bounds += f" and LR {number(self.limits.min_lr or 0.0)} to {number(self.limits.max_lr)}"
        lines = [
            f"LR {number(self.from_lr)} → {number(self.to_lr)}, {ramp}",
            f"total factor on the job's own LR: {factor(self.total_factor)} ({bounds})",
        ]
        if self.outside:
            lines.append(self.outside)
        return tuple(lines)


def plan(job: views.Job, kind: str, value: float | None, over_steps: int, total: float | None = None) -> Plan:
    """What an adjustment of this kind would do to `job` now.

    Args:
        job: as it stands.
        kind: `scale`, `set`, `hold` or `release`.
        value: a factor for `scale`, a learning rate for `set`, else None.
        over_steps: length of the ramp.
        total: the total factor as the daemon computed it, where it did.
    """
    own = _own(job)
    if kind == "scale" and value is not None:
        total = job.total_factor * value if total is None else total
        after = None if own is None else own * total
    elif kind == "set" and value is not None:
        after = value
        if total is None:
            total = value / own if own else None
    elif kind == "release":
        after, total = own, 1.0
    else:
        after, total = job.lr, job.total_factor if total is None else total
    return Plan(job.lr, after, total, over_steps, job.limits, _outside(job.limits, after, total))


def _own(job: views.Job) -> float | None:
    if job.own_lr is not None or job.lr is None:
        return job.own_lr
    return job.lr / job.total_factor  # from a daemon that does not tell


def plan_for(job: views.Job, adjustment: views.Adjustment) -> Plan:
    """What a proposed adjustment would do to `job` now."""
    return plan(job, adjustment.kind, adjustment.value, adjustment.over_steps, adjustment.total_factor)


def plan_revert(job: views.Job, adjustments: Sequence[views.Adjustment], adjustment: views.Adjustment) -> Plan:
    """What taking `adjustment` back would do: what was in force before it is in force again.

    Args:
        job: as it stands.
        adjustments: all of this job, newest last.
        adjustment: the one to take back.
    """
    total = 1.0
    for other in adjustments:
        if other.id == adjustment.id:
            break
        if other.in_force and other.attempt_id == adjustment.attempt_id:
            total = 1.0 if other.kind == "release" else other.total_factor or 1.0
    own = _own(job)
    after = None if own is None else own * total
    return Plan(job.lr, after, total, 0, job.limits, "")


def revertible(adjustments: Sequence[views.Adjustment]) -> views.Adjustment | None:
    """The newest adjustment that can be taken back: in force, or on its way."""
    going = [a for a in adjustments if a.in_force or a.state in ("approved", "armed")]
    return going[-1] if going else None


def waiting(adjustments: Sequence[views.Adjustment]) -> views.Adjustment | None:
    """The newest adjustment that waits for a decision."""
    proposed = [a for a in adjustments if a.waiting]
    return proposed[-1] if proposed else None


def _outside(limits: views.Limits, lr: float | None, total: float | None) -> str:
    slack = 1e-9  # a bound met exactly is met, whatever the last bit says
    if total is not None and total < limits.min_factor * (1 - slack):
        return f"{factor(total)} is below the owner's lowest total factor, {factor(limits.min_factor)}"
    if total is not None and total > limits.max_factor * (1 + slack):
        return f"{factor(total)} is above the owner's highest total factor, {factor(limits.max_factor)}"
    if lr is not None and limits.min_lr is not None and lr < limits.min_lr * (1 - slack):
        return f"LR {number(lr)} is below the owner's lowest, {number(limits.min_lr)}"
    if lr is not None and limits.max_lr is not None and lr > limits.max_lr * (1 + slack):
        return f"LR {number(lr)} is above the owner's highest, {number(limits.max_lr)}"
    return ""
