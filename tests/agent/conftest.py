"""A real gRPC server at the protocol's seam that remembers what it was told and keeps the contract's order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest

from steersman.agent import guardian
from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import telemetry_pb2_grpc

PATIENCE = 150.0
"""Seconds after which a wait is given up: only what hangs takes so long, and pytest's own bound names no condition."""


@dataclass
class Seen:
    """What has arrived of one attempt."""

    hello: pb.JobHello
    rows: dict[int, list[int]] = field(default_factory=dict)
    steps: dict[int, list[int]] = field(default_factory=dict)
    columns: dict[int, set[str]] = field(default_factory=dict)
    values: dict[int, dict[str, dict[int, float]]] = field(default_factory=dict)
    """By rank and column, the value at each step; of two rows with one step the later."""
    marks: dict[int, int] = field(default_factory=dict)
    skipped: int = 0
    events: dict[tuple[int, int], pb.JobEvent] = field(default_factory=dict)
    acks: list[pb.AdjustmentAck] = field(default_factory=list)
    end: pb.JobEnd | None = None


class FakeTelemetry(telemetry_pb2_grpc.TelemetryServiceServicer):
    """The daemon's side: takes rows in order only, and everything it has is durable unless told otherwise.

    Args:
        names: gives the granted name for the one asked for.
    """

    def __init__(self, names: Callable[[str], str] = lambda name: name) -> None:
        self.names = names
        self.jobs: dict[str, Seen] = {}
        self.streams = 0
        self.messages = 0
        self.order_broken: list[str] = []
        self.durable = True
        self.answers: list[pb.Provenance] = []
        self.refusal: pb.Refusal | None = None
        self.outbox: asyncio.Queue[pb.StreamResponse] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None
        self._forwarding: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def job(self, name: str) -> Seen | None:
        return next((seen for seen in self.jobs.values() if seen.hello.job == name), None)

    async def Stream(
        self, request_iterator: AsyncIterator[pb.StreamRequest], context: object
    ) -> AsyncIterator[pb.StreamResponse]:
        self.streams += 1
        answers: asyncio.Queue[pb.StreamResponse | None] = asyncio.Queue()

        async def read() -> None:
            async for request in request_iterator:
                self.messages += 1
                for response in self._take(request):
                    answers.put_nowait(response)
            answers.put_nowait(None)

        async def forward() -> None:
            while True:
                answers.put_nowait(await self.outbox.get())

        if self._forwarding is not None:
            self._forwarding.cancel()  # the stream of a killed agent may linger: an order must not go there
        self._forwarding = asyncio.create_task(forward())
        tasks = [asyncio.create_task(read()), self._forwarding]
        try:
            while (response := await answers.get()) is not None:
                yield response
                if response.HasField("refusal") and not response.refusal.attempt_id:
                    return
        finally:
            for task in tasks:
                task.cancel()

    def _take(self, request: pb.StreamRequest) -> list[pb.StreamResponse]:
        kind = request.WhichOneof("message")
        if kind == "hello":
            if self.refusal is not None:
                return [pb.StreamResponse(refusal=self.refusal)]
            return [pb.StreamResponse(welcome=pb.Welcome(protocol=1, batch_interval_ms=100))]
        if kind == "job_hello":
            hello = request.job_hello
            seen = self.jobs.setdefault(hello.attempt_id, Seen(hello))
            seen.hello = hello
            durable = [pb.RankSequence(rank=r, durable_seq=s if self.durable else 0) for r, s in seen.marks.items()]
            welcome = pb.JobWelcome(attempt_id=hello.attempt_id, job=self.names(hello.job), attempt=1, durable=durable)
            return [pb.StreamResponse(job_welcome=welcome)]
        if kind == "batches":
            return [pb.StreamResponse(batch_ack=ack) for b in request.batches.batches if (ack := self._batch(b))]
        if kind == "event":
            seen = self.jobs[request.event.attempt_id]
            seen.events[request.event.rank, request.event.event_seq] = request.event
        if kind == "adjustment_ack":
            self.jobs[request.adjustment_ack.attempt_id].acks.append(request.adjustment_ack)
        if kind == "provenance":
            self.answers.append(request.provenance)
        if kind == "job_end":
            self.jobs[request.job_end.attempt_id].end = request.job_end
            return [pb.StreamResponse(job_end_ack=pb.JobEndAck(attempt_id=request.job_end.attempt_id))]
        return []

    def _batch(self, batch: pb.Batch) -> pb.BatchAck | None:
        seen = self.jobs[batch.attempt_id]
        mark = seen.marks.get(batch.rank, 0)
        if batch.first_seq > mark + 1 + batch.skipped:
            self.order_broken.append(f"{batch.first_seq} after {mark}, {batch.skipped} skipped")
            return None
        if batch.first_seq > mark:
            seen.skipped += batch.first_seq - mark - 1
        steps = struct.unpack(f"<{batch.rows}q", batch.steps)
        for offset in range(batch.rows):
            if batch.first_seq + offset > mark:
                seen.rows.setdefault(batch.rank, []).append(batch.first_seq + offset)
                seen.steps.setdefault(batch.rank, []).append(steps[offset])
        seen.columns.setdefault(batch.rank, set()).update(column.name for column in batch.columns)
        for column in batch.columns:
            series = seen.values.setdefault(batch.rank, {}).setdefault(column.name, {})
            present = int.from_bytes(column.present, "little") if column.present else (1 << batch.rows) - 1
            numbers = struct.unpack(f"<{batch.rows}d", column.values)
            series.update((s, x) for at, (s, x) in enumerate(zip(steps, numbers, strict=True)) if present >> at & 1)
        seen.marks[batch.rank] = max(mark, batch.first_seq + batch.rows - 1)
        received = seen.marks[batch.rank]
        durable = received if self.durable else 0
        return pb.BatchAck(attempt_id=batch.attempt_id, rank=batch.rank, received_seq=received, durable_seq=durable)


