from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steersman.agent.bystander import SETTLING, Bystander
from steersman.agent.launch import job_name
from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.agent.conftest import FakeTelemetry, Home, Until

TRAIN = """
import sys, time, torch
steps, pause = int(sys.argv[1]), float(sys.argv[2])
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(steps):
    optimizer.zero_grad()
    model(torch.ones(64, 8)).pow(2).mean().backward()
    optimizer.step()
    time.sleep(pause)
    if step == 20:
        print("on the way", flush=True)
print("trained", flush=True)
"""

PY = sys.executable


@pytest.fixture
def script(home: Home) -> Path:
    path = home.root / "train.py"
    path.write_text(TRAIN)
    return path


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python", "train.py"], "train"),
        (["python3.12", "-u", "a/b/pre_train.py", "--config", "c.py"], "pre_train"),
        (["python", "-m", "lab.sweep", "x.py"], "sweep"),
        (["torchrun", "--nproc-per-node", "2", "ddp.py"], "ddp"),
        (["python", "-m", "torch.distributed.run", "--nproc-per-node", "2", "ddp.py"], "ddp"),
        (["accelerate", "launch", "--cpu", "-m", "lab.tune"], "tune"),
        (["bash", "both.sh"], "both"),
        (["bash", "-c", "true"], "bash"),
        (["./train.sh"], "train"),
    ],
)
def test_a_job_is_named_after_its_script(command: list[str], name: str) -> None:
    assert job_name(command) == name


async def test_every_row_of_a_plain_script_reaches_the_daemon(
    home: Home, daemon: FakeTelemetry, script: Path, until: Until
) -> None:
    options = ["--policy", "auto", "--max-factor", "2", "--cooldown", "50"]
    code, out, err = await home.done("run", "--daemon", daemon.address, *options, "--", PY, str(script), "400", "0.002")
    assert (code, out) == (0, "on the way\ntrained\n")
    assert err == ""
    (seen,) = daemon.jobs.values()
    rows = seen.rows[0]
    assert rows == list(range(1, len(rows) + 1))
    assert seen.steps[0][-1] >= 390  # a busy machine makes the probe thin its rows, and say so
    assert {"loss", "grad_norm", "lr/0", "step_time"} <= seen.columns[0]
    assert (seen.hello.job, seen.hello.way_in, seen.hello.world_size) == ("train", "run", 1)
    assert (seen.hello.limits.max_factor, seen.hello.limits.cooldown_steps) == (2.0, 50)
    assert seen.hello.ranks[0].optimizers[0].class_name.endswith("SGD")
    assert seen.end is not None
    assert (seen.end.outcome, seen.end.exit_code) == (pb.JobEnd.OUTCOME_FINISHED, 0)
    assert daemon.order_broken == []
    await until(lambda: not home.agents())  # nothing left to do: it leaves
    assert list((home.root / "run/steersman").iterdir()) == []
    assert [p for p in home.spool.rglob("*") if p.is_file()] == []


async def test_without_a_daemon_the_job_ends_as_ever_and_a_later_daemon_gets_all(
    home: Home, script: Path, daemon: FakeTelemetry, until: Until
) -> None:
    address, port = daemon.address, daemon.port
    await daemon.stop()
    code, out, err = await home.done("run", "--daemon", address, "--", PY, str(script), "300", "0.002")
    assert (code, out) == (0, "on the way\ntrained\n")
    assert f"no daemon answers at {address}" in err
    assert str(home.spool) in err
    await home.kill_agents(until)  # and the agent is killed too
    await daemon.start(port)
    code, _, _ = await home.done("run", "--daemon", address, "--", "true")
    assert code == 0
    await until(lambda: (job := daemon.job("train")) is not None and job.end is not None)
    seen = daemon.job("train")
    assert seen is not None
    assert seen.steps[0][-1] >= 290
    assert seen.skipped == 0


async def test_without_a_daemon_and_a_place_to_write_it_is_said_where_rows_are(home: Home, script: Path) -> None:
    code, out, err = await home.done(
        *("run", "--daemon", "127.0.0.1:1", "--", PY, str(script), "60", "0"), XDG_STATE_HOME="/proc/nowhere"
    )
    assert (code, out) == (0, "on the way\ntrained\n")
    assert "the job runs on, its rows are kept in the agent's memory, because they could not be written" in err
    assert "until one does, 60 rows wait in the agent's memory" in err


