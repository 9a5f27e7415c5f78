"""A small agent that speaks the protocol over a real stream: the other end of what is tested."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import grpc.aio
import numpy as np

from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import telemetry_pb2_grpc as rpc
from steersman.v1 import types_pb2 as types

DEADLINE_S = 30.0


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition, never for a time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while not (value := condition()):
        assert loop.time() < deadline, f"never came: {what}"
        await asyncio.sleep(0.005)
    return value


def hello(low: int = 1, high: int = 1) -> pb.StreamRequest:
    return pb.StreamRequest(
        hello=pb.Hello(protocol_min=low, protocol_max=high, agent_id="agent-1", host="host-1", agent_version="0")
    )


def job_hello(attempt: str, job: str = "run", **fields: Any) -> pb.StreamRequest:
    rank = pb.RankInfo(rank=0, pid=1, optimizers=[pb.OptimizerInfo(class_name="torch.optim.adamw.AdamW", groups=["0"])])
    told: dict[str, Any] = {"world_size": 1, "policy": types.POLICY_OBSERVE, "started_at": 1_000.0, "host": "host-1"}
    return pb.StreamRequest(job_hello=pb.JobHello(attempt_id=attempt, job=job, ranks=[rank], **{**told, **fields}))


def batch(
    attempt: str, first: int, columns: Mapping[str, Any], *, rank: int = 0, skipped: int = 0, start: int = 0
) -> pb.Batch:
    """Rows from sequence number `first` on: step and time follow from the sequence number."""
    n = len(next(iter(columns.values())))
    seqs = np.arange(first, first + n)
    made = []
    for name, values in columns.items():
        array = np.asarray(values, dtype="<f8")
        made.append(pb.Column(name=name, values=array.tobytes()))
    return pb.Batch(
        attempt_id=attempt,
        rank=rank,
        first_seq=first,
        rows=n,
        steps=(seqs - 1 + start).astype("<i8").tobytes(),
        times=(2_000.0 + 0.5 * seqs).astype("<f8").tobytes(),
        columns=made,
        skipped=skipped,
    )


class AgentInTest:
    """One stream. `received` holds everything that came, `durable` and `taken` the marks by (attempt, rank)."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        stub: Any = rpc.TelemetryServiceStub(self.channel)
        self.call = stub.Stream()
        self.received: list[pb.StreamResponse] = []
        self.durable: dict[tuple[str, int], int] = {}
        self.taken: dict[tuple[str, int], int] = {}
        self.commands: list[pb.AdjustmentCommand] = []
        self.status: grpc.StatusCode | None = None
        self._reader = asyncio.create_task(self._read())

    async def send(self, request: pb.StreamRequest) -> None:
        await self.call.write(request)

    async def batches(self, *batches: pb.Batch) -> None:
        await self.send(pb.StreamRequest(batches=pb.BatchGroup(batches=batches)))

    async def open(self, attempt: str, job: str = "run", **fields: Any) -> pb.JobWelcome:
        """Send hello and job_hello; the welcome."""
        if not any(r.WhichOneof("message") == "welcome" for r in self.received):
            await self.send(hello())
        await self.send(job_hello(attempt, job, **fields))
        welcome = await until(lambda: self.welcome(attempt), f"welcome of {attempt}")
        assert isinstance(welcome, pb.JobWelcome)
        return welcome

    def welcome(self, attempt: str) -> pb.JobWelcome | None:
        found = [r.job_welcome for r in self.received if r.WhichOneof("message") == "job_welcome"]
        return next((w for w in found if w.attempt_id == attempt), None)

    def refusal(self) -> pb.Refusal | None:
        return next((r.refusal for r in self.received if r.WhichOneof("message") == "refusal"), None)

    def ended(self, attempt: str) -> list[pb.StreamResponse]:
        """The acknowledgements of the end of an attempt."""
        return [
            m for m in self.received if m.WhichOneof("message") == "job_end_ack" and m.job_end_ack.attempt_id == attempt
        ]

    async def all_durable(self, attempt: str, seq: int, rank: int = 0) -> None:
        await until(lambda: self.durable.get((attempt, rank), 0) >= seq, f"durable {seq} of {attempt}")

    async def close(self) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        self.call.cancel()
        await self.channel.close()

    async def _read(self) -> None:
        try:
            async for message in self.call:
                self.received.append(message)
                if message.WhichOneof("message") == "batch_ack":
                    key = (message.batch_ack.attempt_id, message.batch_ack.rank)
                    self.durable[key] = message.batch_ack.durable_seq
                    self.taken[key] = message.batch_ack.received_seq
                elif message.WhichOneof("message") == "adjustment":
                    self.commands.append(message.adjustment)
        except grpc.aio.AioRpcError as error:
            self.status = error.code()
            return
        self.status = grpc.StatusCode.OK
