"""Between the protocol and the daemon's own words: what comes in, checked whole."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from steersman.monitor.adjustment import Acknowledgement, Command
from steersman.monitor.ending import End, JobState
from steersman.monitor.errors import LimitError, MalformedError
from steersman.monitor.facts import Facts, OptimizerFacts, RankFacts
from steersman.monitor.inquiries import Inquiry, Provenance, Source
from steersman.monitor.settings import IngestSettings
from steersman.monitor.store.contract import EventRecord
from steersman.rules.samples import Column, Samples
from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import types_pb2 as types

POLICIES = {
    types.POLICY_OBSERVE: "observe",
    types.POLICY_ADVISE: "advise",
    types.POLICY_APPROVE: "approve",
    types.POLICY_AUTO: "auto",
}
_LIMITS = ("min_factor", "max_factor", "min_lr", "max_lr", "max_adjustments", "cooldown_steps")
_ENDS = {
    pb.JobEnd.OUTCOME_FINISHED: JobState.FINISHED,
    pb.JobEnd.OUTCOME_FAILED: JobState.FAILED,
    pb.JobEnd.OUTCOME_KILLED: JobState.KILLED,
    pb.JobEnd.OUTCOME_LOST: JobState.LOST,
    pb.JobEnd.OUTCOME_DETACHED: JobState.DETACHED,
}
_ACKS = {
    pb.AdjustmentAck.STATE_ARMED: "armed",
    pb.AdjustmentAck.STATE_APPLIED: "applied",
    pb.AdjustmentAck.STATE_SETTLED: "settled",
    pb.AdjustmentAck.STATE_REFUSED: "refused",
}
_NAME = 128
_TEXT = 1024
_GROUPS = 256
_SOURCES = 64


def facts(hello: pb.JobHello, bounds: IngestSettings) -> Facts:
    """A job as its agent opens it.

    Raises:
        MalformedError: it breaks the contract.
        LimitError: it is too large.
    """
    attempt_id = _identity(hello.attempt_id)
    if len(hello.ranks) > bounds.max_ranks or hello.world_size > bounds.max_ranks:
        raise LimitError(f"job {hello.job!r} has more ranks than this daemon takes ({bounds.max_ranks})")
    limits = {name: float(getattr(hello.limits, name)) for name in _LIMITS}
    for name, value in limits.items():
        if not (math.isfinite(value) and value >= 0):
            raise MalformedError(
                f"limit {name} of job {hello.job!r} is {value}: it must be a number, 0 for the default"
            )
    ranks = {rank.rank: _rank(rank) for rank in hello.ranks}
    return Facts(
        attempt_id=attempt_id,
        asked=line(hello.job, _NAME).strip() or "job",
        world_size=hello.world_size or 1,
        policy=POLICIES.get(hello.policy, ""),
        limits={n: int(v) if n in ("max_adjustments", "cooldown_steps") else v for n, v in limits.items()},
        command=line(hello.command, 512),
        user=line(hello.user, _NAME),
        host=line(hello.host, _NAME),
        started_at=_time(hello.started_at, f"the start of job {hello.job!r}"),
        planned_steps=min(hello.planned_steps, 2**62),
        way_in=line(hello.way_in, 16),
        ranks=ranks,
    )


def samples(batch: pb.Batch, bounds: IngestSettings) -> Samples:
    """The rows of a batch. Sizes are checked against each other before anything is made of them.

    Raises:
        MalformedError: it breaks the contract.
        LimitError: it is too large.
    """
    n = batch.rows
    where = f"batch {batch.first_seq} of attempt {batch.attempt_id} rank {batch.rank}"
    if n > bounds.max_rows:
        raise LimitError(f"{where} has {n} rows; at most {bounds.max_rows} are taken")
    if n == 0 and not batch.skipped:
        raise MalformedError(f"{where} has no rows")
    if not 1 <= batch.first_seq < 2**62:
        raise MalformedError(f"{where}: sequence numbers start at 1")
    if batch.skipped >= batch.first_seq:
        raise MalformedError(f"{where} skips {batch.skipped} rows, more than there were before it")
    if batch.rank >= bounds.max_ranks:
        raise LimitError(f"{where}: ranks from {bounds.max_ranks} on are not taken")
    if len(batch.columns) > bounds.max_columns:
        raise LimitError(f"{where} has {len(batch.columns)} columns; at most {bounds.max_columns} are taken")
    for what, data in (("steps", batch.steps), ("times", batch.times)):
        if len(data) != 8 * n:
            raise MalformedError(f"{where}: {len(data)} bytes of {what} for {n} rows")
    times = np.frombuffer(batch.times, "<f8")
    if not np.isfinite(times).all():
        raise MalformedError(f"{where} has a time that is no number")
    columns: dict[str, Column] = {}
    everywhere = np.ones(n, dtype=np.bool_)
    for column in batch.columns:
        name = line(column.name, _NAME)
        if not name or name in columns:
            raise MalformedError(f"{where}: column {column.name!r} has no name or comes twice")
        if len(column.values) != 8 * n:
            raise MalformedError(f"{where}: {len(column.values)} bytes of {name} for {n} rows")
        columns[name] = Column(
            np.frombuffer(column.values, "<f8"),
            _present(column.present, n, where) if column.present else everywhere,
            line(column.unit, 16),
        )
    return Samples(np.frombuffer(batch.steps, "<i8"), times, columns)


def event(message: pb.JobEvent) -> EventRecord:
    """Something that happened in a job.

    Raises:
        MalformedError: it breaks the contract.
    """
    return EventRecord(
        _identity(message.attempt_id),
        message.rank,
        min(message.event_seq, 2**62),
        _time(message.time, "the time of an event"),
        message.step,
        line(message.kind, 64),
        line(message.message, _TEXT),
        min(message.count, 2**62),
    )


def acknowledgement(message: pb.AdjustmentAck) -> Acknowledgement:
    """How a command fares at one rank.

    Raises:
        MalformedError: it breaks the contract.
    """
    if message.state not in _ACKS:
        raise MalformedError(f"an acknowledgement of adjustment {message.adjustment_id} in state {message.state}")
    return Acknowledgement(
        message.adjustment_id,
        message.rank,
        _ACKS[message.state],
        message.step,
        tuple(message.lr[:_GROUPS]),
        tuple(message.own_lr[:_GROUPS]),
        line(message.message, _TEXT),
        _time(message.time, "the time of an acknowledgement"),
    )


def end(message: pb.JobEnd) -> End:
    """How a job ended.

    Raises:
        MalformedError: it breaks the contract.
    """
    if message.outcome not in _ENDS:
        raise MalformedError(f"the end of attempt {message.attempt_id} with outcome {message.outcome}")
    when = _time(message.time, "the end of a job")
    return End(_ENDS[message.outcome], when, message.exit_code, message.signal, line(message.message, _TEXT))


def command(order: Command) -> pb.StreamResponse:
    """A command as the agent gets it."""
    overlay = pb.Overlay(factor=order.overlay.number) if order.overlay.kind == "factor" else None
    return pb.StreamResponse(
        adjustment=pb.AdjustmentCommand(
            adjustment_id=order.adjustment_id,
            attempt_id=order.attempt_id,
            counter=order.counter,
            expires_at=order.expires_at,
            overlay=overlay or pb.Overlay(value=order.overlay.number),
            over_steps=order.over_steps,
            reason=order.reason,
            by=order.by,
            undo=order.undo,
            by_operator=order.by_operator,
        )
    )


def inquiry(asked: Inquiry) -> pb.StreamResponse:
    """A question as the agent gets it."""
    return pb.StreamResponse(
        inquiry=pb.Inquiry(inquiry_id=asked.inquiry_id, attempt_id=asked.attempt_id, rank=asked.rank)
    )


def provenance(message: pb.Provenance) -> Provenance:
    """Where the numbers of a sample came from, as its probe says."""
    sources = [
        Source(line(one.series, 64), one.value if one.HasField("value") else None, line(one.words, _TEXT))
        for one in message.sources[:_SOURCES]
    ]
    return Provenance(message.step, tuple(sources), line(message.problem, _TEXT))


def line(text: str, most: int) -> str:
    r"""Text from outside as one printable line: control characters could steer a terminal or break a label.

    >>> line("a\x1b[31m\nb", 99)
    'a[31m b'
    """
    if text.isprintable():
        return text[:most]
    kept = "".join(" " if c in "\n\t" else c for c in text if c.isprintable() or c in "\n\t")
    return kept[:most]


def _present(mask: bytes, n: int, where: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if len(mask) != (n + 7) // 8:
        raise MalformedError(f"{where}: a presence mask of {len(mask)} bytes for {n} rows")
    return np.unpackbits(np.frombuffer(mask, np.uint8), count=n, bitorder="little").astype(np.bool_)


def _rank(rank: pb.RankInfo) -> RankFacts:
    return RankFacts(
        rank.rank,
        rank.pid,
        line(rank.torch_version, 64),
        line(rank.python_version, 64),
        line(rank.device, 64),
        tuple(_optimizers(rank.optimizers)),
    )


def _optimizers(told: Iterable[pb.OptimizerInfo]) -> Iterable[OptimizerFacts]:
    for optimizer in list(told)[:16]:
        groups = tuple(line(g, _NAME) for g in optimizer.groups[:_GROUPS])
        name, overlay = line(optimizer.class_name, 256), line(optimizer.overlay, _TEXT)
        yield OptimizerFacts(name, groups, min(optimizer.parameters, 2**62), overlay)


def _identity(attempt_id: str) -> str:
    if not attempt_id or len(attempt_id) > 64 or not attempt_id.isprintable():
        raise MalformedError(f"{attempt_id[:80]!r} is no attempt id")
    return attempt_id


def _time(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise MalformedError(f"{what} is {value}, which is no time")
    return value
