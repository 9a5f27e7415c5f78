"""TelemetryService: the agents' side of the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from steersman.monitor import translate
from steersman.monitor.adjustment import Command
from steersman.monitor.cycle import Cycle
from steersman.monitor.errors import DrainingError, LimitError, MalformedError, MonitorError
from steersman.monitor.ingest import Intake
from steersman.monitor.inquiries import Inquiries
from steersman.monitor.jobs import Jobs
from steersman.monitor.meters import Meters
from steersman.monitor.settings import IngestSettings
from steersman.monitor.streams import Outbox, Streams
from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import telemetry_pb2_grpc as rpc

PROTOCOL = 1


@dataclass
class _Agent:
    host: str
    identity: str
    outbox: Outbox = field(default_factory=Outbox)
    opened: set[str] = field(default_factory=set)
    declined: set[str] = field(default_factory=set)


class TelemetryService(rpc.TelemetryServiceServicer):
    """Takes in what agents send, a stream at a time; a stream that breaks the contract ends, and no other.

    Args:
        cycle: where all changes go.
        intake: the high-water marks of what was taken in.
        streams: the register of open streams.
        inquiries: the questions that wait for an answer.
        meters: what is counted.
        bounds: how much is taken.
        daemon_id: stable for one daemon process.
    """

    def __init__(
        self,
        cycle: Cycle,
        intake: Intake,
        streams: Streams,
        inquiries: Inquiries,
        meters: Meters,
        bounds: IngestSettings,
        daemon_id: str,
    ) -> None:
        self._cycle = cycle
        self._intake = intake
        self._streams = streams
        self._inquiries = inquiries
        self._meters = meters
        self._bounds = bounds
        self._daemon_id = daemon_id
        self._log = structlog.get_logger("steersman.telemetry")

    async def Stream(
        self, request_iterator: AsyncIterator[pb.StreamRequest], context: Any
    ) -> AsyncIterator[pb.StreamResponse]:
        """One agent, from hello to its end."""
        requests = request_iterator.__aiter__()
        agent, refusal = await self._greet(requests)
        if agent is None:
            yield pb.StreamResponse(refusal=refusal)
            return
        self._streams.add(agent.outbox)
        self._meters.agents.inc()
        self._log.info("agent_connected", host=agent.host, agent=agent.identity)
        reading = asyncio.create_task(self._read(agent, requests))
        try:
            yield pb.StreamResponse(
                welcome=pb.Welcome(
                    protocol=PROTOCOL,
                    daemon_id=self._daemon_id,
                    daemon_version=importlib.metadata.version("steersman"),
                    max_message_bytes=self._bounds.max_message_bytes,
                    batch_interval_ms=self._bounds.batch_interval_ms,
                )
            )
            async for message in agent.outbox.messages():
                yield message
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            self._streams.remove(agent.outbox)
            self._meters.agents.dec()
            self._log.info("agent_gone", host=agent.host, agent=agent.identity)

    async def _greet(self, requests: AsyncIterator[pb.StreamRequest]) -> tuple[_Agent | None, pb.Refusal]:
        try:
            first = await anext(requests)
        except StopAsyncIteration:
            return None, _refusal(MalformedError("the stream ended before its hello"))
        if first.WhichOneof("message") != "hello":
            return None, _refusal(MalformedError("the first message of a stream must be its hello"))
        hello = first.hello
        if not hello.protocol_min <= PROTOCOL <= hello.protocol_max:
            words = (
                f"this daemon speaks protocol {PROTOCOL}, the agent on {translate.line(hello.host, 64) or 'its host'} "
                f"speaks {hello.protocol_min} to {hello.protocol_max}: install the same version of Steersman on both"
            )
            self._log.warning("agent_refused", host=hello.host, reason=words)
            return None, pb.Refusal(code=pb.Refusal.CODE_PROTOCOL, message=words)
        return _Agent(translate.line(hello.host, 128), translate.line(hello.agent_id, 64)), pb.Refusal()

    async def _read(self, agent: _Agent, requests: AsyncIterator[pb.StreamRequest]) -> None:
        try:
            async for request in requests:
                await self._take(agent, request)
                # Rows that wait for the store are bounded by not reading on: gRPC's flow control tells the agent.
                await self._cycle.room()
        except (MalformedError, LimitError, DrainingError) as error:
            self._log.warning("stream_refused", host=agent.host, agent=agent.identity, reason=str(error))
            agent.outbox.put(pb.StreamResponse(refusal=_refusal(error)))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  the border: bytes that are no message end this stream and no other
            self._log.warning(
                "stream_broke", host=agent.host, agent=agent.identity, error=f"{type(error).__name__}: {error}"
            )
            words = "a message could not be read: it is no StreamRequest of this protocol"
            agent.outbox.put(pb.StreamResponse(refusal=_refusal(MalformedError(words))))
        agent.outbox.close()

    async def _take(self, agent: _Agent, request: pb.StreamRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "batches":
            for batch in request.batches.batches:
                self._batch(agent, batch)
        elif kind == "job_hello":
            await self._open(agent, request.job_hello)
        elif kind == "event":
            record = translate.event(request.event)
            self._about(agent, record.attempt_id, lambda jobs, clock: jobs.get(record.attempt_id).event(record))
        elif kind == "adjustment_ack":
            ack, attempt_id = translate.acknowledgement(request.adjustment_ack), request.adjustment_ack.attempt_id
            self._log.info("adjustment_acknowledged", adjustment=ack.adjustment_id, state=ack.state, step=ack.step)
            self._about(agent, attempt_id, lambda jobs, clock: jobs.get(attempt_id).acknowledge(ack, clock))
        elif kind == "job_end":
            end, attempt_id = translate.end(request.job_end), request.job_end.attempt_id
            ended = self._about(agent, attempt_id, lambda jobs, clock: jobs.get(attempt_id).finish(end, clock))
            if ended is not None:
                ended.add_done_callback(lambda done: _acknowledge_end(agent.outbox, attempt_id, done))
        elif kind == "provenance":
            if request.provenance.attempt_id in agent.opened:
                self._inquiries.answered(request.provenance.inquiry_id, translate.provenance(request.provenance))
        elif kind == "hello":
            raise MalformedError("a second hello on one stream")
        # A message of a kind that is not known comes from a newer agent: what this protocol version lacks is ignored.

    async def _open(self, agent: _Agent, hello: pb.JobHello) -> None:
        try:
            facts = translate.facts(hello, self._bounds)

            def open_job(jobs: Jobs, clock: float) -> tuple[str, int, dict[int, int], list[Command]]:
                job = jobs.open(facts, clock)
                return job.name, job.attempt, dict(job.high_water), job.control.pending_commands(clock)

            name, attempt, high_water, commands = await self._cycle.submit(open_job)
        except LimitError as error:
            # Only this job is refused; the others of the same agent go on.
            agent.declined.add(hello.attempt_id)
            agent.outbox.put(pb.StreamResponse(refusal=_refusal(error, hello.attempt_id)))
            self._log.warning("job_refused", job=hello.job, reason=str(error))
            return
        self._intake.opened(facts.attempt_id, high_water)
        agent.opened.add(facts.attempt_id)
        self._streams.carries(agent.outbox, facts.attempt_id)
        self._log.info("job_opened", job=name, attempt=attempt, attempt_id=facts.attempt_id, host=agent.host)
        durable = [pb.RankSequence(rank=r, durable_seq=s) for r, s in sorted(high_water.items())]
        welcome = pb.JobWelcome(attempt_id=facts.attempt_id, job=name, attempt=attempt, durable=durable)
        agent.outbox.put(pb.StreamResponse(job_welcome=welcome))
        for command in commands:
            agent.outbox.put(translate.command(command))

    def _batch(self, agent: _Agent, batch: pb.Batch) -> None:
        attempt_id, rank = batch.attempt_id, batch.rank
        if attempt_id in agent.declined:
            self._meters.refused.inc()
            return
        if attempt_id not in agent.opened:
            raise MalformedError(f"a batch of attempt {attempt_id} before its job_hello")
        rows = self._intake.cut(attempt_id, rank, batch)
        if rows is None:
            agent.outbox.mark(attempt_id, rank, received=self._intake.mark(attempt_id, rank))
            return
        self._cycle.submit(
            lambda jobs, clock: jobs.get(attempt_id).take(rank, rows.first_seq, rows.samples, rows.skipped, clock),
            size=batch.ByteSize(),
            sampled_at=float(rows.samples.times[-1]) if len(rows.samples) else 0.0,
        )
        agent.outbox.mark(attempt_id, rank, received=self._intake.mark(attempt_id, rank))

    def _about(self, agent: _Agent, attempt_id: str, change: Any) -> asyncio.Future[Any] | None:
        if attempt_id in agent.opened:
            return self._cycle.submit(change)
        if attempt_id not in agent.declined:
            raise MalformedError(f"a message about attempt {attempt_id} before its job_hello")
        return None


def _acknowledge_end(outbox: Outbox, attempt_id: str, done: asyncio.Future[Any]) -> None:
    """The end of a job is on disk: its agent may forget it."""
    if not done.cancelled() and done.exception() is None:
        outbox.put(pb.StreamResponse(job_end_ack=pb.JobEndAck(attempt_id=attempt_id)))


def _refusal(error: MonitorError, attempt_id: str = "") -> pb.Refusal:
    codes = {LimitError: pb.Refusal.CODE_LIMIT, DrainingError: pb.Refusal.CODE_DRAINING}
    code = codes.get(type(error), pb.Refusal.CODE_MALFORMED)
    return pb.Refusal(code=code, message=str(error), attempt_id=attempt_id)
