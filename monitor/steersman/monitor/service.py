"""OperatorService: what operators, the dashboard and scripts ask of the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from steersman.monitor import told, translate
from steersman.monitor.adjustment import Adjustment, AdjustmentKind
from steersman.monitor.board import Board
from steersman.monitor.codes import answers
from steersman.monitor.cycle import Cycle
from steersman.monitor.errors import DrainingError, MalformedError, NotFoundError, RefusedError
from steersman.monitor.inquiries import Inquiries
from steersman.monitor.job import Job
from steersman.monitor.jobs import Jobs
from steersman.monitor.ledger import Ledger, unaccounted, verify
from steersman.monitor.store import thin
from steersman.monitor.store.contract import JobRecord, Store
from steersman.monitor.telemetry import PROTOCOL
from steersman.monitor.view import JobView, view
from steersman.v1 import operator_pb2 as pb
from steersman.v1 import operator_pb2_grpc as rpc

T = TypeVar("T")
_MOST_LISTED = 500
_MOST_POINTS = 2_000_000


@dataclass(frozen=True)
class About:
    """What the daemon says of itself."""

    daemon_id: str
    started_at: float
    store: str
    metrics: str
    rules: int
    rule_files: tuple[str, ...]


class OperatorService(rpc.OperatorServiceServicer):
    """Reads come from the board or the store, changes go through the cycle and are answered once they are durable.

    Args:
        cycle: where all changes go.
        board: the jobs in memory.
        store: all jobs.
        jobs: for making views of jobs that are no longer in memory.
        inquiries: where running jobs are asked.
        about: what the daemon says of itself.
        clock: seconds since the epoch.
        patience_s: how long a change may wait for the store.
    """

    def __init__(
        self,
        cycle: Cycle,
        board: Board,
        store: Store,
        jobs: Jobs,
        inquiries: Inquiries,
        about: About,
        clock: Callable[[], float] = time.time,
        patience_s: float = 15.0,
    ) -> None:
        self._cycle = cycle
        self._board = board
        self._store = store
        self._jobs = jobs
        self._inquiries = inquiries
        self._about = about
        self._clock = clock
        self._patience_s = patience_s
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End the watches."""
        self._closing.set()

    @answers
    async def GetDaemon(self, request: pb.GetDaemonRequest, context: Any) -> pb.GetDaemonResponse:
        """What the daemon says of itself."""
        about = self._about
        return pb.GetDaemonResponse(
            version=importlib.metadata.version("steersman"),
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
            daemon_id=about.daemon_id,
            started_at=about.started_at,
            store=about.store,
            metrics=about.metrics,
            rules=about.rules,
            rule_files=about.rule_files,
        )

    @answers
    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """Jobs in memory; those that ended come from the store as well, where asked for."""
        views = [v for v in self._board.all() if request.ended or not v.ended]
        if request.ended:
            known = {v.facts.attempt_id for v in views}
            views += await asyncio.to_thread(self._stored_views, known)
            views.sort(key=lambda v: v.facts.started_at, reverse=True)
        return pb.ListJobsResponse(jobs=[told.job(v) for v in views])

    @answers
    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """One attempt of a job."""
        seen = await self._view(request.job, request.attempt)
        events = await asyncio.to_thread(self._store.events, seen.facts.attempt_id, 100)
        return pb.GetJobResponse(
            job=told.job(seen),
            adjustments=[told.adjustment(a) for a in seen.adjustments],
            events=[told.event(e) for e in events],
        )

    async def WatchJobs(self, request: pb.WatchJobsRequest, context: Any) -> AsyncIterator[pb.WatchJobsResponse]:
        """The present state, then changes, no faster than asked for: the latest state wins."""
        pause = 1 / min(request.max_rate_hz or 2, 20)
        version, first = 0, True
        while not self._closing.is_set():
            seen, version = self._board.since(version), self._board.version
            for one in seen:
                if request.job in ("", one.name):
                    yield pb.WatchJobsResponse(
                        job=told.job(one), adjustments=[told.adjustment(a) for a in one.adjustments]
                    )
            if first:
                yield pb.WatchJobsResponse(snapshot_done=True)
                first = False
            if await self._closed_within(pause):
                return
            while self._board.version == version and not self._closing.is_set():
                await self._changed()

    @answers
    async def ListSeries(self, request: pb.ListSeriesRequest, context: Any) -> pb.ListSeriesResponse:
        """The series stored of an attempt."""
        record = await self._record(request.job, request.attempt)
        series = await asyncio.to_thread(self._store.list_series, record.attempt_id)
        infos = [pb.SeriesInfo(name=s.name, unit=s.unit, points=s.points) for s in series]
        return pb.ListSeriesResponse(job=record.name, series=infos)

    @answers
    async def GetSeries(self, request: pb.GetSeriesRequest, context: Any) -> pb.GetSeriesResponse:
        """One series of an attempt, thinned keeping the extremes."""
        record = await self._record(request.job, request.attempt)
        return await asyncio.to_thread(self._series, record, request)

    @answers
    async def ListAdjustments(self, request: pb.ListAdjustmentsRequest, context: Any) -> pb.ListAdjustmentsResponse:
        """Adjustments of one job or of all in memory."""
        views = [await self._view(request.job, 0)] if request.job else self._board.all()
        found = [a for v in views for a in v.adjustments if not request.waiting or a.state == "proposed"]
        return pb.ListAdjustmentsResponse(adjustments=[told.adjustment(a) for a in found])

    @answers
    async def ProposeAdjustment(
        self, request: pb.ProposeAdjustmentRequest, context: Any
    ) -> pb.ProposeAdjustmentResponse:
        """An operator's own adjustment."""
        kind = told.KINDS.get(request.kind)
        if kind is None:
            raise MalformedError(
                f"no kind of adjustment has number {request.kind}; there are {', '.join(AdjustmentKind)}"
            )
        if request.over_steps > 1_000_000:
            raise MalformedError(
                f"a ramp of {request.over_steps} steps is longer than any training step count taken here"
            )

        def propose(jobs: Jobs, clock: float) -> Adjustment:
            job = jobs.live(request.job)
            job.must_be_running()
            job.touched = job.touched or not request.dry_run
            return job.control.propose(
                kind,
                request.value,
                request.over_steps,
                translate.line(request.reason, 1024),
                _person(request.operator),
                job.now(clock),
                dry=request.dry_run,
            )

        return pb.ProposeAdjustmentResponse(adjustment=told.adjustment(await self._change(propose)))

    @answers
    async def ApproveAdjustment(
        self, request: pb.ApproveAdjustmentRequest, context: Any
    ) -> pb.ApproveAdjustmentResponse:
        """A person says yes."""

        def approve(jobs: Jobs, clock: float) -> Adjustment:
            job = jobs.with_adjustment(request.adjustment_id)
            job.must_be_running()
            job.touched = True
            return job.control.approve(request.adjustment_id, _person(request.operator), job.now(clock))

        return pb.ApproveAdjustmentResponse(adjustment=told.adjustment(await self._change(approve)))

    @answers
    async def RejectAdjustment(self, request: pb.RejectAdjustmentRequest, context: Any) -> pb.RejectAdjustmentResponse:
        """A person says no."""

        def reject(jobs: Jobs, clock: float) -> Adjustment:
            job = jobs.with_adjustment(request.adjustment_id)
            job.touched = True
            reason = translate.line(request.reason, 1024)
            return job.control.reject(request.adjustment_id, _person(request.operator), reason, job.now(clock))

        return pb.RejectAdjustmentResponse(adjustment=told.adjustment(await self._change(reject)))

    @answers
    async def RevertAdjustment(self, request: pb.RevertAdjustmentRequest, context: Any) -> pb.RevertAdjustmentResponse:
        """A person takes an adjustment back."""
        if not request.adjustment_id and not request.job:
            raise MalformedError("name an adjustment or a job to revert")

        def revert(jobs: Jobs, clock: float) -> Adjustment:
            known = request.adjustment_id
            job = jobs.with_adjustment(known) if known else jobs.live(request.job)
            job.must_be_running()
            job.touched = True
            reason = translate.line(request.reason, 1024)
            return job.control.revert(known, _person(request.operator), reason, job.now(clock))

        return pb.RevertAdjustmentResponse(adjustment=told.adjustment(await self._change(revert)))

    @answers
    async def GetLedger(self, request: pb.GetLedgerRequest, context: Any) -> pb.GetLedgerResponse:
        """The ledger of a job; the whole chain is verified even where one attempt is asked for."""
        record = await self._record(request.job, request.attempt)
        # Between two commits: read on either side of one, the two would disagree.
        records, adjustments = await self._cycle.read(
            lambda _: (self._store.ledger(record.name), self._store.adjustments(record.name))
        )
        problem = verify(records) or unaccounted(record.name, records, adjustments)
        wanted = [r for r in records if not request.attempt or r.attempt_id == record.attempt_id]
        return pb.GetLedgerResponse(
            job=record.name,
            entries=[told.ledger_entry(r) for r in wanted],
            verified=problem is None,
            problem=problem or "",
        )

    @answers
    async def GetProvenance(self, request: pb.GetProvenanceRequest, context: Any) -> pb.GetProvenanceResponse:
        """Where the numbers of a rank's next sample come from: asked of the job itself, which answers at its step."""
        seen = await self._view(request.job, 0)
        if seen.end is not None:
            how = seen.end.state.value
            raise RefusedError(f"job {seen.name} has ended ({how}): only a running job's next sample can be told of")
        known = sorted(seen.facts.ranks)
        if request.rank not in known:
            words = f"job {seen.name} has no rank {request.rank} that a probe speaks for; there are: {_ranks(known)}"
            raise NotFoundError(words)
        patience = request.patience_s if request.patience_s > 0 else 30.0
        asking = asyncio.ensure_future(self._inquiries.ask(seen.facts.attempt_id, request.rank, patience))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([asking, closing], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise DrainingError("the daemon is going down; try again when it is back")
            answer = asking.result()
        finally:
            asking.cancel()
            closing.cancel()
        return pb.GetProvenanceResponse(
            job=seen.name,
            rank=request.rank,
            step=answer.step,
            sources=[told.source(one) for one in answer.sources],
            problem=answer.problem,
        )

    async def _change(self, apply: Callable[[Jobs, float], T]) -> T:
        try:
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(self._cycle.submit(apply))
        except TimeoutError:
            words = "the store can't be written at present, so nothing can be decided safely; see the daemon's log"
            raise DrainingError(words) from None
        except asyncio.CancelledError:
            if self._closing.is_set():
                raise DrainingError("the daemon is going down; try again when it is back") from None
            raise

    async def _closed_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        return self._closing.is_set()

    async def _changed(self) -> None:
        waits = [asyncio.ensure_future(self._board.wait()), asyncio.ensure_future(self._closing.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def _record(self, name: str, attempt: int) -> JobRecord:
        record = await asyncio.to_thread(self._store.find, name, attempt)
        if record is None:
            which = f"attempt {attempt} of job {name}" if attempt else f"job {name}"
            raise NotFoundError(f"there is no {which}; `steersman jobs --all` lists what there is")
        return record

    async def _view(self, name: str, attempt: int) -> JobView:
        seen = self._board.find(name, attempt)
        if seen is not None:
            return seen
        record = await self._record(name, attempt)
        stored = await asyncio.to_thread(self._stored_view, record.attempt_id)
        if stored is None:
            raise NotFoundError(f"job {name} is no longer in the store")
        return stored

    def _stored_views(self, known: set[str]) -> list[JobView]:
        records = [r for r in self._store.jobs(ended=True)[:_MOST_LISTED] if r.attempt_id not in known]
        return [v for r in records if (v := self._stored_view(r.attempt_id)) is not None]

    def _stored_view(self, attempt_id: str) -> JobView | None:
        restored = self._store.restore(attempt_id)
        if restored is None:
            return None
        job = Job.resume(restored, Ledger(restored.job.name), self._jobs.maker)
        return view(job, self._clock(), connected=False)

    def _series(self, record: JobRecord, request: pb.GetSeriesRequest) -> pb.GetSeriesResponse:
        known = {s.name: s.unit for s in self._store.list_series(record.attempt_id)}
        if request.name not in known:
            names = ", ".join(known) or "none yet"
            raise NotFoundError(f"job {record.name} has no series {request.name!r}; it has: {names}")
        ranks = self._store.series(
            record.attempt_id,
            request.name,
            ranks=list(request.ranks),
            from_step=request.from_step,
            to_step=request.to_step or None,
        )
        if any(rank not in ranks for rank in request.ranks):
            restored = self._store.restore(record.attempt_id)
            there = sorted(restored.high_water) if restored is not None else []
            for rank in request.ranks:
                if rank not in there:
                    raise NotFoundError(f"job {record.name} has no rank {rank}; there are: {_ranks(there)}")
        points = min(request.resolution or _MOST_POINTS, _MOST_POINTS)
        thinned = [told.rank_series(rank, thin(samples, points)) for rank, samples in sorted(ranks.items())]
        return pb.GetSeriesResponse(job=record.name, name=request.name, unit=known[request.name], ranks=thinned)


def _ranks(known: Sequence[int]) -> str:
    more = f" and {len(known) - 16} more" if len(known) > 16 else ""
    return (", ".join(map(str, known[:16])) or "none yet") + more


def _person(name: str) -> str:
    return translate.line(name, 64).strip() or "unnamed"
