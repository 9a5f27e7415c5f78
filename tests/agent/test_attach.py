"""`attach` and `detach` on real jobs that know nothing of us: they end as they would have without us, every time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from steersman.agent.target import Target
from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from tests.agent.conftest import FakeTelemetry, Home, Until

HEAD = """
import hashlib, os, sys, threading, time
import torch
from torch.optim.optimizer import Optimizer
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
generator = torch.Generator().manual_seed(1)
def forward():
    return (model(torch.randn(32, 8, generator=generator)) - 1).pow(2).mean()
def step():
    optimizer.zero_grad()
    forward().backward()
    optimizer.step()
def places():
    clip, functional = torch.nn.utils.clip_grad, torch.nn.functional
    return [torch.autograd.backward, functional.cross_entropy, functional.mse_loss, clip._get_total_norm,
            Optimizer._optimizer_step_code, torch.amp.GradScaler.scale]
BEFORE = places()
def digest():
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()[:16]
def enough():
    return os.path.exists("enough")
def train(step, between=lambda: time.sleep(0.002), steps=150):
    # What it prints is the state after a fixed number of steps, however long it goes on.
    count, result = 0, None
    while count < steps or not enough():
        step()
        between()
        count += 1
        if count == 3:
            print("ready", flush=True)
        if count == steps:
            result = digest()
    return result
"""

CLOSURE = """
def closing():
    def closure():
        optimizer.zero_grad()
        loss = forward()
        loss.backward()
        return loss
    optimizer.step(closure)
print(train(closing, between=lambda: None))
"""

FORKING = """
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(7 if sum(range(1000)) == 499500 else 8)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
codes = set()
print(train(step, fork), codes)
"""

WORKERS = """
class Numbers(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, index): return float(index)
def load():
    total.add(float(sum(batch.sum() for batch in torch.utils.data.DataLoader(Numbers(), 2, num_workers=2))))
