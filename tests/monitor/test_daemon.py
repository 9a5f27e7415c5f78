"""What the daemon refuses to start on, and how it goes down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs
from tests.monitor.agent_in_test import AgentInTest, batch, until

from steersman.monitor.daemon import Daemon
from steersman.monitor.errors import AddressInUseError, SettingsError, StoreInUseError
from steersman.monitor.settings import Address, IngestSettings
from steersman.v1 import telemetry_pb2 as pb

Start = Callable[..., Awaitable[Daemon]]
Connect = Callable[[Daemon], AgentInTest]


async def test_a_port_in_use_is_named_with_a_way_out(start: Start) -> None:
    first = await start()
    with pytest.raises(AddressInUseError) as refused:
        await start(store="other.db", listen=first.listen)
    assert str(refused.value).startswith(f"can't listen on {first.listen}: the port is in use")
    assert "--listen 127.0.0.1:0 picks a free one" in str(refused.value)
    await start(store="other.db")  # the refused one left nothing behind


async def test_a_metrics_port_in_use_is_named_with_a_way_out(start: Start) -> None:
    first = await start(metrics=Address("127.0.0.1", 0))
    with pytest.raises(
        AddressInUseError, match=r"can't serve metrics on .* choose another port with --metrics HOST:PORT"
    ):
        await start(store="other.db", metrics=first.metrics_address)


async def test_a_store_in_use_is_refused(start: Start) -> None:
    await start()
    with pytest.raises(StoreInUseError):
        await start()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_an_address_others_can_reach_is_refused_in_words(start: Start, host: str) -> None:
    with pytest.raises(SettingsError, match=r"neither TLS nor tokens yet .*--insecure-listen"):
        await start(listen=Address(host, 0))


async def test_it_can_be_insisted_on(start: Start) -> None:
    with capture_logs() as said:
        await start(listen=Address("0.0.0.0", 0), insecure_listen=True)
    (warning,) = [s["warning"] for s in said if s["event"] == "insecure_listen"]
    assert "without TLS or token" in warning


async def test_drain_commits_what_was_taken_and_tells_the_agents(start: Start, connect: Connect) -> None:
    daemon = await start(ingest=IngestSettings(commit_interval_s=30.0))
    agent = connect(daemon)
    opening = asyncio.create_task(agent.open("a1"))
    await asyncio.sleep(0)
    await until(lambda: daemon.cycle.waiting, "the job in the queue")
    await daemon.drain()
    assert (await opening).job == "run"
    refusal = await until(agent.refusal, "a refusal")
    assert refusal.code == pb.Refusal.CODE_DRAINING


async def test_a_silent_job_is_said_to_be_silent_and_then_lost(start: Start, connect: Connect) -> None:
    clock = [2_000.0]
    daemon = await start(clock=lambda: clock[0])
    agent = connect(daemon)
    await agent.open("a1")
    await agent.batches(batch("a1", 1, {"loss": [1.0] * 9}))
    await agent.all_durable("a1", 9)

    def state() -> str:
        return daemon.board.all()[0].state.value

    clock[0] += 29
    await agent.batches(batch("a1", 10, {"val_loss": [1.0]}))
    await agent.all_durable("a1", 10)
    assert state() == "running"
    clock[0] += 31
    await until(lambda: state() == "silent", "silence")
    await agent.batches(batch("a1", 11, {"loss": [1.0]}))
    await until(lambda: state() == "running", "its voice")
    clock[0] += 3_700
    await until(lambda: state() == "silent", "silence again")
    await agent.close()
    await until(lambda: state() == "lost", "the end")
    back = connect(daemon)
    assert (await back.open("a1")).attempt == 1
    await until(lambda: state() == "running" or state() == "silent", "going on")
