"""However a job ends: same words, same exit code, and every step that it made is known."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING

import pytest

from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from tests.agent.conftest import FakeTelemetry, Home, Until

BEFORE = """
import atexit, os, signal, sys, threading, torch
torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

def step():
    optimizer.zero_grad()
    model(torch.ones(64, 8)).pow(2).mean().backward()
    optimizer.step()

def train(steps):
    for _ in range(steps):
        step()
    print(f"{model.bias.item():.17g}", flush=True)
"""

FINISHED, FAILED, KILLED = pb.JobEnd.OUTCOME_FINISHED, pb.JobEnd.OUTCOME_FAILED, pb.JobEnd.OUTCOME_KILLED

ENDINGS = {
    "returns": ("train(40)", 40),
    "sys.exit": ("train(40)\nsys.exit(3)", 40),
    "sys.exit with words": ("train(40)\nsys.exit('no more data')", 40),
    "sys.exit in a thread": ("t = threading.Thread(target=lambda: (train(40), sys.exit(3)))\nt.start()\nt.join()", 40),
    "an exception": ("train(40)\n1 / 0", 40),
    "an exception in a step": (
        "def hook(*_):\n    raise ValueError('mine')\ntrain(40)\noptimizer.register_step_post_hook(hook)\nstep()",
        41,
    ),
    "an exception in backward": (
        "train(40)\nmodel.weight.register_hook(lambda g: 1 / 0)\nstep()",
        40,
    ),
    "an excepthook of its own": ("sys.excepthook = lambda *a: print('caught', a[0].__name__)\ntrain(40)\n1 / 0", 40),
    "an excepthook that fails": ("sys.excepthook = lambda *a: 1 / 0\ntrain(40)\n[][0]", 40),
    "a KeyboardInterrupt": ("train(40)\nraise KeyboardInterrupt", 40),
    "recursion without end": ("def down():\n    step()\n    down()\nsys.setrecursionlimit(200)\ndown()", None),
    "a training in an atexit handler": ("atexit.register(train, 20)\ntrain(20)", 40),
    "an atexit handler that fails": ("atexit.register(lambda: 1 / 0)\ntrain(40)", 40),
    "a thread that trains on": ("threading.Thread(target=train, args=(40,)).start()\nprint('main is over')", 40),
    "a daemon thread in mid-training": (
        "begun = threading.Event()\n"
        "def on():\n    while True:\n        step()\n        begun.set()\n"
        "threading.Thread(target=on, daemon=True).start()\nbegun.wait()\nprint('main is over')",
        None,
    ),
    "a training in __del__": (
        "class Last:\n    def __del__(self, train=train):\n        train(20)\nlast = Last()\ntrain(20)",
        None,
    ),
    "streams that are closed": ("train(40)\nsys.stdout.close()\nsys.stderr.close()", 40),
    "os._exit": ("train(40)\nos._exit(5)", None),
    "os.abort": ("train(40)\nos.abort()", None),
    "SIGTERM": ("train(40)\nos.kill(os.getpid(), signal.SIGTERM)\nsignal.pause()", None),
    "SIGKILL": ("train(40)\nos.kill(os.getpid(), signal.SIGKILL)", None),
    "another program in its place": ("train(40)\nos.execv('/bin/sh', ['sh', '-c', 'echo other; exit 6'])", None),
    "a forked child that returns": (
        "train(20)\npid = os.fork()\nif pid:\n    print(os.waitpid(pid, 0)[1], flush=True)\n    train(20)",
        None,
    ),
}


async def _plainly(home: Home, path: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, path),
        env=home.environ(),
        cwd=home.root,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _theirs(words: str) -> str:
    """What was said, without addresses and without the frames that are ours."""
    ours = r'  File "[^"]*/_?steersman/agent/probe/[^"]*", line .*\n(    .*\n)*'
    return re.sub("0x[0-9a-f]+", "0x", re.sub(ours, "", words))


@pytest.mark.parametrize("name", ENDINGS)
async def test_it_ends_as_it_would_without_us(name: str, home: Home, daemon: FakeTelemetry, until: Until) -> None:
    ending, steps = ENDINGS[name]
    path = home.root / "train.py"
    path.write_text(f"{BEFORE}\n{ending}\n")
    code, out, err = await _plainly(home, str(path))
    watched = await home.done("run", "--daemon", daemon.address, "--", sys.executable, str(path))
    assert watched[0] in (code, 128 - code)  # a signal, as a shell shows it
    assert watched[1] == out
    assert _theirs(watched[2]) == _theirs(err)
    await until(lambda: (job := daemon.job("train")) is not None and job.end is not None)
    seen = daemon.job("train")
    assert seen is not None
    assert seen.end is not None
    if code < 0:
        assert (seen.end.outcome, seen.end.signal) == (KILLED, -code)
    else:
        assert (seen.end.outcome, seen.end.exit_code) == (FAILED if code else FINISHED, code)
    if steps is not None:
        assert seen.steps[0] == list(range(steps))
    assert seen.skipped == 0
