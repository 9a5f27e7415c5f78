"""The real processes: a daemon, agents and jobs in folders of their own, and nothing of them left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

STEERSMAN = [sys.executable, "-m", "steersman.cli"]


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Ask until `condition` is true, and give back what it gave; `what` says in the failure what never came."""
    deadline = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what}, last saw {got!r}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Stack:
    """A daemon's address, and what is started around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listen = f"127.0.0.1:{free_port()}"
        self.metrics = f"127.0.0.1:{free_port()}"
        self.store = folder / "store.db"
        self.daemon: subprocess.Popen[str] | None = None
        self.children: list[subprocess.Popen[str]] = []
        (folder / "runtime").mkdir(mode=0o700)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("STEERSMAN") and k != "PYTHONPATH"}
        own = {
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_RUNTIME_DIR": str(self.folder / "runtime"),
            "STEERSMAN_DAEMON": self.listen,
            "OMP_NUM_THREADS": "1",
        }
        return {**kept, **own, **(extra or {})}

    def start_daemon(self, *arguments: str) -> subprocess.Popen[str]:
        command = [*STEERSMAN, "serve", "--listen", self.listen, "--metrics", self.metrics]
        command += ["--store", f"sqlite:///{self.store}", *arguments]
        log = (self.folder / "daemon.log").open("a")
        self.daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True, env=self.environment()
        )
        log.close()
        self.children.append(self.daemon)
        wait_for("the daemon", lambda: self.ask("jobs", "--json", check=False).returncode == 0 or self._died())
        return self.daemon

    def _died(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.poll() is None, (self.folder / "daemon.log").read_text()
        return False

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def ask(
        self, *arguments: str, check: bool = True, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*STEERSMAN, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment(extra),
            timeout=120,
        )
        if check:
            assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ask(*arguments, "--json").stdout)

    def job(self, name: str) -> dict[str, Any] | None:
        done = self.ask("show", name, "--json", check=False)
        return json.loads(done.stdout)["job"] if done.returncode == 0 else None

    def series(self, name: str, series: str, rank: str = "0") -> dict[str, list[float]]:
        ranks: dict[str, dict[str, list[float]]] = self.json("series", name, series, "--resolution", "full")["ranks"]
        return ranks.get(rank, {"steps": [], "times": [], "values": []})

    def script(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return path

    def run(self, *arguments: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """`steersman run` with these words after it, in a session of its own."""
        child = subprocess.Popen(
            [*STEERSMAN, "run", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(extra),
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def processes(self) -> list[str]:
        """Command lines of every process that was started below this stack and still lives."""
        found = []
        mark = f"XDG_RUNTIME_DIR={self.folder / 'runtime'}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if (
                    mark in (entry / "environ").read_bytes()
                    and (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
                ):
                    found.append(f"{entry.name} {(entry / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()}")
            except OSError:
                continue
        return found

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        subprocess.run(
            [*STEERSMAN, "agent", "stop"], env=self.environment(), capture_output=True, timeout=30, check=False
        )
        for child in self.children:
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for stream in (child.stdout, child.stderr):
                if stream:
                    stream.close()
        for line in self.processes():
            os.kill(int(line.split()[0]), signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def stack() -> Iterator[Stack]:
    # Short: AF_UNIX names end at 107 bytes, and pytest's own temporary folders are long.
    made = Stack(Path(tempfile.mkdtemp(prefix="stm-")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def harbour() -> Iterator[Stack]:
    """One daemon for all tests of a file."""
    made = Stack(Path(tempfile.mkdtemp(prefix="stm-")))
    made.start_daemon()
    yield made
    made.close()


# A small regression that learns; steps until told, at a pace a test can follow. It knows nothing of Steersman.
TRAIN = """
    import os, sys, time
    import torch
    steps, pause, out = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    lr = float(sys.argv[4]) if len(sys.argv) > 4 else 0.01
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.randn(256, 8)
    y = x @ torch.randn(8, 1) + 0.1 * torch.randn(256, 1)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 1.0)
    for step in range(steps):
        if os.path.exists(out + ".stop"):
            break
        pick = torch.randint(0, 256, (32,))
        loss = torch.nn.functional.mse_loss(model(x[pick]), y[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if pause:
            time.sleep(pause)
    torch.save([p.detach() for p in model.parameters()], out)
    print("trained", step + 1, optimizer.param_groups[0]["lr"])
"""


@pytest.fixture
def train(stack: Stack) -> Path:
    return stack.script("train.py", TRAIN)