class Home:
    """A user's folders, made short because a socket's path may have 107 characters."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "run").mkdir(mode=0o700)

    def environ(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("STEERSMAN", "XDG_", "PYTHONPATH"))}
        return {
            **kept,
            "HOME": str(self.root),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "OMP_NUM_THREADS": "1",
            **more,
        }

    @property
    def spool(self) -> Path:
        return self.root / ".local/state/steersman/spool"

    def logged(self, event: str) -> int:
        """How often this home's agents have logged an event."""
        return sum(log.read_text().count(event) for log in (self.root / ".local/state/steersman").rglob("*.log"))

    def agents(self) -> list[int]:
        """The agents that this home's tests have started and that still run."""
        return self._processes(b"steersman.agent.sidecar")

    def guardians(self) -> list[int]:
        """Their guardians."""
        return self._processes(guardian.__file__.encode())

    async def kill_agents(self, until: Until) -> None:
        """Kill the agent together with its guardian."""
        await until(self.guardians)
        for pid in self.guardians() + self.agents():
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not self.agents() and not self.guardians())

    def _processes(self, word: bytes) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if word in words and any(str(self.root).encode() in word for word in words):
                found.append(int(folder.name))
        return found

    async def run(self, *words: str, **environ: str) -> asyncio.subprocess.Process:
        """Start `steersman` with these words."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from steersman.cli.main import main; main()", *words),
            env=self.environ(**environ),
            cwd=self.root,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def done(self, *words: str, **environ: str) -> tuple[int, str, str]:
        """Run `steersman` with these words to its end: exit code, stdout, stderr."""
        process = await self.run(*words, **environ)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def home() -> Iterator[Home]:
    root = Path(tempfile.mkdtemp(prefix="sm-"))
    made = Home(root)
    yield made
    for pid in made.guardians() + made.agents():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def daemon() -> AsyncIterator[FakeTelemetry]:
    made = FakeTelemetry()
    await made.start()
    yield made
    await made.stop()


Until = Callable[..., Awaitable[None]]


async def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {condition}"
        await asyncio.sleep(0.01)


@pytest.fixture
def until() -> Until:
    """Wait for a condition, not for time."""
    return wait_until
