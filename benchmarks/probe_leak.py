"""Whether memory or file descriptors grow over many steps with the probe in the process.

A tiny model makes N steps with everything that the probe looks at: clipping, a validation loss now and then, a
checkpoint, a learning rate that moves, an optimizer that is replaced. A thousandth of the steps, but at least 5,000,
warm the process up; from there on resident memory and the number of descriptors are noted every hundredth of the way.
The slope of a line through these is what grows: a leak of one small object a step would be some 100 bytes a step, while
a process that leaks nothing moves by a few pages in all. With `--bare` the same is measured without the probe.

    python benchmarks/probe_leak.py [--steps N] [--bare] [--agent reading|dead|deaf] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from steersman.agent.probe import ProbeConfig, install, packet

PAGE = os.sysconf("SC_PAGE_SIZE")
WARM = 5_000
ALLOWED = 1.0  # bytes a step: far below the smallest object, above what an allocator moves
FEW_PAGES = 16 * PAGE  # in all: what a short run moves by, whatever that is a step


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def descriptors() -> int:
    """Open file descriptors, without the one that looks."""
    return len(os.listdir("/proc/self/fd")) - 1


def agent(path: str, reads: bool, tell: Connection) -> None:
    """The agent's part: takes what is there every 20 ms, or nothing at all, and counts rows."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(path)
    server.listen()
    server.setblocking(False)
    tell.send("ready")
    rows = 0
    connections: list[socket.socket] = []
    stopping = False
    while not stopping:
        stopping = tell.poll(0.02)
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = server.accept()
                connection.setblocking(False)
                connections.append(connection)
        for connection in connections if reads else ():
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                while message := connection.recv(packet.MAX_PACKET):
                    rows += packet.kind_of(message) == packet.ROW
    tell.send(rows)


@contextlib.contextmanager
def listening(kind: str) -> Iterator[tuple[str, Connection | None]]:
    """A socket's path, and the way to ask the agent behind it how many rows it took."""
    folder = Path(tempfile.mkdtemp(prefix="steersman-leak-"))
    path = str(folder / "agent.sock")
    mine, theirs = multiprocessing.Pipe()
    process = None
    if kind != "dead":
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=agent, args=(path, kind == "reading", theirs), daemon=True)
        process.start()
        mine.recv()
    try:
        yield path, mine if process is not None else None
    finally:
        if process is not None:
            process.join(10)
        shutil.rmtree(folder, ignore_errors=True)


class Job:
    """A model of nine weights, and what happens around it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(8, 1)
        self.inputs = torch.randn(4, 8)
        self.targets = self.inputs.sum(1, keepdim=True)
        self.replace()
        self.done = 0

    def replace(self) -> None:
        """Another optimizer, as at the stages of a curriculum."""
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, foreach=False)

    def step(self) -> None:
        """One step."""
        self.done += 1
        self.optimizer.zero_grad()
        torch.nn.functional.mse_loss(self.model(self.inputs), self.targets).backward()
        if self.done % 4 == 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if self.done % 100 == 0:
            self.optimizer.param_groups[0]["lr"] = 0.01 * (1 + self.done % 7)
            with torch.no_grad():
                torch.nn.functional.mse_loss(self.model(self.inputs), self.targets)
        if self.done % 1000 == 0:
            self.optimizer.state_dict()
        if self.done % 5000 == 0:
            self.replace()


def slope(points: list[tuple[int, int]]) -> float:
    """Bytes a step of the line that fits best."""
    count = len(points)
    x = sum(at for at, _ in points) / count
    y = sum(size for _, size in points) / count
    spread = sum((at - x) ** 2 for at, _ in points)
    return sum((at - x) * (size - y) for at, size in points) / spread if spread else 0.0


def measure(steps: int, bare: bool, kind: str) -> dict[str, Any]:
    """Make the steps and tell what grew."""
    torch.set_num_threads(1)
    warm = max(WARM, steps // 1000)
    with listening(kind) as (path, tell):
        job = Job()
        probe = None
        if not bare:
            probe = install(ProbeConfig(attempt_id=str(uuid.uuid4()), job="leak", socket_path=path, budget_floor=1.0))
            probe.see(job.optimizer)
        for _ in range(warm):
            job.step()
        gc.collect()
        points = [(0, resident())]
        fds = descriptors()
        most = fds
        every = max(1, steps // 100)
        began = time.perf_counter()
        for index in range(1, steps + 1):
            job.step()
            if index % every == 0:
                gc.collect()
                points.append((index, resident()))
                most = max(most, descriptors())
        seconds = time.perf_counter() - began
        last = descriptors()
        objects = len(gc.get_objects())
        failures = 0
        if probe is not None:
            probe.close()
            failures = probe.failures
        rows = None
        if tell is not None:
            tell.send("stop")
            rows = tell.recv()
    # The first third of the way belongs to allocators that fill up.
    late = points[len(points) // 3 :]
    return {
        "steps": steps,
        "warm_up": warm,
        "probe": not bare,
        "agent": kind,
        "rss_after_warm_up": points[0][1],
        "rss_at_end": points[-1][1],
        "rss_most": max(size for _, size in points),
        "bytes_a_step": slope(points),
        "bytes_a_step_after_a_third": slope(late),
        "fds_after_warm_up": fds,
        "fds_at_end": last,
        "fds_most": most,
        "objects_at_end": objects,
        "rows": rows,
        "failures": failures,
        "us_a_step": seconds / steps * 1e6,
    }


def main() -> None:
    """Measure, say, and end with 1 where something grew."""
    parser = argparse.ArgumentParser(description="Whether memory or descriptors grow with the probe in a job.")
    parser.add_argument("--steps", type=int, default=10**6)
    parser.add_argument("--bare", action="store_true", help="without the probe, for comparison")
    parser.add_argument("--agent", choices=["reading", "dead", "deaf"], default="reading")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = measure(max(options.steps, 100), options.bare, options.agent)
    grown = report["bytes_a_step_after_a_third"]
    flat = grown < max(ALLOWED, FEW_PAGES / report["steps"]) and report["fds_at_end"] <= report["fds_after_warm_up"]
    report["flat"] = flat
    if options.json:
        print(json.dumps(report))
    else:
        way = f"probe, agent {report['agent']}" if report["probe"] else "no probe"
        print(
            f"{report['steps']} steps ({way}): RSS {report['rss_after_warm_up'] / 1e6:.1f} MB after warm-up, "
            f"{report['rss_at_end'] / 1e6:.1f} MB at the end ({report['bytes_a_step']:+.2f} bytes a step, "
            f"{report['bytes_a_step_after_a_third']:+.2f} after a third); descriptors {report['fds_after_warm_up']}, "
            f"{report['fds_at_end']} at the end; {report['us_a_step']:.0f} µs a step; "
            f"{'flat' if flat else 'IT GROWS'}"
        )
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
