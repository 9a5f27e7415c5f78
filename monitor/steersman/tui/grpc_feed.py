"""The feed that a daemon gives over gRPC."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc
import numpy as np

from steersman.cli import translate, views
from steersman.cli.client import channel_options, check_protocol, command_error, operator_name
from steersman.cli.errors import CommandError
from steersman.tui.feed import Connected, FeedError, JobUpdate, Lost, Points, Ready, Update
from steersman.v1 import operator_pb2, operator_pb2_grpc

_FIRST_RETRY = 0.5
_LONGEST_RETRY = 5.0
_TIMEOUT = 10.0
_Reply = TypeVar("_Reply")


def _words(error: grpc.RpcError | CommandError, address: str) -> str:
    said = error if isinstance(error, CommandError) else command_error(error, address)
    return said.message


class GrpcFeed:
    """Follows one daemon; reconnects by itself, from half a second up to five, with jitter.

    Args:
        address: HOST:PORT of the daemon.
        sleep: what waits between two attempts.
    """

    def __init__(self, address: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.address = address
        self._sleep = sleep
        self._open_channel: grpc.aio.Channel | None = None

    def _stub(self) -> operator_pb2_grpc.OperatorServiceAsyncStub:
        if self._open_channel is None:
            self._open_channel = grpc.aio.insecure_channel(self.address, options=channel_options(self.address))
        # one class serves both kinds of channel; its stubs file has two
        stub: operator_pb2_grpc.OperatorServiceAsyncStub = operator_pb2_grpc.OperatorServiceStub(self._open_channel)  # type: ignore[assignment]
        return stub

    async def close(self) -> None:
        """Gives the connection back."""
        channel, self._open_channel = self._open_channel, None
        if channel is not None:
            await channel.close()

    async def updates(self) -> AsyncIterator[Update]:
        """The present state of all jobs, then every change; `Lost` whenever the daemon goes."""
        try:
            async for update in self._follow():
                yield update
        finally:
            await self.close()

    async def _follow(self) -> AsyncIterator[Update]:
        pause = _FIRST_RETRY
        while True:
            try:
                daemon = translate.daemon(
                    await self._stub().GetDaemon(operator_pb2.GetDaemonRequest(), timeout=_TIMEOUT)
                )
                check_protocol(daemon, self.address)
                yield Connected(daemon)
                async for message in self._stub().WatchJobs(operator_pb2.WatchJobsRequest(max_rate_hz=2)):
                    pause = _FIRST_RETRY
                    if message.HasField("job"):
                        adjustments = tuple(translate.adjustment(a) for a in message.adjustments)
                        yield JobUpdate(translate.job(message.job), adjustments)
                    if message.snapshot_done:
                        yield Ready()
                reason = f"the daemon at {self.address} ended the stream"
            except (grpc.RpcError, CommandError) as error:
                reason = _words(error, self.address)
            await self.close()  # a channel that failed backs off for longer than we want to wait
            wait = pause * (0.8 + 0.4 * random.random())
            yield Lost(reason, wait)
            await self._sleep(wait)
            pause = min(_LONGEST_RETRY, pause * 1.6)

    async def _ask(self, call: Awaitable[_Reply]) -> _Reply:
        try:
            return await call
        except grpc.RpcError as error:
            raise FeedError(_words(error, self.address)) from None

    async def detail(self, job: str) -> views.JobDetail:
        """One job with its events."""
        request = operator_pb2.GetJobRequest(job=job)
        return translate.detail(await self._ask(self._stub().GetJob(request, timeout=_TIMEOUT)))

    async def series_names(self, job: str) -> tuple[str, ...]:
        """The series a job has."""
        request = operator_pb2.ListSeriesRequest(job=job)
        reply = await self._ask(self._stub().ListSeries(request, timeout=_TIMEOUT))
        return tuple(info.name for info in translate.series_list(reply))

    async def series(self, job: str, name: str, resolution: int, from_step: int) -> Points:
        """The first rank's points from a step on."""
        request = operator_pb2.GetSeriesRequest(
            job=job, name=name, resolution=resolution, from_step=from_step, ranks=[0]
        )
        series = translate.series(await self._ask(self._stub().GetSeries(request, timeout=_TIMEOUT)))
        if not series.ranks:
            return Points(np.empty(0, np.int64), np.empty(0, np.float64))
        points = next(iter(series.ranks.values()))
        return Points(np.asarray(points.steps, np.int64), np.asarray(points.values, np.float64))

    async def decide(self, verb: str, adjustment_id: str) -> views.Adjustment:
        """`approve`, `reject` or `revert` an adjustment, in the name of the user of this terminal."""
        stub, who = self._stub(), operator_name()
        if verb == "approve":
            approve = operator_pb2.ApproveAdjustmentRequest(adjustment_id=adjustment_id, operator=who)
            return translate.adjustment((await self._ask(stub.ApproveAdjustment(approve, timeout=_TIMEOUT))).adjustment)
        if verb == "reject":
            reject = operator_pb2.RejectAdjustmentRequest(adjustment_id=adjustment_id, operator=who)
            return translate.adjustment((await self._ask(stub.RejectAdjustment(reject, timeout=_TIMEOUT))).adjustment)
        revert = operator_pb2.RevertAdjustmentRequest(adjustment_id=adjustment_id, operator=who)
        return translate.adjustment((await self._ask(stub.RevertAdjustment(revert, timeout=_TIMEOUT))).adjustment)