async def test_a_daemon_and_an_agent_killed_in_mid_run_lose_nothing(
    home: Home, script: Path, daemon: FakeTelemetry, until: Until
) -> None:
    port = daemon.port
    running = await home.run("run", "--daemon", daemon.address, "--", PY, str(script), "600", "0.01")
    await until(lambda: any(len(seen.rows.get(0, ())) > 50 for seen in daemon.jobs.values()))
    await daemon.stop()
    (agent,) = home.agents()
    (seen,) = daemon.jobs.values()
    had = len(seen.rows[0])
    await until(lambda: _spooled(home) > 4000)
    os.kill(agent, signal.SIGKILL)
    await daemon.start(port)
    await until(lambda: len(seen.rows[0]) > had)
    out, err = await asyncio.wait_for(running.communicate(), 60)
    assert running.returncode == 0, err
    assert b"trained" in out
    assert (len(daemon.jobs), daemon.order_broken) == (1, [])
    assert seen.steps[0][-1] >= 590
    lost = sum(e.count for e in seen.events.values() if e.kind == "rows_lost")
    assert seen.skipped == lost <= 40  # what lay in the killed agent's hands, and that was said
    assert seen.rows[0][-1] == len(seen.rows[0]) + lost
    assert seen.end is not None
    assert seen.end.outcome == pb.JobEnd.OUTCOME_FINISHED


def _spooled(home: Home) -> int:
    return sum(path.stat().st_size for path in home.spool.rglob("*.seg"))


@pytest.mark.parametrize(
    ("command", "code", "outcome"),
    [
        (["sh", "-c", "exit 7"], 7, pb.JobEnd.OUTCOME_FAILED),
        (["sh", "-c", "kill -9 $$"], 137, pb.JobEnd.OUTCOME_KILLED),
        ([PY, "-c", "raise SystemExit(3)"], 3, pb.JobEnd.OUTCOME_FAILED),
    ],
)
async def test_a_job_that_dies_at_step_0_is_known_with_its_exit_code(
    home: Home, daemon: FakeTelemetry, command: list[str], code: int, outcome: int
) -> None:
    got, _, err = await home.done("run", "--daemon", daemon.address, "--job", "short", "--", *command)
    assert got == code
    assert "no optimizer step was seen" in err
    seen = daemon.job("short")
    assert seen is not None
    assert seen.end is not None
    assert int(seen.end.outcome) == outcome
    assert (seen.end.exit_code, seen.end.signal) == ((0, 9) if code == 137 else (code, 0))


async def test_the_name_granted_is_said_where_it_differs(home: Home, daemon: FakeTelemetry) -> None:
    daemon.names = lambda name: f"{name}-2"
    _, _, err = await home.done("run", "--daemon", daemon.address, "--job", "mine", "--", "sleep", "1")
    assert "'mine-2'" in err


async def test_quiet_says_nothing(home: Home, daemon: FakeTelemetry) -> None:
    assert await home.done("run", "--daemon", daemon.address, "--quiet", "--", "true") == (0, "", "")


async def test_a_command_that_does_not_exist_or_cannot_be_run(home: Home, daemon: FakeTelemetry) -> None:
    code, _, err = await home.done("run", "--daemon", daemon.address, "--", "no-such-command")
    assert (code, err) == (127, "steersman: no-such-command: command not found\n")
    plain = home.root / "plain"
    plain.write_text("no program")
    code, _, err = await home.done("run", "--daemon", daemon.address, "--", str(plain))
    assert code == 126
    assert "cannot be run: Permission denied" in err
    assert daemon.jobs == {}


async def test_steersman_off_runs_the_command_plainly(home: Home) -> None:
    words = [PY, "-c", "import os, sys; print(os.environ.get('PYTHONPATH'), '_steersman' in sys.modules); sys.exit(4)"]
    assert await home.done("run", "--", *words, STEERSMAN="off") == (4, "None False\n", "")
    assert home.agents() == []
    assert (await home.done("run", "--", "no-such-command", STEERSMAN="off"))[0] == 127


SITE = """
import sys, builtins
builtins.users_own = (__name__, __file__)
"""


