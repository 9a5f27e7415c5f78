"""A job as operators and metrics see it: one frozen value, made after each commit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steersman.monitor.adjustment import Adjustment
from steersman.monitor.control import Policy
from steersman.monitor.ending import End, JobState
from steersman.monitor.facts import Facts
from steersman.monitor.job import Job
from steersman.monitor.limits import Limits
from steersman.rules.finding import Finding
from steersman.rules.verdict import Diagnosis


@dataclass(frozen=True)
class JobView:
    """The whole state of one attempt; fields as in the protocol's `Job`."""

    name: str
    attempt: int
    facts: Facts
    state: JobState
    policy: Policy
    limits: Limits
    end: End | None
    ranks_seen: int
    step: int
    last_sample_at: float
    loss: float
    grad_norm: float
    lr: tuple[tuple[str, float], ...]
    own_lr: float
    val_loss: tuple[tuple[str, float], ...]
    steps_per_second: float
    total_factor: float
    diagnosis: Diagnosis | None
    findings: tuple[Finding, ...]
    rows: int
    rows_lost: int
    waiting: int
    recent_loss: tuple[float, ...]
    connected: bool
    adjustments: tuple[Adjustment, ...]
    entered: tuple[tuple[str, int], ...]

    @property
    def ended(self) -> bool:
        """Whether this attempt is over."""
        return self.end is not None


def view(job: Job, clock: float, *, connected: bool) -> JobView:
    """The job as it stands."""
    gauges = job.gauges
    own = gauges.own()
    # Who leaves a job takes the overlay along: from there on its learning rate is its own, and no row says so any more.
    left = job.end is not None and job.end.state is JobState.DETACHED
    return JobView(
        name=job.name,
        attempt=job.attempt,
        facts=job.facts,
        state=job.state(clock),
        policy=job.control.policy,
        limits=job.control.limits,
        end=job.end,
        ranks_seen=max(len(job.rank_steps), len(job.facts.ranks)),
        step=job.step,
        last_sample_at=job.last_sample_at,
        loss=gauges.smooth_loss,
        grad_norm=gauges.grad_norm,
        lr=tuple(zip(gauges.lr, own, strict=True)) if left else tuple(gauges.lr.items()),
        own_lr=own[0] if own else math.nan,
        val_loss=tuple(gauges.val_loss.items()),
        steps_per_second=math.nan if job.end else job.pace.steps_per_second(),
        total_factor=1.0 if left else job.control.in_force.factor(own[0] if own else math.nan),
        diagnosis=job.diagnosis,
        findings=job.findings,
        rows=job.rows,
        rows_lost=sum(job.lost.values()),
        waiting=job.control.waiting(),
        recent_loss=tuple(job.recent),
        connected=connected,
        adjustments=tuple(job.control.adjustments.values()),
        entered=tuple(sorted(job.entered.items())),
    )
