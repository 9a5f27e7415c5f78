"""An agent that dies is followed by another, whoever it served; one that is done is not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.agent.test_watch import HEAD

from steersman.agent import guardian
from steersman.agent.paths import places
from steersman.agent.strays import on_paper
from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from tests.agent.conftest import FakeTelemetry, Home, Until

UNTIL_ENOUGH = """
import os, time
with watch(optimizer, job='mine') as w:
    while not os.path.exists('enough'):
        step()
        time.sleep(0.01)
"""


@pytest.fixture
async def training(home: Home, daemon: FakeTelemetry, until: Until) -> AsyncIterator[Process]:
    """A job under `watch` whose rows arrive, and which ends when there is a file `enough`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HEAD + UNTIL_ENOUGH),
        env=home.environ(STEERSMAN_DAEMON=daemon.address),
        cwd=home.root,
        stderr=asyncio.subprocess.PIPE,
    )
    await until(lambda: (seen := daemon.job("mine")) is not None and seen.rows.get(0))
    yield process
    if process.returncode is None:
        process.kill()
        await process.communicate()


async def end(home: Home, training: Process) -> None:
    (home.root / "enough").touch()
    _, err = await training.communicate()
    assert (training.returncode, err) == (0, b"")


async def test_a_job_under_watch_outlives_its_agent(
    home: Home, daemon: FakeTelemetry, training: Process, until: Until
) -> None:
    (seen,) = daemon.jobs.values()
    for _ in range(2):
        await until(home.guardians)
        (agent,) = home.agents()
        joined = home.logged("probe_joined")
        os.kill(agent, signal.SIGKILL)
        await until(lambda joined=joined: home.logged("probe_joined") > joined)
        rows = len(seen.rows[0])
        await until(lambda rows=rows: len(seen.rows[0]) > rows)
    await end(home, training)
    await until(lambda: seen.end is not None)
    assert seen.end is not None
    assert seen.end.outcome == pb.JobEnd.OUTCOME_FINISHED
    lost = sum(event.count for event in seen.events.values() if event.kind == "rows_lost")
    assert seen.skipped == lost
    assert seen.rows[0][-1] == len(seen.rows[0]) + lost
    await until(lambda: not home.agents() and not home.guardians())


async def test_a_guardian_that_is_killed_is_followed_by_another(home: Home, training: Process, until: Until) -> None:
    await until(home.guardians)
    (first,) = home.guardians()
    os.kill(first, signal.SIGKILL)
    await until(lambda: (found := home.guardians()) and found != [first])
    (agent,) = home.agents()
    os.kill(agent, signal.SIGKILL)
    await until(lambda: (found := home.agents()) and found != [agent])
    await end(home, training)


async def test_an_agent_that_was_stopped_stays_away(
    home: Home, daemon: FakeTelemetry, training: Process, until: Until
) -> None:
    await until(home.guardians)
    assert (await home.done("agent", "stop", "--daemon", daemon.address))[0] == 0
    await until(lambda: not home.agents() and not home.guardians())
    await end(home, training)
    assert home.agents() == []


async def test_where_both_are_killed_a_command_starts_another(
    home: Home, daemon: FakeTelemetry, training: Process, until: Until
) -> None:
    pid, where = str(training.pid), ("--daemon", daemon.address)
    await home.kill_agents(until)
    code, out, err = await home.done("preflight", pid, "--json")
    (obstacle,) = json.loads(out)["obstacles"]
    assert (code, obstacle["message"]) == (5, f"process {pid} is already watched as mine"), err
    assert len(home.agents()) == 1
    await home.kill_agents(until)
    assert (await home.done("jobs", *where))[0] == 3  # nobody there whom it could ask
    assert len(home.agents()) == 1
    await home.kill_agents(until)
    code, out, err = await home.done("detach", pid, "--daemon", "127.0.0.1:9")
    assert (code, out) == (4, "")
    assert err.splitlines()[0] == f"steersman: mine is watched for the daemon at {daemon.address}"
    assert f"steersman detach {pid} --daemon {daemon.address}" in err
    code, out, err = await home.done("detach", pid, *where)
    assert (code, out) == (0, "mine is no longer watched; it goes on as it was\n"), err
    (seen,) = daemon.jobs.values()
    await until(lambda: seen.end is not None)
    assert seen.end is not None
    assert seen.end.outcome == pb.JobEnd.OUTCOME_DETACHED
    await end(home, training)


async def test_what_papers_say_of_others_is_not_ours(home: Home, daemon: FakeTelemetry, training: Process) -> None:
    where = replace(places(home.environ()), state=home.root / ".local/state/steersman")
    (one,) = on_paper(where)
    assert (one.job, one.daemon, one.pids) == ("mine", daemon.address, (training.pid,))
    (papers,) = home.spool.rglob("attempt.json")
    told = json.loads(papers.read_text())
    folder = papers.parent.parent / "other"
    folder.mkdir()
    for unlike in ({"end": {"outcome": "x"}}, {"left": {"0": "finished"}}, {"hello": {"job": "mine", "host": "other"}}):
        (folder / "attempt.json").write_text(json.dumps({**told, **unlike}))
        assert list(on_paper(where)) == [one]
    (folder / "attempt.json").write_text("{")
    assert list(on_paper(where)) == [one]
    await end(home, training)


def test_agents_that_die_at_once_are_given_up() -> None:
    words = [sys.executable, "-I", "-S", str(Path(guardian.__file__)), "127.0.0.1:9", "nowhere.sock", "10"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "10 agents for 127.0.0.1:9 died soon after they began: no other one is started\n"