async def test_the_users_own_sitecustomize_runs_and_ours_is_hidden(home: Home, daemon: FakeTelemetry) -> None:
    mine = home.root / "mine"
    mine.mkdir()
    (mine / "sitecustomize.py").write_text(SITE)
    tell = home.root / "tell.py"
    tell.write_text(
        "import json, sys, os, subprocess, builtins, sitecustomize\n"
        "print(json.dumps([builtins.users_own, sitecustomize.__file__, [p for p in sys.path if 'inject' in p]]))\n"
        "sys.stdout.flush()\n"
        "if len(sys.argv) == 1: subprocess.run([sys.executable, __file__, 'child'], check=True)\n"
    )
    code, out, err = await home.done("run", "--daemon", daemon.address, "--", PY, str(tell), PYTHONPATH=str(mine))
    assert code == 0, err
    expected = [["sitecustomize", str(mine / "sitecustomize.py")], str(mine / "sitecustomize.py"), []]
    assert [json.loads(line) for line in out.splitlines()] == [expected, expected]


async def test_a_sitecustomize_that_raises_is_reported_as_without_us(home: Home, daemon: FakeTelemetry) -> None:
    mine = home.root / "mine"
    mine.mkdir()
    (mine / "sitecustomize.py").write_text("raise RuntimeError('my own')")
    code, out, err = await home.done(
        "run", "--daemon", daemon.address, "--", PY, "-c", "print('runs')", PYTHONPATH=str(mine)
    )
    assert (code, out) == (0, "runs\n")
    assert "RuntimeError: my own" in err


async def test_a_python_that_ignores_the_environment_is_explained(
    home: Home, daemon: FakeTelemetry, script: Path
) -> None:
    code, _, err = await home.done("run", "--daemon", daemon.address, "--", PY, "-I", str(script), "30", "0")
    assert code == 0
    assert "its Python ignores the environment (-E, -I, -S)" in " ".join(err.split())


async def test_children_are_watched_and_two_in_one_job_are_told_apart(
    home: Home, daemon: FakeTelemetry, script: Path, until: Until
) -> None:
    both = f"{PY} {script} 60 0.005 & {PY} {script} 60 0.005; wait"
    code, _, err = await home.done("run", "--daemon", daemon.address, "--job", "pair", "--", "sh", "-c", both)
    assert code == 0, err
    await until(lambda: len(daemon.jobs) == 2 and all(seen.end for seen in daemon.jobs.values()))
    assert all(seen.steps[0][-1] >= 50 for seen in daemon.jobs.values())
    assert daemon.order_broken == []


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
)
async def test_signals_reach_the_command_and_end_run_with_it(
    home: Home, daemon: FakeTelemetry, number: signal.Signals, until: Until
) -> None:
    shell = f"trap 'echo got; exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    running = await home.run("run", "--daemon", daemon.address, "--job", "s", "--", "sh", "-c", shell)
    assert running.stdout is not None
    assert await asyncio.wait_for(running.stdout.readline(), 30) == b"ready\n"
    running.send_signal(number)
    out, _ = await asyncio.wait_for(running.communicate(), 30)
    assert (running.returncode, out) == (9, b"got\n")
    await until(lambda: (seen := daemon.job("s")) is not None and seen.end is not None)


COUNT = """
import signal, sys, time
got = []
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: got.append(number))
print("ready", flush=True)
while len(got) < int(sys.argv[1]): time.sleep(0.01)
end = time.monotonic() + 1.0  # what comes twice comes within that
while time.monotonic() < end: time.sleep(0.01)
print(got.count(signal.SIGTERM), got.count(signal.SIGHUP), flush=True)
"""


