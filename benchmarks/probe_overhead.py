"""What the probe adds to an optimizer step, beside what two trackers add for the same three scalars.

Short blocks of steps of the bare loop and of each way to watch it alternate within one process, so that a machine that
slows down slows all of them. Blocks are alike step by step (the probe is put in anew for each, so that what it does on
every tenth step falls on the same ones): what a way adds is the difference of medians over blocks, step by step, and
the mean of that over the steps of a block. The same with 10 % quantiles in place of medians is what a machine shared
with others disturbs least, and quartiles of the differences between neighbouring blocks say how much it was disturbed.
The agent's own ears, in a process of their own, take what there is every 20 ms, as in the agent. Every row and every
norm has to arrive, and the weights must end the same to the bit with the probe and without, else nothing is reported.

    python benchmarks/probe_overhead.py [--case small|large|both] [--blocks N] [--alone] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from steersman.agent.local import Client, Listener
from steersman.agent.probe import ProbeConfig, install, packet

WARM = 10
IDENTICAL = 60
Log = Callable[[dict[str, float]], Any]


def receive(path: str, tell: Connection) -> None:
    """The agent's part, with the agent's own ears: take everything that is there, every 20 ms, and count it."""
    counts = [0, 0, 0]

    def received(client: Client, data: bytes) -> None:
        kind = packet.kind_of(data)
        if kind == packet.HELLO:
            client.send(packet.WELCOME, attempt_id=packet.unpack_json(data)["attempt_id"], job="bench", shared=True)
        elif kind == packet.ROW:
            row = packet.unpack_row(data)
            for place, there in enumerate((1, row.present >> 1 & 1, row.present >> 4 & 1)):
                counts[place] += there

    listener = Listener(path, received, lambda client: None)
    listener.open()
    tell.send("ready")
    while not tell.poll(0.02):
        listener.tick()
    listener.tick()
    listener.close()
    tell.send(tuple(counts))


def settings(path: str) -> ProbeConfig:
    """A budget that is never exceeded: nothing may be thinned away while it is being measured."""
    return ProbeConfig(attempt_id=str(uuid.uuid4()), job="bench", socket_path=path, budget_floor=1.0)


class Case:
    """One job: a model, its optimizer and a batch."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.name = name
        self.model: torch.nn.Module
        if name == "small":
            self.model = torch.nn.Sequential(
                torch.nn.Linear(32, 64),
                torch.nn.ReLU(),
                torch.nn.Linear(64, 64),
                torch.nn.ReLU(),
                torch.nn.Linear(64, 1),
            )
            self.inputs, self.block = torch.randn(256, 32), 40
        else:
            layer = torch.nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
            encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.model = torch.nn.Sequential(encoder, torch.nn.Flatten(), torch.nn.Linear(64 * 64, 1))
            self.inputs, self.block = torch.randn(16, 64, 64), 20
        self.targets = self.inputs.flatten(1).mean(1, keepdim=True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def step(self) -> torch.Tensor:
        """One step, as any script makes it."""
        self.optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(self.model(self.inputs), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss


def run_block(case: Case, log: Log | None) -> list[float]:
    """Seconds of each step of one block."""
    params = list(case.model.parameters())
    times = []
    for index in range(WARM + case.block):
        began = time.perf_counter()
        loss = case.step()
        if log is not None:
            norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
            log({"loss": loss.item(), "grad_norm": norm.item(), "lr": case.optimizer.param_groups[0]["lr"]})
        if index >= WARM:
            times.append(time.perf_counter() - began)
    return times


def final_weights(name: str, path: str | None) -> list[torch.Tensor]:
    """What a case ends with, watched by a probe where a socket is given."""
    case = Case(name)
    probe = None
    if path is not None:
        probe = install(settings(path))
        probe.see(case.optimizer)
    for _ in range(IDENTICAL):
        case.step()
    if probe is not None:
        probe.close()
    return [p.detach() for p in case.model.parameters()]


@contextlib.contextmanager
def wandb_offline(folder: Path) -> Iterator[Log]:
    """Wandb, writing below a folder."""
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=str(folder))
    yield run.log
    run.finish()


@contextlib.contextmanager
def trackio_offline(folder: Path) -> Iterator[Log]:
    """Trackio, writing below a folder."""
    import trackio

    # It says things on standard output, which is for our figures.
    with contextlib.redirect_stdout(sys.stderr):
        run = trackio.init(project="bench")
        yield run.log
        trackio.finish()


TRACKERS = {"wandb offline": wandb_offline, "trackio": trackio_offline}


def measure(name: str, blocks: int, with_trackers: bool) -> dict[str, Any]:
    """All ways on one case, the probe first: trackers bring processes of their own."""
    folder = Path(tempfile.mkdtemp(prefix="steersman-bench-"))
    os.environ.update(
        TRACKIO_DIR=str(folder / "trackio"), HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true",
        WANDB_DIR=str(folder), WANDB_CACHE_DIR=str(folder), WANDB_CONFIG_DIR=str(folder), WANDB_ERROR_REPORTING="false",
    )  # fmt: skip
    try:
        report = measure_probe(name, blocks, str(folder / "agent.sock"))
        for way, opened in TRACKERS.items() if with_trackers else ():
            try:
                with opened(folder) as log:
                    report["ways"][way] = measure_tracker(name, blocks, log)
            except ImportError:
                print(f"{way.split()[0]} is not installed (extra `bench`): left out", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def measure_tracker(name: str, blocks: int, log: Log) -> dict[str, Any]:
    """A tracker that is given loss, norm and LR of every step, beside the bare loop."""
    case = Case(name)
    bare, logged = [], []
    for _ in range(blocks):
        bare.append(run_block(case, None))
        logged.append(run_block(case, log))
    return compare(logged, bare)


def measure_probe(name: str, blocks: int, path: str) -> dict[str, Any]:
    """The probe beside the bare loop."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=receive, args=(path, theirs), daemon=True)
    process.start()
    mine.recv()
    identical = all(map(torch.equal, final_weights(name, None), final_weights(name, path)))
    if not identical:
        raise SystemExit("the weights differ with the probe and without it: nothing to report")
    # One and the same for both: where its tensors lie in memory makes a difference too.
    case = Case(name)
    bare, watched = [], []
    for _ in range(blocks):
        bare.append(run_block(case, None))
        probe = install(settings(path))
        probe.see(case.optimizer)
        watched.append(run_block(case, None))
        probe.close()
        if probe.failures:
            raise SystemExit(f"the probe failed {probe.failures} times")
    sent = IDENTICAL + blocks * (WARM + case.block)
    mine.send("stop")
    rows, norms, directions = mine.recv()
    process.join(10)
    if rows != sent or norms != sent:
        raise SystemExit(f"{rows} rows and {norms} norms of {sent} arrived: nothing to report")
    return {
        "case": name,
        "steps": sent,
        "rows": rows,
        "norms": norms,
        "directions": directions,
        "blocks": blocks,
        "bit_identical": identical,
        "bare_ms": typical(bare, statistics.median) * 1e3,
        "bare_low_ms": typical(bare, low) * 1e3,
        "ways": {"probe": compare(watched, bare)},
    }


def low(values: list[float]) -> float:
    """The 10 % quantile."""
    return sorted(values)[len(values) // 10]


def typical(blocks: list[list[float]], of: Callable[[list[float]], float]) -> float:
    """Seconds a step: `of` all blocks at each step of a block, and the mean over these."""
    return statistics.fmean(of(list(same)) for same in zip(*blocks, strict=True))


def compare(blocks: list[list[float]], bare: list[list[float]]) -> dict[str, Any]:
    """One way beside the bare loop."""
    pairs = [statistics.fmean(mine) - statistics.fmean(other) for mine, other in zip(blocks, bare, strict=True)]
    first, _, third = statistics.quantiles(pairs, n=4)
    median, least = typical(blocks, statistics.median), typical(blocks, low)
    return {
        "added_us": (median - typical(bare, statistics.median)) * 1e6,
        "added_low_us": (least - typical(bare, low)) * 1e6,
        "pairs_quartiles_us": [first * 1e6, third * 1e6],
        "ratio": median / typical(bare, statistics.median),
        "ratio_low": least / typical(bare, low),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What the probe adds to an optimizer step.")
    parser.add_argument("--case", choices=["small", "large", "both"], default="both")
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--alone", action="store_true", help="leave the trackers out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = ["small", "large"] if options.case == "both" else [options.case]
    reports = [measure(case, max(options.blocks, 2), not options.alone) for case in cases]
    if options.json:
        print(json.dumps(reports))
        return
    for report in reports:
        print(
            f"{report['case']}: bare step {report['bare_ms']:.3f} ms (10 % quantile {report['bare_low_ms']:.3f}), "
            f"{report['rows']} rows, every norm delivered, weights bit-identical"
        )
        for way, figures in report["ways"].items():
            first, third = figures["pairs_quartiles_us"]
            print(
                f"  {way:14} adds {figures['added_us']:8.1f} µs a step (quartiles of pairs {first:.1f} to {third:.1f}; "
                f"10 % quantiles {figures['added_low_us']:.1f}), {(figures['ratio'] - 1) * 100:.2f} % "
                f"(10 % quantiles {(figures['ratio_low'] - 1) * 100:.2f} %)"
            )


if __name__ == "__main__":
    main()
