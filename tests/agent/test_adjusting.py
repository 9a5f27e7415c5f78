from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from tests.agent.conftest import FakeTelemetry, Home, Until

TRAIN = """
import os, time, torch
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
while not os.path.exists("enough"):
    optimizer.zero_grad()
    model(torch.ones(64, 8)).pow(2).mean().backward()
    optimizer.step()
    time.sleep(0.005)
"""

ACK = pb.AdjustmentAck


@pytest.fixture
async def running(home: Home, daemon: FakeTelemetry, until: Until) -> asyncio.subprocess.Process:
    (home.root / "train.py").write_text(TRAIN)
    options = ["--policy", "auto", "--min-factor", "0.25", "--cooldown", "0", "--max-adjustments", "1"]
    process = await home.run("run", "--daemon", daemon.address, *options, "--", sys.executable, "train.py")
    await until(lambda: (seen := daemon.job("train")) is not None and seen.rows.get(0))
    return process


async def finish(home: Home, running: asyncio.subprocess.Process) -> None:
    (home.root / "enough").touch()
    _, err = await asyncio.wait_for(running.communicate(), 60)
    assert running.returncode == 0, err


def order(
    daemon: FakeTelemetry, name: str, counter: int, factor: float, undo: bool = False, by_operator: bool = False
) -> None:
    (attempt,) = daemon.jobs
    command = pb.AdjustmentCommand(
        adjustment_id=name,
        attempt_id=attempt,
        counter=counter,
        expires_at=time.time() + 60,
        overlay=pb.Overlay(factor=factor),
        by="test",
        undo=undo,
        by_operator=by_operator,
    )
    daemon.outbox.put_nowait(pb.StreamResponse(adjustment=command))


async def test_an_order_reaches_the_optimizer_and_the_owners_limits_hold(
    home: Home, daemon: FakeTelemetry, until: Until, running: asyncio.subprocess.Process
) -> None:
    seen = daemon.job("train")
    assert seen is not None

    def said(name: str, state: int) -> list[ACK]:
        return [a for a in seen.acks if a.adjustment_id == name and a.state == state]

    order(daemon, "low", 1, 0.1)
    await until(lambda: said("low", ACK.STATE_REFUSED))
    assert said("low", ACK.STATE_REFUSED)[0].message == "a total factor of 0.1 is below the owner's least, 0.25"

    order(daemon, "half", 2, 0.5)
    await until(lambda: said("half", ACK.STATE_APPLIED))
    assert list(said("half", ACK.STATE_APPLIED)[0].lr) == [pytest.approx(0.005)]
    assert list(said("half", ACK.STATE_APPLIED)[0].own_lr) == [pytest.approx(0.01)]

    order(daemon, "more", 3, 0.4)
    await until(lambda: said("more", ACK.STATE_REFUSED))
    assert "the job's owner allows 1" in said("more", ACK.STATE_REFUSED)[0].message

    # An agent that was killed and came back has forgotten nothing.
    (agent,) = home.agents()
    streams, joined = daemon.streams, home.logged("probe_joined")
    os.kill(agent, 9)
    await until(lambda: daemon.streams > streams)
    # Rows alone would prove nothing: they may be those that the old agent left in its spool.
    await until(lambda: home.logged("probe_joined") > joined)
    order(daemon, "again", 4, 0.4)
    await until(lambda: said("again", ACK.STATE_REFUSED))
    assert "the daemon has made 1 adjustments by itself" in said("again", ACK.STATE_REFUSED)[0].message
    order(daemon, "old", 2, 0.3, by_operator=True)
    await until(lambda: said("old", ACK.STATE_REFUSED))
    assert "counter 2 is not above 2" in said("old", ACK.STATE_REFUSED)[0].message

    order(daemon, "back", 5, 1.0, undo=True)
    await until(lambda: said("back", ACK.STATE_APPLIED))
    assert list(said("back", ACK.STATE_APPLIED)[0].lr) == [pytest.approx(0.01)]

    # The same order sent twice is answered twice and carried out once.
    count = len(said("back", ACK.STATE_APPLIED) + said("back", ACK.STATE_SETTLED))
    order(daemon, "back", 5, 1.0, undo=True)
    await until(lambda: len(said("back", ACK.STATE_APPLIED) + said("back", ACK.STATE_SETTLED)) > count)
    await finish(home, running)
