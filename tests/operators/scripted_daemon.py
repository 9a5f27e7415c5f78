"""A real gRPC server on a port of its own, whose answers are written down here."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from steersman.v1 import operator_pb2, operator_pb2_grpc, types_pb2

T0 = 1_760_000_000.0


def diagnosis() -> types_pb2.Diagnosis:
    return types_pb2.Diagnosis(
        verdict="lr_too_high",
        confidence=0.94,
        onset_step=412,
        at_step=1480,
        time=T0,
        headline="learning rate too high",
        evidence_for=["successive steps undo each other"],
        evidence_against=["the loss is below where it began"],
        would_refute="the loss settles",
        recommended_lr=types_pb2.RecommendedLr(value=0.0026, low=0.0017, high=0.0039),
        prescription=types_pb2.Prescription(
            kind=types_pb2.ADJUSTMENT_KIND_SCALE,
            value=0.25,
            over_steps=50,
            reason="too hot",
            risk="slower",
            expected=types_pb2.ExpectedEffect(nats=-0.47, low=-1.75, high=0.05, jobs=50),
        ),
        lr_is_the_lever=True,
        rules=["LearningRateTooHigh"],
    )


def job(name: str = "char-lm", **changes: Any) -> operator_pb2.Job:
    fields: dict[str, Any] = {
        "name": name,
        "attempt_id": "a-1",
        "attempt": 1,
        "state": operator_pb2.JOB_STATE_RUNNING,
        "policy": types_pb2.POLICY_APPROVE,
        "host": "node",
        "user": "ada",
        "command": "python train.py",
        "world_size": 1,
        "ranks_seen": 1,
        "started_at": T0 - 60,
        "step": 1480,
        "last_sample_at": T0,
        "loss": 3.2,
        "grad_norm": float("nan"),
        "lr": 0.01,
        "own_lr": 0.01,
        "val_loss": float("nan"),
        "steps_per_second": 7.5,
        "total_factor": 1.0,
        "diagnosis": diagnosis(),
        "findings": [
            types_pb2.Finding(
                rule="LearningRateTooHigh",
                state=types_pb2.FINDING_STATE_FIRING,
                severity=types_pb2.SEVERITY_CRITICAL,
                verdict="lr_too_high",
                first_step=436,
                last_step=1480,
                summary="steps undo each other",
                evidence=[types_pb2.Evidence(name="cos", value=-0.31, threshold=float("nan"), text="cos is -0.31")],
                since=T0 - 30,
            )
        ],
        "rows": 1481,
        "waiting_adjustments": 1,
        "recent_loss": [3.0, float("nan"), 3.2],
        "way_in": "run",
        "agent_connected": True,
    }
    return operator_pb2.Job(**{**fields, **changes})


def adjustment(**changes: Any) -> types_pb2.Adjustment:
    fields: dict[str, Any] = {
        "id": "adj-7f3a",
        "job": "char-lm",
        "attempt_id": "a-1",
        "kind": types_pb2.ADJUSTMENT_KIND_SCALE,
        "value": 0.25,
        "total_factor": 0.25,
        "over_steps": 50,
        "state": types_pb2.ADJUSTMENT_STATE_PROPOSED,
        "by": "policy approve",
        "reason": "too hot",
        "applied_step": -1,
        "created_at": T0,
        "changed_at": T0,
        "verdict": "lr_too_high",
    }
    return types_pb2.Adjustment(**{**fields, **changes})


class ScriptedOperators(operator_pb2_grpc.OperatorServiceServicer):
    """Knows one job, `char-lm`, with one adjustment that waits; a test changes what it likes."""

    def __init__(self) -> None:
        self.protocol: tuple[int, int] = (1, 1)
        self.jobs = [job()]
        self.adjustments = [adjustment()]
        self.asked: list[Any] = []
        self.outcome = types_pb2.ADJUSTMENT_STATE_PROBATION
        self.undone: tuple[Any, str] = (types_pb2.ADJUSTMENT_STATE_REVERTED, "enough")
        self.refuse = ""
        self.ledger_prev = "0" * 64

    async def _known(self, name: str, context: Any) -> operator_pb2.Job:
        for known in self.jobs:
            if known.name == name:
                return known
        await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no job {name}")
        raise AssertionError

    async def GetDaemon(self, request: Any, context: Any) -> Any:
        low, high = self.protocol
        return operator_pb2.GetDaemonResponse(version="0.1.0", protocol_min=low, protocol_max=high, started_at=T0)

    async def ListJobs(self, request: Any, context: Any) -> Any:
        return operator_pb2.ListJobsResponse(jobs=self.jobs)

    async def GetJob(self, request: Any, context: Any) -> Any:
        known = await self._known(request.job, context)
        event = operator_pb2.JobEventView(time=T0, step=-1, kind="started", message="first sample", count=1)
        return operator_pb2.GetJobResponse(job=known, adjustments=self.adjustments, events=[event])

    async def WatchJobs(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for known in self.jobs:
            yield operator_pb2.WatchJobsResponse(job=known, adjustments=self.adjustments)
        yield operator_pb2.WatchJobsResponse(snapshot_done=True)
        await asyncio.Event().wait()

    async def ListSeries(self, request: Any, context: Any) -> Any:
        await self._known(request.job, context)
        return operator_pb2.ListSeriesResponse(job=request.job, series=[operator_pb2.SeriesInfo(name="loss", points=3)])

    async def GetSeries(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        await self._known(request.job, context)
        if request.name != "loss":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"job {request.job} has no series {request.name}")
        if list(request.ranks) not in ([], [0]):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"job {request.job} has no rank 5; there are: 0")
        rank = operator_pb2.RankSeries(
            rank=0,
            steps=struct.pack("<3q", 0, 1, 2),
            times=struct.pack("<3d", T0, T0 + 1, T0 + 2),
            values=struct.pack("<3d", 3.0, float("nan"), 2.5),
        )
        return operator_pb2.GetSeriesResponse(job=request.job, name="loss", ranks=[rank])

    async def GetProvenance(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        await self._known(request.job, context)
        if self.refuse:
            return operator_pb2.GetProvenanceResponse(job=request.job, rank=request.rank, step=-1, problem=self.refuse)
        sources = [
            types_pb2.Source(
                series="optimizer", words="torch.optim.sgd.SGD (optimizer 0), stepped at train.py:9 in main"
            ),
            types_pb2.Source(series="loss", value=3.25, words="the tensor that backward was called on at train.py:8"),
            types_pb2.Source(series="val_loss", value=float("nan"), words="mse_loss ran without grad"),
        ]
        return operator_pb2.GetProvenanceResponse(job=request.job, rank=request.rank, step=1480, sources=sources)

    async def ListAdjustments(self, request: Any, context: Any) -> Any:
        return operator_pb2.ListAdjustmentsResponse(adjustments=self.adjustments)

    async def ProposeAdjustment(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        await self._known(request.job, context)
        if self.refuse:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.refuse)
        made = adjustment(
            id="adj-own",
            kind=request.kind,
            value=request.value,
            total_factor=request.value,
            over_steps=request.over_steps,
            state=types_pb2.ADJUSTMENT_STATE_APPROVED,
            by=f"operator {request.operator}",
            reason=request.reason,
        )
        if not request.dry_run:
            later = types_pb2.Adjustment()
            later.CopyFrom(made)
            later.state = self.outcome
            later.applied_step = 1490
            later.ranks.add(rank=0, step=1490, lr=[0.01 * request.value])
            self.adjustments.append(later)
        return operator_pb2.ProposeAdjustmentResponse(adjustment=made)

    def _decided(self, adjustment_id: str, state: Any) -> types_pb2.Adjustment:
        made = types_pb2.Adjustment()
        made.CopyFrom(next(a for a in self.adjustments if a.id == adjustment_id))
        made.state = state
        return made

    async def ApproveAdjustment(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if self.refuse:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.refuse)
        decided = self._decided(request.adjustment_id, types_pb2.ADJUSTMENT_STATE_APPROVED)
        return operator_pb2.ApproveAdjustmentResponse(adjustment=decided)

    async def RejectAdjustment(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        decided = self._decided(request.adjustment_id, types_pb2.ADJUSTMENT_STATE_REFUSED)
        return operator_pb2.RejectAdjustmentResponse(adjustment=decided)

    async def RevertAdjustment(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        known = next(a for a in self.adjustments if a.id == request.adjustment_id)
        decided = self._decided(request.adjustment_id, known.state)
        decided.detail = f"being taken back: {request.reason}"
        known.state, known.detail = self.undone
        return operator_pb2.RevertAdjustmentResponse(adjustment=decided)

    async def GetLedger(self, request: Any, context: Any) -> Any:
        await self._known(request.job, context)
        entries = [
            operator_pb2.LedgerEntry(
                seq=1,
                time=T0,
                job=request.job,
                attempt_id="a-1",
                adjustment_id="adj-7f3a",
                kind=types_pb2.ADJUSTMENT_KIND_SCALE,
                params_json='{"over_steps":50,"value":0.25}',
                state=types_pb2.ADJUSTMENT_STATE_APPLIED,
                by="operator ada",
                reason="too hot",
                step=1490,
                ranks=[types_pb2.RankReadBack(rank=0, step=1490, lr=[0.0025])],
                prev=self.ledger_prev,
                hash="ab" * 32,
            )
        ]
        return operator_pb2.GetLedgerResponse(job=request.job, entries=entries, verified=True)


@contextmanager
def serve(servicer: ScriptedOperators, address: str = "127.0.0.1:0") -> Iterator[str]:
    """Serves from a thread with a loop of its own; yields the address."""
    loop = asyncio.new_event_loop()
    server: Any = None

    async def start() -> int:
        nonlocal server
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(servicer, server)
        port: int = server.add_insecure_port(address)
        await server.start()
        return port

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield f"127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


Change = Callable[[ScriptedOperators], None]
