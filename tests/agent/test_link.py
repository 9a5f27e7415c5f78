from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steersman.agent.backoff import Backoff
from steersman.agent.link import Identity, Link, Window
from steersman.agent.local import Client
from steersman.agent.probe import packet
from steersman.agent.reception import Reception
from steersman.agent.roster import Roster
from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from tests.agent.conftest import FakeTelemetry, Until

ATTEMPT = "11111111-2222-4333-8444-555555555555"


class Talker(Client):
    """A client that only remembers what it was told."""

    def __init__(self, process: str) -> None:
        self.process = process
        self.attempt_id = ""
        self.rank = -1
        self.launcher = False
        self.said_goodbye = False
        self.bad_packets = 0
        self.told: list[tuple[int, dict[str, object]]] = []

    def send(self, kind: int, **message: object) -> None:
        self.told.append((kind, message))


class Host:
    """A roster with its link, without a process of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        self.roster = Roster(folder, "host", "user", time.time)
        self.roster.recover()
        self.reception = Reception(self.roster, time.time)
        self.link = Link(address, Identity("agent", "host", "0"), self.roster, time.time)
        self.roster.attach(self.link)

    def hello(self, client: Client, rank: int = 0, **more: object) -> None:
        message = {"attempt_id": ATTEMPT, "rank": rank, "job": "j", "world_size": 1, **more}
        self.reception.received(client, packet.pack_json(packet.HELLO, message))
        self.reception.received(client, packet.schema(0, [("loss", ""), ("lr/0", "")]))

    def rows(self, client: Client, first: int, last: int) -> None:
        for seq in range(first, last + 1):
            data = packet.row_struct(2).pack(packet.ROW, packet.VERSION, 0, seq, seq - 1, 0.0, 0b11, 1.0, 0.1)
            self.reception.received(client, data)
        self.roster.flush()

    @contextlib.asynccontextmanager
    async def linked(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.link.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_rows_go_once_and_the_spool_is_trimmed_on_durable_alone(
    tmp_path: Path, daemon: FakeTelemetry, until: Until
) -> None:
    host, probe = Host(tmp_path, daemon.address), Talker("1:1")
    daemon.durable = False
    host.hello(probe)
    host.rows(probe, 1, 50)
    async with host.linked():
        await until(lambda: (seen := daemon.job("j")) is not None and len(seen.rows.get(0, ())) == 50)
        assert host.roster.attempts[ATTEMPT].unsent_rows == 50
        daemon.durable = True
        host.rows(probe, 51, 60)
        await until(lambda: host.roster.attempts[ATTEMPT].unsent_rows == 0)
    (seen,) = daemon.jobs.values()
    assert seen.rows[0] == list(range(1, 61))
    assert (packet.WELCOME, {"attempt_id": ATTEMPT, "job": "j", "shared": True}) in probe.told


async def test_a_gap_is_declared_so_that_the_daemon_goes_on(
    tmp_path: Path, daemon: FakeTelemetry, until: Until
) -> None:
    host, probe = Host(tmp_path, daemon.address), Talker("1:1")
    host.hello(probe)
    host.rows(probe, 1, 5)
    host.rows(probe, 9, 12)
    async with host.linked():
        await until(lambda: daemon.jobs and daemon.jobs[ATTEMPT].marks.get(0) == 12)
        await until(lambda: daemon.jobs[ATTEMPT].events)
    seen = daemon.jobs[ATTEMPT]
    assert (seen.rows[0], seen.skipped, daemon.order_broken) == ([1, 2, 3, 4, 5, 9, 10, 11, 12], 3, [])
    assert [(e.kind, e.count) for e in seen.events.values()] == [("rows_lost", 3)]


async def test_after_a_reconnection_what_is_not_durable_is_sent_again(
    tmp_path: Path, daemon: FakeTelemetry, until: Until
) -> None:
    host, probe = Host(tmp_path, daemon.address), Talker("1:1")
    daemon.durable = False
    host.hello(probe)
    host.rows(probe, 1, 30)
    async with host.linked():
        await until(lambda: daemon.jobs and daemon.jobs[ATTEMPT].marks.get(0) == 30)
        await daemon.stop()
        del daemon.jobs[ATTEMPT]  # it had nothing on disk
        host.rows(probe, 31, 40)
        daemon.durable = True
        await daemon.start(daemon.port)
        await until(lambda: host.roster.attempts[ATTEMPT].unsent_rows == 0)
    assert daemon.jobs[ATTEMPT].rows[0] == list(range(1, 41))
    assert daemon.order_broken == []


async def test_a_daemon_of_another_protocol_is_named(tmp_path: Path, daemon: FakeTelemetry, until: Until) -> None:
    host = Host(tmp_path, daemon.address)
    words = "this daemon speaks protocol 7; upgrade the agent"
    daemon.refusal = pb.Refusal(code=pb.Refusal.CODE_PROTOCOL, message=words)
    async with host.linked():
        await until(lambda: words in host.link.last_error)
        assert not host.roster.status()["connected"]
        assert host.roster.status()["last_error"] == f"the daemon at {daemon.address} refused: {words}"


async def test_one_refused_job_stops_no_other(tmp_path: Path, daemon: FakeTelemetry, until: Until) -> None:
    host, probe = Host(tmp_path, daemon.address), Talker("1:1")
    host.hello(probe)
    async with host.linked():
        await until(lambda: ATTEMPT in daemon.jobs)
        refusal = pb.Refusal(code=pb.Refusal.CODE_LIMIT, message="too many jobs", attempt_id=ATTEMPT)
        daemon.outbox.put_nowait(pb.StreamResponse(refusal=refusal))
        await until(lambda: host.roster.status()["jobs"][0]["refused"] == "too many jobs")
        assert host.link.up


def test_a_second_process_with_the_same_rank_gets_an_attempt_of_its_own(tmp_path: Path) -> None:
    host, first, second = Host(tmp_path, "127.0.0.1:9"), Talker("1:1"), Talker("2:1")
    host.hello(first)
    host.hello(second)
    host.hello(first)  # the first one again, after a reconnection
    assert first.attempt_id == ATTEMPT
    assert second.attempt_id not in ("", ATTEMPT)
    assert second.told[0][1]["attempt_id"] == second.attempt_id


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        packet.pack_json(packet.HELLO, {"attempt_id": "../../etc", "rank": 0}),
        packet.pack_json(packet.HELLO, {"attempt_id": ATTEMPT, "rank": -1}),
        packet.pack_json(packet.HELLO, {"attempt_id": ATTEMPT, "rank": 0, "policy": "do-it"}),
        packet.pack_json(packet.HELLO, {"attempt_id": ATTEMPT, "rank": [1]}),
        packet.pack_json(packet.EVENT, {"kind": "before hello"}),
        packet.pack_json(packet.QUERY, {"what": "else"}),
        packet.pack_json(99, {}),
        bytes([packet.HELLO, packet.VERSION]) + b"{",
        packet.row_struct(1).pack(packet.ROW, packet.VERSION, 0, 1, 0, 0.0, 1, 1.0),
    ],
)
def test_a_broken_client_is_told_and_harms_nobody(tmp_path: Path, data: bytes) -> None:
    host, probe = Host(tmp_path, "127.0.0.1:9"), Talker("1:1")
    host.reception.received(probe, data)
    ((kind, message),) = probe.told
    assert kind == packet.REFUSED
    assert str(message["message"]).startswith("the agent did not understand a packet: ")
    assert host.roster.attempts == {}


def test_the_window_bounds_what_is_under_way() -> None:
    window = Window(max_bytes=1000, max_messages=2)
    batch = pb.Batch(attempt_id="a", rank=0, first_seq=1, rows=2, steps=b"." * 400)
    window.add([batch])
    assert 0 < window.room() < 600
    window.add([pb.Batch(attempt_id="b", rank=0, first_seq=1, rows=1)])
    assert window.room() == 0  # two messages
    window.taken("a", 0, 1)
    assert window.room() == 0  # only its first row
    window.taken("a", 0, 2)
    assert window.room() > 900
    window.drop("b")
    assert window.room() == 1000


def test_the_backoff_doubles_to_its_cap_and_begins_again() -> None:
    backoff = Backoff(5.0, uniform=lambda low, high: high)
    assert [backoff.delay() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.delay() == 0.5
    backoff.slow()
    assert backoff.delay() == 5.0
    assert Backoff(5.0, uniform=lambda low, high: low).delay() == 0.25