async def counting(
    home: Home, daemon: FakeTelemetry, count: int, before: Sequence[str] = ()
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    """A command under `run` that leads a process group, and counts signals once it has so many; ready for them."""
    script = home.root / "count.py"
    script.write_text(COUNT)
    words = [PY, "-c", "from steersman.cli.main import main; main()", "run", "--daemon", daemon.address, "--"]
    running = await asyncio.create_subprocess_exec(
        *(*before, *words, PY, str(script), str(count)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=home.environ(),
        start_new_session=True,
    )
    assert running.stdout is not None
    assert await asyncio.wait_for(running.stdout.readline(), 30) == b"ready\n"
    return running, running.stdout


@pytest.mark.parametrize("sender", ["group", "timeout", "group, and then the command alone"])
async def test_a_signal_to_all_reaches_the_command_once(home: Home, daemon: FakeTelemetry, sender: str) -> None:
    alone = sender.endswith("alone")
    running, said = await counting(home, daemon, 1 + alone, ["timeout", "600"] if sender == "timeout" else [])
    if sender == "timeout":
        running.terminate()  # it signals its child, and then its group
    else:
        os.killpg(running.pid, signal.SIGTERM)
    if alone:
        await asyncio.sleep(3 * SETTLING)  # within less, both would be one signal
        running.terminate()  # to `run` alone: it is passed on
    assert await asyncio.wait_for(said.readline(), 30) == (b"2 0\n" if alone else b"1 0\n")
    await asyncio.wait_for(running.wait(), 30)


async def test_two_signals_to_all_reach_the_command_once_each(home: Home, daemon: FakeTelemetry) -> None:
    """As from systemd, which may send a SIGHUP behind its SIGTERM: while `run` still looks at the first."""
    running, said = await counting(home, daemon, 2)
    os.killpg(running.pid, signal.SIGTERM)
    await asyncio.sleep(SETTLING / 4)
    os.killpg(running.pid, signal.SIGHUP)
    assert await asyncio.wait_for(said.readline(), 30) == b"1 1\n"
    await asyncio.wait_for(running.wait(), 30)


def test_without_a_bystander_every_signal_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    for module, name in (("os", "pipe"), ("subprocess", "Popen")):
        with monkeypatch.context() as patch:
            patch.setattr(f"steersman.agent.bystander.{module}.{name}", refuse)
            bystander = Bystander([signal.SIGTERM])
            bystander.start()
        assert not bystander.saw(signal.SIGTERM)
        bystander.quiet()
        bystander.close()


async def test_ctrl_c_at_a_terminal_reaches_the_command_once(home: Home, daemon: FakeTelemetry) -> None:
    count = home.root / "count.py"
    count.write_text(
        "import signal, sys, time\n"
        "got = []\n"
        "signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        "print('ready', flush=True)\n"
        "while not got: time.sleep(0.01)\n"
        "end = time.monotonic() + 0.5\n"
        "while time.monotonic() < end: time.sleep(0.01)\n"
        "print('times', len(got), 'in all', flush=True)\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "import os; os.kill(os.getpid(), signal.SIGINT)\n"
    )
    pid, terminal = os.forkpty()
    if pid == 0:
        words = ["run", "--daemon", daemon.address, "--", PY, str(count)]
        os.execve(PY, [PY, "-c", "from steersman.cli.main import main; main()", *words], home.environ())
    loop = asyncio.get_running_loop()

    async def read_until(word: bytes, seen: bytes = b"") -> bytes:
        while word not in seen:
            seen += await asyncio.wait_for(loop.run_in_executor(None, os.read, terminal, 1024), 30)
        return seen

    assert b"watching this as 'count'" in await read_until(b"or steersman top", await read_until(b"ready"))
    os.write(terminal, b"\x03")
    assert b"times 1 in all" in await read_until(b"in all")
    _, status = await asyncio.wait_for(loop.run_in_executor(None, os.waitpid, pid, 0), 30)
    os.close(terminal)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGINT


async def test_an_agent_that_run_started_ends_when_it_is_asked_to(
    home: Home, script: Path, daemon: FakeTelemetry, until: Until
) -> None:
    running = await home.run("run", "--daemon", daemon.address, "--", PY, str(script), "6000", "0.01")
    await until(lambda: any(seen.rows for seen in daemon.jobs.values()))
    (agent,) = home.agents()
    os.kill(agent, signal.SIGTERM)
    await until(lambda: agent not in home.agents())
    running.terminate()
    await running.wait()


async def test_a_run_that_is_killed_takes_its_command_along(home: Home, daemon: FakeTelemetry, until: Until) -> None:
    running = await home.run(
        "run", "--daemon", daemon.address, "--job", "k", "--", "sh", "-c", "echo $$; exec sleep 100"
    )
    assert running.stdout is not None
    pid = int(await asyncio.wait_for(running.stdout.readline(), 30))
    await until(lambda: daemon.job("k") is not None)  # the command may speak before the agent has heard of it
    running.kill()
    await running.wait()
    await until(lambda: not Path(f"/proc/{pid}").exists())
    await until(lambda: (seen := daemon.job("k")) is not None and seen.end is not None)
    seen = daemon.job("k")
    assert seen is not None
    assert seen.end is not None
    assert seen.end.outcome == pb.JobEnd.OUTCOME_LOST