total = set()
print(train(step, load, steps=20), total)
"""

LONG_CALLS = """
def long_call():
    a = torch.randn(400, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for _ in range(10):
        a = a @ a / 20
    sums.add(float(a.sum()))
    time.sleep(0.3)
sums = set()
print(train(step, long_call, steps=6), sums)
"""

THREADS = """
def spin():
    while not over:
        sorted(hash(i) for i in range(200))
        time.sleep(0.0005)
over = []
threads = [threading.Thread(target=spin) for _ in range(40)]
for thread in threads: thread.start()
print(train(step, steps=20))
over.append(1)
for thread in threads: thread.join()
print(threading.active_count())
"""

IN_A_THREAD = """
found = []
thread = threading.Thread(target=lambda: found.append(train(step)))
thread.start()
thread.join()
print(found, threading.active_count())
"""

ALLOCATING = """
def allocate():
    table = {str(i): [float(i)] * 20 for i in range(500)}
    table["self"] = table
    blocks = [bytearray(50000 + i) for i in range(20)]
    sums.add(sum(len(value) for value in table.values()))
sums = set()
print(train(step, allocate), sums)
"""

SIGNALLED = """
import signal
class Stop(Exception): pass
def on(*_): raise Stop
signal.signal(signal.SIGALRM, on)
def interrupted():
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while True: sum(range(100))
    except Stop: kinds.add("stopped")
kinds = set()
print(train(step, interrupted), kinds)
"""

HOSTILE = {
    "plain": "print(train(step))",
    "without a pause": "print(train(step, lambda: None))",
    "closure": CLOSURE,
    "forking": FORKING,
    "workers": WORKERS,
    "long calls": LONG_CALLS,
    "threads": THREADS,
    "in a thread": IN_A_THREAD,
    "allocating": ALLOCATING,
    "signals": SIGNALLED,
}

LEFT = """
def alike():
    everywhere = sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks
    hooks = len(everywhere) + len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
    return [a is b for a, b in zip(places(), BEFORE)], hooks, optimizer.param_groups[0]["lr"]
"""

# Ten Pythons that import torch one after the other take minutes where others want the cores too. These bounds only end
# what hangs; what went wrong is told by the conditions, which are named.
pytestmark = pytest.mark.timeout(600)
PATIENCE = 300.0

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


async def read_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()


@pytest.fixture
async def start(home: Home) -> AsyncIterator[Start]:
    """Start a Python with this code, and return when it says that it is ready."""
    made: list[asyncio.subprocess.Process] = []

    async def begin(code: str, **environ: str) -> asyncio.subprocess.Process:
        (home.root / "train.py").write_text(code)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "train.py"), env=home.environ(**environ), cwd=home.root, stdout=pipe, stderr=pipe
        )
        made.append(process)
        assert await read_line(process) == "ready\n", await process.communicate()
        return process

    yield begin
    for process in made:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def end(home: Home, process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    (home.root / "enough").touch()
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    (home.root / "enough").unlink()
    return process.returncode, out.decode(), err.decode()


async def attach(home: Home, daemon: FakeTelemetry, *words: Any) -> tuple[int, dict[str, Any], str]:
    code, out, err = await home.done("attach", "--daemon", daemon.address, "--json", *map(str, words))
    return code, json.loads(out) if out else {}, err


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_job_computes_the_same_with_us_and_without(
    home: Home, daemon: FakeTelemetry, start: Start, until: Until, case: str
) -> None:
    alone = await end(home, await start(HEAD + HOSTILE[case]))
    assert (alone[0], alone[2]) == (0, "")
    process = await start(HEAD + HOSTILE[case])
    code, found, err = await attach(home, daemon, process.pid)
    assert (code, found.get("job")) == (0, "train"), err
    seen = daemon.job("train")
    assert seen is not None
    assert (seen.hello.way_in, seen.hello.command) == ("attach", f"{sys.executable} train.py")
    await until(lambda: seen.rows.get(0))
    code, out, err = await home.done("detach", "train", "--daemon", daemon.address)
    assert (code, out) == (0, "train is no longer watched; it goes on as it was\n"), err
    if case == "plain":
        code, found, err = await attach(home, daemon, process.pid)
        assert code == 0, err
    assert await end(home, process) == alone
    await until(lambda: all(one.end for one in daemon.jobs.values()))
    outcomes = [one.end.outcome for one in daemon.jobs.values() if one.end is not None]
    assert outcomes == [pb.JobEnd.OUTCOME_DETACHED, pb.JobEnd.OUTCOME_FINISHED][: 2 if case == "plain" else 1]
    assert daemon.order_broken == []


async def test_detached_in_mid_overlay_the_job_is_as_it_was(
    home: Home, daemon: FakeTelemetry, start: Start, until: Until
) -> None:
    process = await start(f"{HEAD}{LEFT}train(step)\nprint(*alike())")
    code, found, err = await attach(home, daemon, process.pid, "--policy", "auto", "--max-factor", "2")
    assert code == 0, err
    seen = daemon.jobs[found["attempt_id"]]
    assert seen.hello.limits.max_factor == 2
    overlay = pb.Overlay(factor=0.5)
    command = pb.AdjustmentCommand(
        adjustment_id="half",
        attempt_id=found["attempt_id"],
        counter=1,
        expires_at=time.time() + PATIENCE,
        overlay=overlay,
    )
    daemon.outbox.put_nowait(pb.StreamResponse(adjustment=command))
    await until(lambda: any(ack.state == pb.AdjustmentAck.STATE_APPLIED for ack in seen.acks))
    code, _, err = await home.done("detach", "trein", "--daemon", daemon.address)
    assert (code, "no job or process 'trein' is watched" in err) == (4, True)
    code, out, err = await home.done("detach", str(process.pid), "--daemon", daemon.address, "--json")
    assert json.loads(out) == {"detached": [{"job": "train", "attempt_id": found["attempt_id"], "left": True}]}
    assert await end(home, process) == (0, f"{[True] * 6} 0 0.01\n", "")
    code, _, err = await home.done("detach", "train", "--daemon", daemon.address)
    # Its agent may have left meanwhile, having nothing to do, and then that is what is said.
    assert (code, "watched" in err) == (4, True), err


async def test_attaching_twice_is_refused(home: Home, daemon: FakeTelemetry, start: Start) -> None:
    process = await start(f"{HEAD}train(step)")
    daemon.names = lambda name: f"{name}-2"
    code, found, err = await attach(home, daemon, process.pid, "--job", "mine")
    assert (code, found["job"]) == (0, "mine-2")
    assert "the name 'mine' is in use by a job that runs: this one is 'mine-2'" in err
    code, _, err = await attach(home, daemon, process.pid)
    assert (code, err.splitlines()[0]) == (5, f"steersman: process {process.pid} is already watched as mine-2")
    code, out, _ = await home.done("preflight", str(process.pid), "--json")
    assert (code, [one["check"] for one in json.loads(out)["obstacles"]]) == (5, ["watched"])
    assert (await end(home, process))[::2] == (0, "")


async def test_a_compiled_job_keeps_its_loss_functions(home: Home, daemon: FakeTelemetry, start: Start) -> None:
    code = (
        "compiled = torch.compile(model, backend='eager')\n"
        "def forward(): return (compiled(torch.randn(32, 8)) - 1).pow(2).mean()\n"
        "train(step)\nfrom torch._dynamo.utils import counters\n"
        "print(counters['frames']['total'], BEFORE[2] is places()[2])"
    )
    process = await start(HEAD + code)
    got, found, err = await attach(home, daemon, process.pid)
    assert (got, found["ranks"][0]["val_loss"]) == (0, False), err
    assert "validation losses are not looked for" in err
    assert await end(home, process) == (0, "1 True\n", "")


WITHOUT_TORCH = (
    "import os, time\nprint('ready', flush=True)\nwhile not os.path.exists('enough'): time.sleep(0.01)\nprint(4)"
)


async def test_a_python_without_torch_and_a_stopped_one_are_left_alone(
    home: Home, daemon: FakeTelemetry, start: Start, until: Until
) -> None:
    process = await start(WITHOUT_TORCH)
    code, _, err = await attach(home, daemon, process.pid)
    assert (code, err.splitlines()[0]) == (5, f"steersman: process {process.pid} has not loaded torch")
    process.send_signal(signal.SIGSTOP)
    await until(lambda: Target(process.pid).state == "T")
    code, _, err = await attach(home, daemon, process.pid)
    assert code == 5
    assert f"kill -CONT {process.pid}" in err
    process.send_signal(signal.SIGCONT)
    assert await end(home, process) == (0, "4\n", "")
    code, _, err = await attach(home, daemon, process.pid)
    assert (code, f"there is no process {process.pid}" in err) == (4, True)
    assert home.agents() == []  # nothing was begun for any of them


TRACER = """
import ctypes, sys
libc = ctypes.CDLL(None)
assert libc.ptrace(0x4206, int(sys.argv[1]), None, None) == 0
print("ready", flush=True)
sys.stdin.readline()
"""


async def test_one_that_is_traced_by_another_is_left_alone(home: Home, daemon: FakeTelemetry, start: Start) -> None:
    process = await start(f"{HEAD}print(train(step))")
    pipe = asyncio.subprocess.PIPE
    words = (sys.executable, "-c", TRACER, str(process.pid))
    tracer = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    assert await read_line(tracer) == "ready\n"
    code, _, err = await attach(home, daemon, process.pid)
    assert (code, f"is already traced by process {tracer.pid}" in err) == (5, True)
    await tracer.communicate(b"\n")
    assert (await end(home, process))[::2] == (0, "")


async def test_one_that_is_ending_ends_as_ever(home: Home, daemon: FakeTelemetry, start: Start) -> None:
    """Its main thread is in a handler at exit that makes no step, or gone before we are in."""
    code = (
        "import atexit\ndef last():\n    print('ready', flush=True)\n    while not enough(): time.sleep(0.01)\n"
        "    print('last')\natexit.register(last)"
    )
    process = await start(HEAD + code)
    got, _, err = await attach(home, daemon, process.pid, "--timeout", "1")
    assert got == 1
    assert f"process {process.pid}" in err or "no optimizer step was made" in err
    assert await end(home, process) == (0, "last\n", "")
    process = await start(f"{HEAD}train(step, steps=3)\nprint('last')")
    attaching = asyncio.create_task(attach(home, daemon, process.pid))
    assert await end(home, process) == (0, "last\n", "")
    got, _, err = await attaching
    assert got in (0, 4, 5)
    if got == 4:
        assert "ended" in err or "there is no process" in err


async def test_one_that_ends_while_it_is_waited_for(
    home: Home, daemon: FakeTelemetry, start: Start, until: Until
) -> None:
    process = await start(f"{HEAD}step()\nprint('ready', flush=True)\ntime.sleep(600)")
    attaching = asyncio.create_task(attach(home, daemon, process.pid))
    # The request lies there before the process is touched, and goes when it is given up.
    await until(lambda: bool(list(home.root.rglob(f"{process.pid}.json"))))
    process.kill()
    await process.wait()
    got, _, err = await attaching
    assert got == 4
    assert f"process {process.pid} ended before the probe was in" in err
    assert "steersman run" in err


async def test_a_main_thread_that_never_comes_back_is_given_up(home: Home, daemon: FakeTelemetry, start: Start) -> None:
    code = "os.mkfifo('pipe')\nstep()\nprint('ready', flush=True)\nos.read(os.open('pipe', os.O_RDWR), 1)\nstep()"
    process = await start(HEAD + code)
    got, _, err = await attach(home, daemon, process.pid, "--timeout", "2.5")
    assert got == 1
    assert "its main thread is inside one long call" in err
    assert "did not take the probe within 2.5 s, and will not any more" in err
    assert "the same command with `--timeout 10` waits longer" in err
    pipe = os.open(home.root / "pipe", os.O_RDWR)
    os.write(pipe, b"x")
    assert (await end(home, process))[::2] == (0, "")
    os.close(pipe)
    assert daemon.jobs == {}


async def test_without_a_daemon_nothing_is_touched(home: Home, daemon: FakeTelemetry, start: Start) -> None:
    process = await start(f"{HEAD}train(step)\nprint('_steersman' in sys.modules)")
    await daemon.stop()
    code, _, err = await attach(home, daemon, process.pid)
    assert (code, f"no daemon answers at {daemon.address}; nothing was touched" in err) == (3, True)
    assert await end(home, process) == (0, "False\n", "")


RANKS = """
cd {root}
RANK=0 WORLD_SIZE=2 {python} train.py & RANK=1 WORLD_SIZE=2 {python} train.py &
wait
"""


async def test_all_ranks_below_a_launcher_are_taken_as_one_job(home: Home, daemon: FakeTelemetry, until: Until) -> None:
    (home.root / "train.py").write_text(f"{HEAD}print(train(step))")
    pipe = asyncio.subprocess.PIPE
    shell = await asyncio.create_subprocess_exec(
        *("timeout", "600", "sh", "-c", RANKS.format(root=home.root, python=sys.executable)),
        env=home.environ(),
        stdout=pipe,
    )
    assert [await read_line(shell), await read_line(shell)] == ["ready\n", "ready\n"]
    ranks = [one.pid for one in Target(shell.pid).trainers()]
    code, _, err = await attach(home, daemon, shell.pid)
    assert code == 5
    assert err.startswith(f"steersman: process {shell.pid} is no Python: timeout 600 sh")
    assert all(f"  {pid}  rank" in err for pid in ranks)
    assert f"steersman attach {shell.pid} --all" in err
    code, found, err = await attach(home, daemon, shell.pid, "--all", "--job", "pair")
    assert code == 0, err
    assert sorted(one["pid"] for one in found["ranks"]) == sorted(ranks)
    await until(lambda: set(daemon.jobs[found["attempt_id"]].rows) == {0, 1})
    code, _, err = await home.done("detach", "pair", "--daemon", daemon.address)
    assert code == 0, err
    (home.root / "enough").touch()
    out, _ = await asyncio.wait_for(shell.communicate(), PATIENCE)
    assert (shell.returncode, len(set(out.split()))) == (0, 1)
    seen = daemon.jobs[found["attempt_id"]]
    await until(lambda: seen.end is not None)
    assert seen.end is not None
    assert seen.end.outcome == pb.JobEnd.OUTCOME_DETACHED


async def test_words_that_make_no_sense(home: Home) -> None:
    assert (await home.done("attach", "x"))[0] == 2
    assert (await home.done("attach", "1", "--daemon", "nowhere"))[0] == 2
    code, _, err = await home.done("attach", str(os.getpid()), "--min-factor", "9")
    assert (code, "min_factor" in err) == (2, True)
    code, _, err = await home.done("attach", str(os.getpid()), "--job", "--all")
    assert (code, "--job: a job can't be called '--all'" in err) == (2, True)
    code, _, err = await home.done("detach", "train", "--daemon", "127.0.0.1:9")
    assert (code, "no agent runs on this host for the daemon at 127.0.0.1:9" in err) == (4, True)
