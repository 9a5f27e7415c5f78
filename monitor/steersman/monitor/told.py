"""Views as operators get them: the daemon's words into the protocol's."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from steersman.monitor.adjustment import Adjustment, AdjustmentKind, AdjustmentState
from steersman.monitor.control import Policy
from steersman.monitor.ending import JobState
from steersman.monitor.inquiries import Source
from steersman.monitor.ledger import LedgerEntry, canonical
from steersman.monitor.store.contract import EventRecord, LedgerRecord
from steersman.monitor.view import JobView
from steersman.rules.finding import Finding, FindingState, Severity
from steersman.rules.samples import Samples
from steersman.rules.verdict import Diagnosis
from steersman.v1 import operator_pb2 as pb
from steersman.v1 import types_pb2 as types

_POLICY = {
    Policy.OBSERVE: types.POLICY_OBSERVE,
    Policy.ADVISE: types.POLICY_ADVISE,
    Policy.APPROVE: types.POLICY_APPROVE,
    Policy.AUTO: types.POLICY_AUTO,
}
_STATE = {
    JobState.STARTING: pb.JOB_STATE_STARTING,
    JobState.RUNNING: pb.JOB_STATE_RUNNING,
    JobState.SILENT: pb.JOB_STATE_SILENT,
    JobState.FINISHED: pb.JOB_STATE_FINISHED,
    JobState.FAILED: pb.JOB_STATE_FAILED,
    JobState.KILLED: pb.JOB_STATE_KILLED,
    JobState.LOST: pb.JOB_STATE_LOST,
    JobState.DETACHED: pb.JOB_STATE_DETACHED,
}
_FINDING = {
    FindingState.INACTIVE: types.FINDING_STATE_INACTIVE,
    FindingState.PENDING: types.FINDING_STATE_PENDING,
    FindingState.FIRING: types.FINDING_STATE_FIRING,
    FindingState.RESOLVED: types.FINDING_STATE_RESOLVED,
}
_SEVERITY = {
    Severity.INFO: types.SEVERITY_INFO,
    Severity.WARNING: types.SEVERITY_WARNING,
    Severity.CRITICAL: types.SEVERITY_CRITICAL,
}
_ADJUSTMENT = {
    AdjustmentState.PROPOSED: types.ADJUSTMENT_STATE_PROPOSED,
    AdjustmentState.APPROVED: types.ADJUSTMENT_STATE_APPROVED,
    AdjustmentState.ARMED: types.ADJUSTMENT_STATE_ARMED,
    AdjustmentState.APPLIED: types.ADJUSTMENT_STATE_APPLIED,
    AdjustmentState.PROBATION: types.ADJUSTMENT_STATE_PROBATION,
    AdjustmentState.KEPT: types.ADJUSTMENT_STATE_KEPT,
    AdjustmentState.REVERTED: types.ADJUSTMENT_STATE_REVERTED,
    AdjustmentState.REFUSED: types.ADJUSTMENT_STATE_REFUSED,
    AdjustmentState.EXPIRED: types.ADJUSTMENT_STATE_EXPIRED,
}
_KIND = {
    "scale": types.ADJUSTMENT_KIND_SCALE,
    "set": types.ADJUSTMENT_KIND_SET,
    "hold": types.ADJUSTMENT_KIND_HOLD,
    "release": types.ADJUSTMENT_KIND_RELEASE,
}
KINDS = {number: AdjustmentKind(word) for word, number in _KIND.items()}
"""From the protocol's kinds to ours."""


def job(seen: JobView) -> pb.Job:
    """A job."""
    facts, end, limits = seen.facts, seen.end, seen.limits
    return pb.Job(
        name=seen.name,
        attempt_id=facts.attempt_id,
        attempt=seen.attempt,
        state=_STATE[seen.state],
        policy=_POLICY[seen.policy],
        limits=types.Limits(
            min_factor=limits.min_factor,
            max_factor=limits.max_factor,
            min_lr=limits.min_lr,
            max_lr=limits.max_lr,
            max_adjustments=limits.max_adjustments,
            cooldown_steps=limits.cooldown_steps,
        ),
        host=facts.host,
        user=facts.user,
        command=facts.command,
        world_size=facts.world_size,
        ranks_seen=seen.ranks_seen,
        started_at=facts.started_at,
        ended_at=end.time if end else 0.0,
        exit_code=end.exit_code if end else 0,
        signal=end.signal if end else 0,
        end_message=end.message if end else "",
        step=seen.step,
        last_sample_at=seen.last_sample_at,
        loss=seen.loss,
        grad_norm=seen.grad_norm,
        lr=seen.lr[0][1] if seen.lr else math.nan,
        own_lr=None if math.isnan(seen.own_lr) else seen.own_lr,
        val_loss=seen.val_loss[0][1] if seen.val_loss else math.nan,
        steps_per_second=seen.steps_per_second,
        total_factor=seen.total_factor,
        diagnosis=diagnosis(seen.diagnosis) if seen.diagnosis else None,
        findings=[finding(f) for f in seen.findings],
        rows=seen.rows,
        rows_lost=seen.rows_lost,
        waiting_adjustments=seen.waiting,
        planned_steps=facts.planned_steps,
        recent_loss=seen.recent_loss,
        way_in=facts.way_in,
        agent_connected=seen.connected,
    )


