from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from steersman.agent import watch
from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from tests.agent.conftest import FakeTelemetry, Home, Until

HEAD = """
import sys, torch
from steersman.agent import watch
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
def step():
    optimizer.zero_grad()
    model(torch.ones(64, 8)).pow(2).mean().backward()
    optimizer.step()
"""


async def python(home: Home, code: str, **environ: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HEAD + code),
        env=home.environ(**environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def test_importing_watch_brings_nothing_heavy_into_the_job() -> None:
    heavy = ("grpc", "google", "asyncio", "numpy", "torch", "platformdirs", "click")
    code = f"import sys; from steersman.agent import watch; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


async def test_watch_starts_the_agent_and_its_rows_arrive(home: Home, daemon: FakeTelemetry, until: Until) -> None:
    code = (
        "with watch(optimizer, model, job='mine', policy='approve', limits={'max_factor': 2}, planned_steps=40) as w:\n"
        "    for i in range(40):\n"
        "        step()\n"
        "        if i == 20: w.log(val_loss=0.5)\n"
        "print(w.active, 'grpc' in sys.modules)\n"
    )
    got, out, err = await python(home, code, STEERSMAN_DAEMON=daemon.address)
    assert (got, out, err) == (0, "False False\n", "")
    await until(lambda: (seen := daemon.job("mine")) is not None and seen.end is not None)
    seen = daemon.job("mine")
    assert seen is not None
    assert seen.end is not None
    assert seen.end.outcome == pb.JobEnd.OUTCOME_FINISHED
    assert seen.rows[0][0] == 1
    assert "val_loss" in seen.columns[0]
    assert (seen.hello.way_in, seen.hello.planned_steps, seen.hello.limits.max_factor) == ("watch", 40, 2.0)


async def test_an_exception_ends_the_job_as_failed(home: Home, daemon: FakeTelemetry, until: Until) -> None:
    code = f"w = watch(optimizer, job='bad', daemon={daemon.address!r})\nstep(); step()\nraise KeyError('mine')\n"
    got, _, err = await python(home, code)
    assert got == 1
    assert "KeyError: 'mine'" in err
    await until(lambda: (seen := daemon.job("bad")) is not None and seen.end is not None)
    seen = daemon.job("bad")
    assert seen is not None
    assert seen.end is not None
    assert (seen.end.outcome, seen.end.message) == (pb.JobEnd.OUTCOME_FAILED, "KeyError ended the program")


async def test_a_job_that_was_killed_is_lost(home: Home, daemon: FakeTelemetry, until: Until) -> None:
    code = (
        f"w = watch(optimizer, job='gone', daemon={daemon.address!r})\nfor i in range(5): step()\n"
        "import os; os.kill(os.getpid(), 9)\n"
    )
    assert (await python(home, code))[0] == -9
    await until(lambda: (seen := daemon.job("gone")) is not None and seen.end is not None)
    seen = daemon.job("gone")
    assert seen is not None
    assert seen.end is not None
    assert seen.end.outcome == pb.JobEnd.OUTCOME_LOST
    assert seen.rows[0] == [1, 2, 3, 4] or seen.rows[0] == [1, 2, 3, 4, 5]


async def test_a_second_training_of_the_same_ranks_is_a_job_of_both(
    home: Home, daemon: FakeTelemetry, until: Until
) -> None:
    code = (
        "import os, time\n"
        "os.chdir(os.environ['HOME'])\n"
        "for name in ('first', 'second'):\n"
        "    with watch(optimizer, job=name):\n"
        "        while not os.path.exists(name + '-enough'):\n"
        "            step()\n"
        "            time.sleep(0.01)\n"
        "    while not os.path.exists(name + '-over'): time.sleep(0.01)\n"
    )
    same = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "STEERSMAN_DAEMON": daemon.address}
    both = [asyncio.create_task(python(home, code, RANK=str(rank), **same)) for rank in (0, 1)]
    for name in ("first", "second"):
        await until(lambda name=name: (seen := daemon.job(name)) is not None and set(seen.rows) == {0, 1})
        (home.root / f"{name}-enough").touch()
        await until(lambda name=name: (seen := daemon.job(name)) is not None and seen.end is not None)
        (home.root / f"{name}-over").touch()
    assert await asyncio.gather(*both) == [(0, "", "")] * 2
    assert sorted(seen.hello.job for seen in daemon.jobs.values()) == ["first", "second"]


def test_the_agent_does_not_leave_before_the_probe_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    there = SimpleNamespace(close=lambda: order.append("let go of the agent"))
    probe = SimpleNamespace(see=lambda *_: order.append("the probe has come"), close=lambda **_: None)
    monkeypatch.setattr("steersman.agent.start.ensure_agent", lambda *_: there)
    monkeypatch.setattr("steersman.agent.probe.install", lambda config: probe)
    watch(SimpleNamespace(param_groups=[])).close()
    assert order == ["the probe has come", "let go of the agent"]


async def test_under_run_the_probe_that_is_there_is_used(home: Home, daemon: FakeTelemetry) -> None:
    script = home.root / "both.py"
    code_of_its_own = "w = watch(optimizer, job='other', planned_steps=20)\nfor i in range(20): step()\nw.close()\n"
    script.write_text(HEAD + code_of_its_own + "print(w.job)\n")
    code, out, err = await home.done("run", "--daemon", daemon.address, "--", sys.executable, str(script))
    assert (code, out) == (0, "both\n"), err
    # What `run` was told counts; the planned steps only the script can know.
    assert [(seen.hello.job, seen.hello.planned_steps) for seen in daemon.jobs.values()] == [("both", 20)]


async def test_without_a_daemon_nothing_is_raised_or_said(home: Home) -> None:
    code = "w = watch(optimizer, daemon='127.0.0.1:9')\nfor i in range(5): step()\nw.close()\nw.close()\nprint('ok')\n"
    assert await python(home, code) == (0, "ok\n", "")


async def test_switched_off_it_is_inert(home: Home) -> None:
    code = (
        "w = watch(optimizer)\nw.log(val_loss=1.0)\nstep()\nw.close()\n"
        "print(w.active, w.job, [m for m in sys.modules if m.startswith('steersman.agent.probe')])\n"
    )
    assert await python(home, code, STEERSMAN="off") == (0, "False  []\n", "")
    assert home.agents() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"policy": "atuo"}, "'atuo' is no policy; did you mean 'auto'?"),
        ({"job": "--"}, "a job can't be called '--': a name that begins with - is taken for an option"),
        ({"limits": {"maxfactor": 2}}, "'maxfactor' is no limit; did you mean 'max_factor'?"),
        ({"planned_steps": -1}, "planned_steps must be a whole number from 0 on, not -1"),
        ({"daemon": "nowhere"}, "'nowhere' is no address of a daemon; write HOST:PORT"),
        ({}, "watch needs a torch optimizer, not object"),
    ],
)
def test_a_mistake_in_the_call_is_explained(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as raised:
        watch(object(), **arguments)
    assert str(raised.value).startswith(words)
