"""The one stream to the daemon: connects, sends, takes acknowledgements, and comes back after whatever happened."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio

from steersman.agent.backoff import LOOPBACK_CAP, REMOTE_CAP, Backoff, is_loopback
from steersman.agent.events import fields
from steersman.v1 import telemetry_pb2, telemetry_pb2_grpc

PROTOCOL = 1
WINDOW_BYTES = 1024 * 1024
WINDOW_MESSAGES = 64
MAX_MESSAGE = 1024 * 1024 - 64 * 1024
"""Bytes of rows in one message: the daemon takes 1 MiB, and a batch may overshoot by its own frame."""

WELCOME_PATIENCE = 10.0
HELD = 5.0
"""Seconds after which a connection counts as one that holds."""

Request = telemetry_pb2.StreamRequest
Response = telemetry_pb2.StreamResponse
_Call = Any  # grpc.aio.StreamStreamCall, whose stubs do not name its type arguments alike in all versions

_log = logging.getLogger("steersman.agent")


class Cargo(Protocol):
    """What the link carries: the jobs of this host."""

    def connected(self) -> None:
        """A new stream: everything that is not durable has to be sent again."""

    def words(self, now: float) -> list[Request]:
        """What is to be sent besides rows, in order; hellos come first."""
        ...

    def batches(self, max_bytes: int) -> tuple[list[telemetry_pb2.Batch], int]:
        """The next rows, about so many bytes at most, and how many they are."""
        ...

    def answer(self, response: Response) -> None:
        """What the daemon said, other than welcome and throttle."""


@dataclass(frozen=True)
class Identity:
    """Who this agent says it is."""

    agent_id: str
    host: str
    version: str


@dataclass(frozen=True)
class _Sent:
    attempt_id: str
    rank: int
    last_seq: int
    size: int
    message: int


class Window:
    """How much may be under way: bytes and messages that the daemon has not yet taken in.

    A gRPC write only blocks after some 4 MiB, which a daemon that has stopped reading would hold in our memory.

    Args:
        max_bytes: bound on bytes.
        max_messages: bound on batches.
    """

    def __init__(self, max_bytes: int = WINDOW_BYTES, max_messages: int = WINDOW_MESSAGES) -> None:
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._sent: list[_Sent] = []
        self._bytes = 0
        self._last_message = 0

    def room(self) -> int:
        """Bytes that may go out now; 0 where nothing may."""
        if len({entry.message for entry in self._sent}) >= self._max_messages:
            return 0
        return max(0, self._max_bytes - self._bytes)

    def add(self, batches: list[telemetry_pb2.Batch]) -> None:
        """Take note of a message that goes out."""
        self._last_message += 1
        for batch in batches:
            last_seq, size = batch.first_seq + batch.rows - 1, batch.ByteSize()
            self._sent.append(_Sent(batch.attempt_id, batch.rank, last_seq, size, self._last_message))
            self._bytes += size

    def taken(self, attempt_id: str, rank: int, received_seq: int) -> None:
        """The daemon has taken in a rank's rows up to this one."""
        kept: list[_Sent] = []
        for entry in self._sent:
            if (entry.attempt_id, entry.rank) == (attempt_id, rank) and entry.last_seq <= received_seq:
                self._bytes -= entry.size
            else:
                kept.append(entry)
        self._sent = kept

    def drop(self, attempt_id: str) -> None:
        """The daemon will not take in this attempt: what is under way of it will never be acknowledged."""
        for rank in {entry.rank for entry in self._sent if entry.attempt_id == attempt_id}:
            self.taken(attempt_id, rank, 2**63)


