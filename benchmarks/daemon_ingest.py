"""What a real daemon process spends on samples: CPU seconds per 1,000 rows of 12 columns, in batches of 64 and 512.

    python benchmarks/daemon_ingest.py [--rows 20480] [--repeat 3] [--pace 0.1] [--json]

Everything is in the figure: gRPC, checks, the shipped rules, snapshots, SQLite with its syncs. The rows are a run that
learns, so the rules look at them as they would at any healthy job. A line for each batch size, as JSON with `--json`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import telemetry_pb2_grpc as rpc
from steersman.v1 import types_pb2 as types

COLUMNS = (
    "loss",
    "grad_norm",
    "lr/0",
    "lr/1",
    "step_time",
    "backward_calls",
    "val_loss",
    "hypergrad_cos",
    "update_norm",
    "weight_norm",
    "predicted_decrease",
    "own_lr/0",
)


def rows(attempt: str, first: int, n: int, rng: np.random.Generator) -> pb.Batch:
    """Rows of a run that learns."""
    steps = np.arange(first - 1, first - 1 + n)
    loss = 1.5 + 3 * (steps + 10.0) ** -0.3 + 0.05 * rng.normal(size=n)
    data = {name: np.abs(rng.normal(1.0, 0.1, n)) for name in COLUMNS}
    data |= {"loss": loss, "lr/0": np.full(n, 1e-3), "lr/1": np.full(n, 1e-3), "own_lr/0": np.full(n, 1e-3)}
    data["hypergrad_cos"] = rng.normal(0.0, 0.02, n)
    columns = [pb.Column(name=name, values=values.astype("<f8").tobytes()) for name, values in data.items()]
    return pb.Batch(
        attempt_id=attempt,
        first_seq=first,
        rows=n,
        steps=steps.astype("<i8").tobytes(),
        times=(time.time() + 0.01 * steps).astype("<f8").tobytes(),
        columns=columns,
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def send(address: str, total: int, size: int, pace_s: float) -> tuple[float, float]:
    """Send so many rows; wall seconds until all are durable."""
    attempt = str(uuid.uuid4())
    rng = np.random.default_rng(0)
    batches = [rows(attempt, first, size, rng) for first in range(1, total + 1, size)]
    last = batches[-1].first_seq + size - 1

    def requests() -> Iterator[pb.StreamRequest]:
        yield pb.StreamRequest(hello=pb.Hello(protocol_min=1, protocol_max=1, agent_id="bench", host="bench"))
        yield pb.StreamRequest(
            job_hello=pb.JobHello(attempt_id=attempt, job="bench", world_size=1, policy=types.POLICY_OBSERVE)
        )
        time.sleep(0.3)
        for batch in batches:
            yield pb.StreamRequest(batches=pb.BatchGroup(batches=[batch]))
            time.sleep(pace_s)
        while not done:
            time.sleep(0.01)

    done = False
    began = time.perf_counter()
    with grpc.insecure_channel(address) as channel:
        stub: Any = rpc.TelemetryServiceStub(channel)
        for response in stub.Stream(requests()):
            if response.WhichOneof("message") == "refusal":
                raise SystemExit(response.refusal.message)
            if response.batch_ack.durable_seq >= last:
                done = True
                break
    return time.perf_counter() - began, float(last)


def measure(total: int, size: int, pace_s: float) -> tuple[float, float]:
    """CPU seconds per 1,000 rows, and wall seconds, on a fresh daemon."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--store", f"sqlite:///{folder}/b.db"]
        command = [sys.executable, "-m", "steersman.cli", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as daemon:
            assert daemon.stdout is not None
            try:
                found = re.search(r"listening on (\S+),", daemon.stdout.readline())
                assert found is not None, "the daemon did not start"
                send(found.group(1), size, size, 0.0)  # imports, first tables, first plans
                before = cpu_seconds(daemon.pid)
                wall, sent = send(found.group(1), total, size, pace_s)
                return (cpu_seconds(daemon.pid) - before) / sent * 1000, wall
            finally:
                daemon.terminate()
                daemon.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_480)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pace", type=float, default=0.1, help="seconds between batches")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    sizes = (64, 512)
    figures: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for _ in range(given.repeat):
        for size in sizes:  # interleaved: what else the machine does falls on both alike
            figures[size].append(measure(given.rows, size, given.pace))
    for size in sizes:
        cpu = [c for c, _ in figures[size]]
        told = {"batch": size, "columns": len(COLUMNS), "rows": given.rows, "repeat": given.repeat}
        told |= {"cpu_s_per_1000_rows": round(statistics.median(cpu), 5), "low": round(min(cpu), 5)}
        told |= {"high": round(max(cpu), 5), "wall_s": round(statistics.median(w for _, w in figures[size]), 2)}
        if given.json:
            print(json.dumps(told))
        else:
            took = f"{told['cpu_s_per_1000_rows']:.3f} s of CPU for 1,000 rows"
            spread = f"{told['low']:.3f} to {told['high']:.3f}"
            print(f"batches of {size:4}, {len(COLUMNS)} columns: {took} ({spread}); wall {told['wall_s']:.1f} s")


if __name__ == "__main__":
    main()