def finding(told: Finding) -> types.Finding:
    """A finding."""
    return types.Finding(
        rule=told.rule,
        state=_FINDING[told.state],
        severity=_SEVERITY[told.severity],
        verdict=told.verdict,
        first_step=told.first_step,
        last_step=told.last_step,
        summary=told.summary,
        evidence=[
            types.Evidence(name=e.name, value=e.value, threshold=e.threshold, text=e.text) for e in told.evidence
        ],
        since=told.since,
    )


def diagnosis(told: Diagnosis) -> types.Diagnosis:
    """A diagnosis."""
    lr, prescription = told.recommended_lr, told.prescription
    return types.Diagnosis(
        verdict=told.verdict.value,
        confidence=told.confidence,
        onset_step=-1 if told.onset_step is None else told.onset_step,
        at_step=told.at_step,
        time=told.time,
        headline=told.headline,
        evidence_for=told.evidence_for,
        evidence_against=told.evidence_against,
        would_refute=told.would_refute,
        recommended_lr=types.RecommendedLr(value=lr.value, low=lr.low, high=lr.high) if lr else None,
        prescription=types.Prescription(
            kind=_KIND[prescription.kind.value],
            value=prescription.value,
            over_steps=prescription.over_steps,
            reason=prescription.reason,
            risk=prescription.risk,
            expected=types.ExpectedEffect(**dataclasses.asdict(prescription.expected))
            if prescription.expected
            else None,
        )
        if prescription
        else None,
        lr_is_the_lever=told.lr_is_the_lever,
        rules=told.rules,
    )


def adjustment(told: Adjustment) -> types.Adjustment:
    """An adjustment."""
    return types.Adjustment(
        id=told.id,
        job=told.job,
        attempt_id=told.attempt_id,
        kind=_KIND[told.kind.value],
        value=told.value,
        total_factor=told.total_factor,
        over_steps=told.over_steps,
        state=_ADJUSTMENT[told.state],
        by=told.by,
        reason=told.reason,
        applied_step=told.applied_step,
        created_at=told.created_at,
        changed_at=told.changed_at,
        ranks=[types.RankReadBack(rank=r.rank, step=r.step, lr=r.lr) for r in told.ranks],
        detail=told.detail,
        verdict=told.verdict,
    )


def event(told: EventRecord) -> pb.JobEventView:
    """An event; the daemon's own have no rank."""
    rank = max(told.rank, 0)
    return pb.JobEventView(
        time=told.time, step=told.step, kind=told.kind, message=told.message, rank=rank, count=told.count
    )


def source(told: Source) -> types.Source:
    """Where one number came from."""
    return types.Source(series=told.series, value=told.value, words=told.words)


def ledger_entry(record: LedgerRecord) -> pb.LedgerEntry:
    """A line of the ledger; one that can't be read any more keeps what stands beside it.

    Whoever altered the store must not be able to hide the rest of the ledger behind an error.
    """
    try:
        entry = LedgerEntry.parse(record.body)
    except ValueError:
        return pb.LedgerEntry(
            seq=record.seq,
            time=record.time,
            job=record.job,
            attempt_id=record.attempt_id,
            reason="this entry can't be read",
            prev=record.prev,
            hash=record.hash,
        )
    return pb.LedgerEntry(
        seq=entry.seq,
        time=entry.time,
        job=entry.job,
        attempt_id=entry.attempt_id,
        adjustment_id=entry.adjustment_id,
        kind=_KIND.get(entry.kind, types.ADJUSTMENT_KIND_UNSPECIFIED),
        params_json=canonical(dict(entry.params)),
        state=types.AdjustmentState.Value(f"ADJUSTMENT_STATE_{entry.state.upper()}"),
        by=entry.by,
        reason=entry.reason,
        step=entry.step,
        ranks=[types.RankReadBack(rank=r.rank, step=r.step, lr=r.lr) for r in entry.ranks],
        prev=record.prev,
        hash=record.hash,
    )


def rank_series(rank: int, samples: Samples) -> pb.RankSeries:
    """One series of one rank."""
    ((_, column),) = samples.columns.items()
    return pb.RankSeries(
        rank=rank,
        steps=np.ascontiguousarray(samples.steps, "<i8").tobytes(),
        times=np.ascontiguousarray(samples.times, "<f8").tobytes(),
        values=np.ascontiguousarray(column.values, "<f8").tobytes(),
    )
