"""Protobuf in, views out: the border. Nothing behind it sees a protobuf message.

Names and sentences lose their terminal control characters here, once, for every reader.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Iterable

from steersman.cli import views
from steersman.cli.words import clean
from steersman.v1 import operator_pb2, types_pb2

_NAME_LIMIT = 200


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _time(value: float) -> float | None:
    return value if value > 0 and math.isfinite(value) else None


def _step(value: int) -> int | None:
    return None if value < 0 else value


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def job_state(value: operator_pb2.JobState.ValueType) -> str:
    """The word of a job's state; `unknown` for one that a newer daemon made up."""
    try:
        return _word(operator_pb2.JobState.Name(value), "JOB_STATE_")
    except ValueError:
        return "unknown"


def adjustment_state(value: types_pb2.AdjustmentState.ValueType) -> str:
    """The word of an adjustment's state; `unknown` for one that a newer daemon made up."""
    try:
        return _word(types_pb2.AdjustmentState.Name(value), "ADJUSTMENT_STATE_")
    except ValueError:
        return "unknown"


def adjustment_kind(value: types_pb2.AdjustmentKind.ValueType) -> str:
    """The word of an adjustment's kind; `unknown` for one that a newer daemon made up."""
    try:
        return _word(types_pb2.AdjustmentKind.Name(value), "ADJUSTMENT_KIND_")
    except ValueError:
        return "unknown"


def _policy(value: types_pb2.Policy.ValueType) -> str:
    try:
        return _word(types_pb2.Policy.Name(value), "POLICY_")
    except ValueError:
        return "unknown"


def _finding(message: types_pb2.Finding) -> views.Finding:
    try:
        state = _word(types_pb2.FindingState.Name(message.state), "FINDING_STATE_")
        severity = _word(types_pb2.Severity.Name(message.severity), "SEVERITY_")
    except ValueError:
        state, severity = "unknown", "warning"
    return views.Finding(
        rule=clean(message.rule, _NAME_LIMIT),
        state=state,
        severity=severity,
        verdict=clean(message.verdict, _NAME_LIMIT),
        first_step=_step(message.first_step),
        last_step=_step(message.last_step),
        summary=clean(message.summary),
        evidence=tuple(
            views.Evidence(clean(e.name, _NAME_LIMIT), _number(e.value), _number(e.threshold), clean(e.text))
            for e in message.evidence
        ),
        since=_time(message.since),
    )


def diagnosis(message: types_pb2.Diagnosis) -> views.Diagnosis:
    """A diagnosis as operators see it."""
    recommended = message.recommended_lr if message.HasField("recommended_lr") else None
    prescribed = message.prescription if message.HasField("prescription") else None
    return views.Diagnosis(
        verdict=clean(message.verdict, _NAME_LIMIT),
        confidence=0.0 if math.isnan(message.confidence) else message.confidence,
        onset_step=_step(message.onset_step),
        at_step=_step(message.at_step),
        time=_time(message.time),
        headline=clean(message.headline) or clean(message.verdict, _NAME_LIMIT).replace("_", " "),
        evidence_for=tuple(clean(text) for text in message.evidence_for),
        evidence_against=tuple(clean(text) for text in message.evidence_against),
        would_refute=clean(message.would_refute),
        recommended_lr=(
            None if recommended is None else views.RecommendedLR(recommended.value, recommended.low, recommended.high)
        ),
        prescription=(
            None
            if prescribed is None
            else views.Prescription(
                adjustment_kind(prescribed.kind),
                _number(prescribed.value),
                prescribed.over_steps,
                clean(prescribed.reason),
                clean(prescribed.risk),
                _expected(prescribed),
            )
        ),
        lr_is_the_lever=message.lr_is_the_lever if message.HasField("lr_is_the_lever") else None,
        rules=tuple(clean(rule, _NAME_LIMIT) for rule in message.rules),
    )


def _expected(message: types_pb2.Prescription) -> views.ExpectedEffect | None:
    told = message.expected
    known = message.HasField("expected") and all(map(math.isfinite, (told.nats, told.low, told.high)))
    return views.ExpectedEffect(told.nats, told.low, told.high, told.jobs) if known else None


def _limits(message: types_pb2.Limits) -> views.Limits:
    default = views.Limits()
    return views.Limits(
        min_factor=message.min_factor or default.min_factor,
        max_factor=message.max_factor or default.max_factor,
        min_lr=message.min_lr or None,
        max_lr=message.max_lr or None,
        max_adjustments=message.max_adjustments or default.max_adjustments,
        cooldown_steps=message.cooldown_steps or default.cooldown_steps,
    )


def job(message: operator_pb2.Job) -> views.Job:
    """A job as operators see it."""
    ended = message.ended_at > 0
    return views.Job(
        name=clean(message.name, _NAME_LIMIT),
        attempt_id=message.attempt_id,
        attempt=message.attempt,
        state=job_state(message.state),
        policy=_policy(message.policy),
        limits=_limits(message.limits),
        host=clean(message.host, _NAME_LIMIT),
        user=clean(message.user, _NAME_LIMIT),
        command=clean(message.command),
        world_size=message.world_size,
        ranks_seen=message.ranks_seen,
        started_at=_time(message.started_at),
        ended_at=_time(message.ended_at),
        # how it ended is known only where the agent saw the end: finished, failed or killed
        exit_code=message.exit_code if ended and message.signal == 0 and job_state(message.state) != "lost" else None,
        signal=message.signal or None,
        end_message=clean(message.end_message),
        step=_step(message.step),
        last_sample_at=_time(message.last_sample_at),
        loss=_number(message.loss),
        grad_norm=_number(message.grad_norm),
        lr=_number(message.lr),
        own_lr=_number(message.own_lr) if message.HasField("own_lr") else None,
        val_loss=_number(message.val_loss),
        steps_per_second=_number(message.steps_per_second),
        total_factor=message.total_factor or 1.0,
        diagnosis=diagnosis(message.diagnosis) if message.diagnosis.verdict else None,
        findings=tuple(_finding(f) for f in message.findings),
        rows=message.rows,
        rows_lost=message.rows_lost,
        waiting_adjustments=message.waiting_adjustments,
        planned_steps=message.planned_steps or None,
        recent_loss=tuple(_number(v) for v in message.recent_loss),
        way_in=clean(message.way_in, _NAME_LIMIT),
        agent_connected=message.agent_connected,
    )


