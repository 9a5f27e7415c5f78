"""What goes wrong in a job, on purpose, and the same job with nothing wrong beside it.

Whether a fault did anything is not assumed: it is measured against the twin that saw the same batches.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.diagnosis import cache, sweep
from benchmarks.diagnosis.fleet import Fleet, Lane, Twist, batches
from benchmarks.diagnosis.optimizers import OPTIMIZERS
from benchmarks.diagnosis.runs import Job, Log, facts, follow, prepare, rates, recording
from benchmarks.diagnosis.tasks import TASKS, Task
from torch import Tensor

from steersman.rules.recording import Recording

STEPS = 1000
VERSION = 1
"""Raised when a fault is changed: runs in the cache are then made anew."""
SEEDS = (31, 32)
Order = npt.NDArray[np.int64]
Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        words: what it is.
        kind: "spike" where it passes, "sustained" where it stays, "lr_low" for a rate cut for good, "nan".
        data: changes a step's inputs and targets, given steps since the onset and a generator of its own.
        order: changes which examples the steps take.
        rate: changes the learning rates of one job.
        fits: whether it can happen to a task.
    """

    words: str
    kind: str
    data: Callable[[int, Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]] | None = None
    order: Callable[[Order, int, Task], Order] | None = None
    rate: Callable[[Table, int], Table] | None = None
    fits: Callable[[Task], bool] = lambda task: True


def _floats(task: Task) -> bool:
    return task.data().x.is_floating_point()


def _labels(share: float, length: int) -> Callable[[int, Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]:
    def change(since: int, x: Tensor, y: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        if since >= length:
            return x, y
        wrong = torch.rand(len(y), generator=draw) < share
        y = y.clone()
        y[wrong] = y[torch.randperm(len(y), generator=draw)][wrong]
        return x, y

    return change


def _stretch(since: int, x: Tensor, y: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    del draw
    return (x * 3.0, y) if since < 30 else (x, y)


def _nan(since: int, x: Tensor, y: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    del draw
    return (x * math.nan, y) if since == 0 else (x, y)


def _domain(since: int, x: Tensor, y: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    del since, draw
    if x.is_floating_point():
        return x[:, torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(1))], y
    if x.shape[1] == 2:
        return torch.stack([99 - x[:, 0], x[:, 1]], dim=1), y
    names = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    return names[x], names[y]


def _sorted(order: Order, onset: int, task: Task) -> Order:
    labels = task.data().y.numpy()
    ranked = np.argsort(labels, kind="stable")
    stop = min(onset + len(ranked) // order.shape[1], len(order))
    changed = order.copy()
    changed[onset:stop] = ranked[: (stop - onset) * order.shape[1]].reshape(stop - onset, -1)
    return changed


def _repeat(order: Order, onset: int, task: Task) -> Order:
    del task
    changed = order.copy()
    changed[onset : onset + 50] = order[onset]
    return changed


def _scale(factor: float, length: int) -> Callable[[Table, int], Table]:
    def change(table: Table, onset: int) -> Table:
        changed = table.copy()
        changed[onset : onset + length] *= factor
        return changed

    return change


FAULTS = {
    "labels1": Fault("one batch with shuffled targets", "spike", _labels(1.0, 1)),
    "labels5": Fault("five batches with shuffled targets", "spike", _labels(1.0, 5)),
    "lr30": Fault("learning rate x 30 for three steps", "spike", rate=_scale(30.0, 3)),
    "noise20": Fault("a fifth of all targets shuffled from then on", "sustained", _labels(0.2, STEPS)),
    "stretch": Fault("inputs x 3 for 30 steps", "sustained", _stretch, fits=_floats),
    "domain": Fault("other data from then on: features permuted", "sustained", _domain),
    "lr8": Fault("learning rate x 8 from then on", "sustained", rate=_scale(8.0, STEPS)),
    "sorted": Fault("one epoch sorted by class", "sustained", order=_sorted, fits=lambda t: t.data().y.dim() == 1),
    "repeat": Fault("the same batch fifty times", "sustained", order=_repeat),
    "lr50": Fault("learning rate / 50 from then on", "lr_low", rate=_scale(0.02, STEPS)),
    "nan": Fault("one batch that is not a number", "nan", _nan, fits=_floats),
}
PLANNED = ("constant", "cosine", "cyclic", "drop", "rewarm")
"""Schedules that are meant: hard negatives."""


@dataclass(frozen=True)
class FaultRun:
    """One run, its twin, and what the fault did.

    Attributes:
        task: its name.
        optimizer: its name.
        seed: of both.
        fault: a name in `FAULTS`; empty for the twin, "plan:NAME" for a schedule that is meant.
        onset: step at which it begins; 0 where nothing does.
        recording: the run's rows.
        effect: highest rise within 50 steps, in sd of the twin's noise, and above 0.05 nats.
        harm: nats by which it ended above the twin; infinite where it broke.
        lasting: mean rise over 50 steps after the first five, in the same sd.
        held_out: see `SweepRun`.
    """

    task: str
    optimizer: str
    seed: int
    fault: str
    onset: int
    recording: Recording
    effect: float
    harm: float
    lasting: float
    held_out: bool

    @property
    def effective(self) -> bool:
        """Whether it did anything: 3 sd within 50 steps, or 0.05 nats at the end."""
        return self.effect > 3.0 or self.harm > 0.05

    @property
    def half(self) -> str:
        """Which half: "tuning" or "held out"."""
        return "held out" if self.held_out else "tuning"


def groups() -> list[tuple[str, str]]:
    """Pairs in which faults are tried: all but those that take all data in each batch."""
    return [pair for pair in sweep.groups() if TASKS[pair[0]].batch]


def jobs(task: str, optimizer: str, lr: float) -> list[Job]:
    """The twin, the faults that fit and the schedules that are meant, for each seed."""
    found = []
    for seed in SEEDS if task != "T" else SEEDS[:1]:
        found.append(Job(lr, seed))
        for name, fault in FAULTS.items():
            if fault.fits(TASKS[task]):
                onset = 350 + zlib.crc32(f"{name}{task}{optimizer}{seed}".encode()) % 100
                found.append(Job(lr, seed, "wsd", name, onset))
        found += [Job(lr, seed, plan, f"plan:{plan}") for plan in PLANNED]
    return found


def _twist(job: Job) -> Twist | None:
    fault = FAULTS.get(job.fault)
    if fault is None or fault.data is None:
        return None
    change = fault.data

    def twist(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if step < job.onset:
            return x, y
        draw = torch.Generator().manual_seed(job.seed * 1_000_003 + step)
        return change(step - job.onset, x, y, draw)

    return twist


def _train(task: str, optimizer: str, what: list[Job]) -> Log:
    prepare()
    kind = TASKS[task]
    table = rates(what, STEPS)
    lanes = []
    for k, job in enumerate(what):
        order = batches(kind, job.seed, STEPS)
        fault = FAULTS.get(job.fault)
        if fault is not None and fault.order is not None and order is not None:
            order = fault.order(order, job.onset, kind)
        if fault is not None and fault.rate is not None:
            table[k] = fault.rate(table[k], job.onset)
        lanes.append(Lane(job.seed, order, _twist(job)))
    return follow(Fleet(kind, OPTIMIZERS[optimizer], lanes), table, STEPS)


def load(task: str, optimizer: str) -> list[FaultRun]:
    """The runs of one pair, at half of its best learning rate."""
    lr = sweep.label(task, optimizer, sweep.log(task, optimizer))[0].best_lr / 2.0
    what = jobs(task, optimizer, lr)
    config = {"task": task, "optimizer": optimizer, "version": VERSION, "steps": STEPS, "lr": lr,
              "jobs": [[j.seed, j.schedule, j.fault, j.onset] for j in what]}  # fmt: skip
    rows = cache.kept(cache.path("faults", config), lambda: _train(task, optimizer, what))
    twins = {job.seed: k for k, job in enumerate(what) if not job.fault}
    floor = sweep.SOLVED * float(np.median(rows.start_loss))
    runs = []
    for k, job in enumerate(what):
        twin = twins[job.seed]
        effect, lasting, harm = _effect(rows, k, twin, job.onset, floor)
        name = f"{task}/{optimizer}/{job.fault or 'twin'}/seed={job.seed}"
        said = recording(rows, k, name, facts(optimizer, STEPS))
        held = sweep.held_out(task, optimizer)
        runs.append(FaultRun(task, optimizer, job.seed, job.fault, job.onset, said, effect, harm, lasting, held))
    return runs


def _effect(rows: Log, k: int, twin: int, onset: int, floor: float) -> tuple[float, float, float]:
    """Rise and lasting rise in sd of the twin's noise, and nats at the end."""
    end, twin_end = rows.end_loss[k], rows.end_loss[twin]
    harm = math.log(max(end, floor) / max(twin_end, floor)) if math.isfinite(end) else math.inf
    if not onset:
        return 0.0, 0.0, harm
    mine, other = (np.log(np.maximum(rows.values["loss"][j].astype(np.float64), 1e-8)) for j in (k, twin))
    before = other[onset - 100 : onset]
    # Neighbours' differences leave the trend out.
    sd = max(float(np.median(np.abs(np.diff(before)))) / 0.954, 1e-3)
    rise = np.where(np.isfinite(mine), mine - other, math.inf)[onset : onset + 50]
    top = float(rise.max())
    return (top / sd if top > 0.05 else 0.0), float(rise[5:].mean()) / sd, harm


def load_faults() -> list[FaultRun]:
    """All of them; what is not in the cache is made now."""
    return [run for pair in groups() for run in load(*pair)]


def _make(pair: tuple[str, str]) -> tuple[str, str, float]:
    began = time.monotonic()
    load(*pair)
    return (*pair, time.monotonic() - began)


def make(processes: int = 2) -> None:
    """Fill the cache and tell of each pair."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for number, (task, optimizer, seconds) in enumerate(pool.map(_make, groups()), 1):
            words = f"faults {number} of {len(groups())}: {task} {optimizer}, {seconds:.0f} s"
            print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    make(parser.parse_args().processes)