class Link:
    """Keeps one stream to the daemon open for as long as the agent lives.

    Args:
        daemon: HOST:PORT.
        identity: who we say we are.
        cargo: what is carried.
        clock: wall clock, in seconds.
    """

    def __init__(self, daemon: str, identity: Identity, cargo: Cargo, clock: Callable[[], float]) -> None:
        self.daemon = daemon
        self.last_error = ""
        self.turned_away = ""
        self.up = False
        self.attempts = 0
        self._identity = identity
        self._cargo = cargo
        self._clock = clock
        self._interval = 1.0
        self._wake = asyncio.Event()
        self._window = Window()
        self._stalled = False
        self._backoff = Backoff(LOOPBACK_CAP if is_loopback(daemon) else REMOTE_CAP)

    def wake(self) -> None:
        """There is something that should not wait for the next interval."""
        self._wake.set()

    async def run(self) -> None:
        """Connect again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self.attempts += 1
            try:
                await self._session()
                self.last_error = f"the daemon at {self.daemon} ended the stream"
            except grpc.aio.AioRpcError as error:
                # Every status may pass: a proxy in between, a daemon of another version that is being replaced.
                self.last_error = f"{error.code().name}: {error.details() or 'no details'}"[:300]
            except (OSError, TimeoutError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
                self.last_error = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            except _RefusedError as error:
                self.last_error = str(error)
                self.turned_away = str(error)
                if error.lasting:
                    self._backoff.slow()
            finally:
                self.up = False
            if loop.time() - began >= HELD:
                self._backoff.reset()
            delay = self._backoff.delay()
            _log.warning(
                "link_down", extra=fields(daemon=self.daemon, reason=self.last_error, retry_in=round(delay, 2))
            )
            await asyncio.sleep(delay)

    async def _session(self) -> None:
        options = [
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 3_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            # Our own backoff is meant to be the only one; a shared connection would bring its own.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if is_loopback(self.daemon):
            options.append(("grpc.enable_http_proxy", 0))
        async with grpc.aio.insecure_channel(self.daemon, options=options) as channel:
            stub: Any = telemetry_pb2_grpc.TelemetryServiceStub(channel)
            call: _Call = stub.Stream()
            try:
                await self._greet(call)
                self._window = Window()
                self._cargo.connected()
                self.up = True
                self.last_error = self.turned_away = ""
                _log.info("link_up", extra=fields(daemon=self.daemon))
                writer = asyncio.create_task(self._write(call))
                try:
                    await self._read(call, writer)
                finally:
                    writer.cancel()
                    with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        await writer
            finally:
                call.cancel()

    async def _greet(self, call: _Call) -> None:
        who = self._identity
        hello = telemetry_pb2.Hello(
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
            agent_id=who.agent_id,
            host=who.host,
            agent_version=who.version,
        )
        async with asyncio.timeout(WELCOME_PATIENCE):
            await call.write(Request(hello=hello))
            response = await call.read()
        if response is grpc.aio.EOF:
            # The status says why, where there is one.
            await call.code()
            raise ConnectionResetError(f"the daemon hung up without a word ({await call.details() or 'no details'})")
        self._refused(response)
        if response.WhichOneof("message") != "welcome":
            raise ConnectionResetError("the daemon's first word was no welcome; is it a Steersman daemon?")
        if response.welcome.protocol != PROTOCOL:
            raise _RefusedError(
                f"the daemon chose protocol {response.welcome.protocol}, this agent speaks {PROTOCOL}", True
            )
        self._set_interval(response.welcome.batch_interval_ms)

    async def _read(self, call: _Call, writer: asyncio.Task[None]) -> None:
        while True:
            reading: asyncio.Future[Any] = asyncio.ensure_future(call.read())
            try:
                await asyncio.wait({reading, writer}, return_when=asyncio.FIRST_COMPLETED)
                if writer.done() and not reading.done():
                    await writer  # raises what ended it
                response = await reading
            finally:
                reading.cancel()
            if response is grpc.aio.EOF:
                return
            self._take(response)

    def _take(self, response: Response) -> None:
        kind = response.WhichOneof("message")
        if kind == "throttle":
            self._set_interval(response.throttle.batch_interval_ms)
            return
        if kind == "refusal":
            if not response.refusal.attempt_id:
                self._refused(response)
            self._window.drop(response.refusal.attempt_id)
            _log.error(
                "job_refused", extra=fields(attempt=response.refusal.attempt_id, reason=response.refusal.message)
            )
        elif kind == "batch_ack":
            ack = response.batch_ack
            self._window.taken(ack.attempt_id, ack.rank, max(ack.received_seq, ack.durable_seq))
        self._cargo.answer(response)
        # Waking for every acknowledgement would send a message for every few rows.
        if kind == "job_welcome" or self._stalled:
            self._wake.set()

    async def _write(self, call: _Call) -> None:
        while True:
            self._wake.clear()
            room = 0
            for request in self._cargo.words(self._clock()):
                await call.write(request)
            while room := self._window.room():
                batches, _ = self._cargo.batches(min(room, MAX_MESSAGE))
                if not batches:
                    break
                self._window.add(batches)
                await call.write(Request(batches=telemetry_pb2.BatchGroup(batches=batches)))
            self._stalled = not room
            for request in self._cargo.words(self._clock()):
                await call.write(request)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._interval)

    def _set_interval(self, milliseconds: int) -> None:
        self._interval = min(max((milliseconds or 1000) / 1000, 0.1), 10.0)

    def _refused(self, response: Response) -> None:
        if response.WhichOneof("message") != "refusal":
            return
        refusal = response.refusal
        lasting = refusal.code in (telemetry_pb2.Refusal.CODE_PROTOCOL, telemetry_pb2.Refusal.CODE_MALFORMED)
        words = refusal.message or telemetry_pb2.Refusal.Code.Name(refusal.code)
        raise _RefusedError(f"the daemon at {self.daemon} refused: {words}", lasting)


class _RefusedError(Exception):
    """The daemon will not speak with this agent.

    Attributes:
        lasting: trying again soon is of no use.
    """

    def __init__(self, message: str, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting
