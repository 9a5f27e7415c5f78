"""How long `attach` takes to the first sample, and for how long the job stands still.

A plain training loop that knows nothing of Steersman notes the time of each pass through its loop. A real daemon runs;
`steersman attach` and `steersman detach` are called as a person would, several times on the same job. A second job with
nobody attached runs the same number of steps beside it, so that what the machine does by itself is to be seen.

    python benchmarks/attach.py [--rounds N] [--pause MS] [--json]

What is reported, each as median and worst over the rounds:

- command: seconds from calling `steersman attach` to its end, Python's own start and the checks included
- first sample: from the first touch to the first sample in the agent, as attach itself says
- stopped: for how long ptrace held the main thread
- longest pass: the longest pass through the loop between the call of attach and its end; `usual` is the loop's median
- undisturbed: the longest pass of the other job in the same time
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRAIN = """
import os, struct, sys, time
import torch
torch.set_num_threads(1)
pause, path = float(sys.argv[1]), sys.argv[2]
model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while not os.path.exists(path + ".enough"):
    began = time.monotonic()
    x = torch.randn(64, 64)
    optimizer.zero_grad()
    (model(x).squeeze() - x.sum(1)).pow(2).mean().backward()
    optimizer.step()
    time.sleep(pause)
    os.write(out, struct.pack("<dd", began, time.monotonic() - began))
"""


class Loop:
    """A training job that notes its passes."""

    def __init__(self, folder: Path, name: str, pause: float) -> None:
        self.path = folder / name
        script = folder / f"{name}.py"
        script.write_text(TRAIN)
        self.process = subprocess.Popen([sys.executable, str(script), str(pause), str(self.path)], cwd=folder)

    def passes(self) -> list[tuple[float, float]]:
        """When each pass began, and how long it took."""
        data = self.path.read_bytes() if self.path.exists() else b""
        return list(struct.iter_unpack("<dd", data[: len(data) // 16 * 16]))

    def longest(self, since: float, until: float) -> float:
        """The longest pass in a time."""
        return max((took for began, took in self.passes() if began + took >= since and began <= until), default=0.0)

    def end(self) -> None:
        """Let it end, and see that it ends well."""
        Path(f"{self.path}.enough").touch()
        if self.process.wait(60):
            raise SystemExit(f"a job that was attached to ended with exit code {self.process.returncode}")


def steersman(*words: str) -> subprocess.CompletedProcess[str]:
    """Call the command line."""
    return subprocess.run([sys.executable, "-m", "steersman.cli", *words], capture_output=True, text=True, check=False)


def measure(folder: Path, rounds: int, pause: float) -> dict[str, Any]:
    """Attach and detach that often."""
    daemon = "127.0.0.1:17461"
    store = f"sqlite:///{folder}/store.db"
    words = ["serve", "--listen", daemon, "--metrics", "127.0.0.1:19461", "--store", store]
    with (folder / "daemon.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "steersman.cli", *words], stdout=log, stderr=log)
    watched, other = Loop(folder, "watched", pause), Loop(folder, "other", pause)
    found: dict[str, list[float]] = {
        name: [] for name in ("command", "first sample", "stopped", "longest pass", "undisturbed")
    }
    try:
        while (
            steersman("jobs", "--daemon", daemon).returncode or min(map(len, (watched.passes(), other.passes()))) < 100
        ):
            if server.poll() is not None:
                raise SystemExit((folder / "daemon.log").read_text())
        for _ in range(rounds):
            began = time.monotonic()
            done = steersman("attach", str(watched.process.pid), "--daemon", daemon, "--json")
            ended = time.monotonic()
            if done.returncode:
                raise SystemExit(done.stderr)
            said = json.loads(done.stdout)
            found["command"].append(ended - began)
            found["first sample"].append(said["seconds"])
            found["stopped"].append(said["ranks"][0]["stopped_seconds"])
            time.sleep(0.3)
            found["longest pass"].append(watched.longest(began, ended))
            found["undisturbed"].append(other.longest(began, ended))
            done = steersman("detach", str(watched.process.pid), "--daemon", daemon)
            if done.returncode:
                raise SystemExit(done.stderr)
        usual = statistics.median(took for _, took in watched.passes())
    finally:
        watched.end()
        other.end()
        server.terminate()
        server.wait(30)
    figures = {name: {"median": statistics.median(numbers), "worst": max(numbers)} for name, numbers in found.items()}
    return {"rounds": rounds, "usual pass": usual, "first command": found["command"][0], **figures}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="how often to attach and detach")
    parser.add_argument("--pause", type=float, default=5.0, help="milliseconds that each step sleeps, as if it worked")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sm-bench-"))
    (folder / "run").mkdir(mode=0o700)
    os.environ.update(HOME=str(folder), XDG_RUNTIME_DIR=str(folder / "run"), OMP_NUM_THREADS="1")
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        os.environ.pop(name, None)
    try:
        figures = measure(folder, given.rounds, given.pause / 1000)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        print(json.dumps(figures))
        return
    print(f"{given.rounds} rounds; a usual pass takes {figures['usual pass'] * 1000:.1f} ms")
    print(f"{'first command, agent started':30} {figures['first command'] * 1000:8.1f} ms")
    for name in ("command", "first sample", "stopped", "longest pass", "undisturbed"):
        numbers = figures[name]
        print(f"{name:30} {numbers['median'] * 1000:8.1f} ms, worst {numbers['worst'] * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