def _ranks(messages: Iterable[types_pb2.RankReadBack]) -> dict[str, views.ReadBack]:
    return {str(r.rank): views.ReadBack(_step(r.step), tuple(_number(v) for v in r.lr)) for r in messages}


def adjustment(message: types_pb2.Adjustment) -> views.Adjustment:
    """An adjustment as operators see it."""
    return views.Adjustment(
        id=clean(message.id, _NAME_LIMIT),
        job=clean(message.job, _NAME_LIMIT),
        attempt_id=message.attempt_id,
        kind=adjustment_kind(message.kind),
        value=_number(message.value) if adjustment_kind(message.kind) in ("scale", "set") else None,
        total_factor=_number(message.total_factor),
        over_steps=message.over_steps,
        state=adjustment_state(message.state),
        by=clean(message.by, _NAME_LIMIT),
        reason=clean(message.reason),
        applied_step=_step(message.applied_step),
        created_at=_time(message.created_at),
        changed_at=_time(message.changed_at),
        ranks=_ranks(message.ranks),
        detail=clean(message.detail),
        verdict=clean(message.verdict, _NAME_LIMIT),
    )


def detail(message: operator_pb2.GetJobResponse) -> views.JobDetail:
    """One job with all that `show` needs."""
    return views.JobDetail(
        job=job(message.job),
        adjustments=tuple(adjustment(a) for a in message.adjustments),
        events=tuple(
            views.Event(_time(e.time), _step(e.step), clean(e.kind, _NAME_LIMIT), clean(e.message), e.rank, e.count)
            for e in message.events
        ),
    )


def provenance(message: operator_pb2.GetProvenanceResponse) -> views.Provenance:
    """Where the numbers of a sample came from."""
    return views.Provenance(
        job=clean(message.job, _NAME_LIMIT),
        rank=message.rank,
        step=_step(message.step),
        sources=tuple(
            views.Source(clean(s.series, _NAME_LIMIT), s.value if s.HasField("value") else None, clean(s.words))
            for s in message.sources
        ),
    )


def daemon(message: operator_pb2.GetDaemonResponse) -> views.Daemon:
    """The daemon that answers."""
    return views.Daemon(
        version=clean(message.version, _NAME_LIMIT),
        protocol_min=message.protocol_min,
        protocol_max=message.protocol_max,
        daemon_id=clean(message.daemon_id, _NAME_LIMIT),
        started_at=_time(message.started_at),
        store=clean(message.store),
        metrics=clean(message.metrics, _NAME_LIMIT),
        rules=message.rules,
        rule_files=tuple(clean(path) for path in message.rule_files),
    )


def _integers(data: bytes) -> array[int]:
    values = array("q", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _floats(data: bytes) -> array[float]:
    values = array("d", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def series(message: operator_pb2.GetSeriesResponse) -> views.Series:
    """A series, decoded from little-endian bytes."""
    return views.Series(
        job=clean(message.job, _NAME_LIMIT),
        name=clean(message.name, _NAME_LIMIT),
        unit=clean(message.unit, _NAME_LIMIT),
        ranks={
            str(r.rank): views.RankSeries(_integers(r.steps), _floats(r.times), _floats(r.values))
            for r in message.ranks
        },
    )


def series_list(message: operator_pb2.ListSeriesResponse) -> tuple[views.SeriesInfo, ...]:
    """The series of a job."""
    return tuple(
        views.SeriesInfo(clean(s.name, _NAME_LIMIT), clean(s.unit, _NAME_LIMIT), s.points) for s in message.series
    )


def _params(text: str) -> dict[str, object]:
    try:
        params = json.loads(text or "{}")
    except ValueError:
        return {"unreadable": clean(text)}
    return params if isinstance(params, dict) else {"value": params}


def ledger(message: operator_pb2.GetLedgerResponse) -> views.Ledger:
    """The record of a job."""
    return views.Ledger(
        job=clean(message.job, _NAME_LIMIT),
        entries=tuple(
            views.LedgerEntry(
                seq=e.seq,
                time=_time(e.time),
                adjustment=clean(e.adjustment_id, _NAME_LIMIT),
                kind=adjustment_kind(e.kind),
                params=_params(e.params_json),
                state=adjustment_state(e.state),
                by=clean(e.by, _NAME_LIMIT),
                reason=clean(e.reason),
                step=_step(e.step),
                ranks=_ranks(e.ranks),
                prev=clean(e.prev, _NAME_LIMIT),
                hash=clean(e.hash, _NAME_LIMIT),
            )
            for e in message.entries
        ),
        verified=message.verified,
        problem=clean(message.problem),
    )
