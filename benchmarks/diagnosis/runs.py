"""Trains jobs and writes down what the probe would have sent of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.diagnosis.fleet import Fleet, Lane, Taken, Twist, batches
from benchmarks.diagnosis.optimizers import OPTIMIZERS
from benchmarks.diagnosis.schedules import SCHEDULES
from benchmarks.diagnosis.tasks import TASKS

from steersman.rules.facts import JobFacts
from steersman.rules.recording import Recording
from steersman.rules.samples import Column, Samples

Singles = npt.NDArray[np.float32]

EVALUATE_EVERY = 25
SAMPLED = ("hypergrad_cos", "update_norm", "weight_norm", "predicted_decrease")
COLUMNS = ("loss", "grad_norm", "lr/0", "val_loss", *SAMPLED)


@dataclass(frozen=True)
class Job:
    """One job of a fleet.

    Attributes:
        lr: base learning rate.
        seed: see `Lane`.
        schedule: a name in `SCHEDULES`.
        fault: a name in `faults.FAULTS`, empty where nothing goes wrong.
        onset: step at which the fault begins.
    """

    lr: float
    seed: int
    schedule: str = "wsd"
    fault: str = ""
    onset: int = 0


@dataclass
class Log:
    """The rows of many jobs: a value a job and step, NaN and absent are told apart by `present`."""

    values: dict[str, Singles]
    present: dict[str, npt.NDArray[np.bool_]]
    end_loss: npt.NDArray[np.float64]
    start_loss: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, jobs: int, steps: int) -> Log:
        """Nothing written yet."""
        return cls(
            {name: np.zeros((jobs, steps), dtype=np.float32) for name in COLUMNS},
            {name: np.zeros((jobs, steps), dtype=np.bool_) for name in COLUMNS},
            np.full(jobs, math.nan),
            np.full(jobs, math.nan),
        )

    def put(self, step: int, name: str, values: npt.ArrayLike, finite: bool = False) -> None:
        """One column of one step; `finite` leaves out what is not, as the probe does with what it samples."""
        found = np.asarray(values, dtype=np.float32)
        self.values[name][:, step] = found
        self.present[name][:, step] = np.isfinite(found) if finite else True

    def write(self, step: int, taken: Taken, lr: npt.ArrayLike) -> None:
        """A row of every job."""
        self.put(step, "loss", taken.loss.numpy())
        self.put(step, "grad_norm", taken.grad_norm.numpy())
        self.put(step, "lr/0", lr)
        for name, found in zip(
            SAMPLED, (taken.cosine, taken.update_norm, taken.weight_norm, taken.predicted), strict=True
        ):
            if found is not None:
                self.put(step, name, found.numpy(), finite=True)

    def samples(self, job: int, stop: int | None = None) -> Samples:
        """One job's rows, as the daemon would hand them to its engine."""
        columns = {
            name: Column(self.values[name][job, :stop].astype(np.float64), self.present[name][job, :stop])
            for name in COLUMNS
        }
        steps = np.arange(len(columns["loss"].values), dtype=np.int64)
        times = np.asarray(1.7e9 + 0.01 * steps, dtype=np.float64)
        return Samples(steps, times, columns)


def facts(optimizer: str, steps: int) -> JobFacts:
    """What the job says of itself: its optimizer's class and how long it means to run."""
    return JobFacts(OPTIMIZERS[optimizer].class_name, steps)


def recording(log: Log, job: int, name: str, said: JobFacts) -> Recording:
    """One job's rows under a name."""
    return Recording(f"bench:{name}", name, "bench", log.samples(job), said)


def prepare() -> None:
    """One thread, and no slow numbers next to zero: figures must not depend on what else runs."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def rates(jobs: Sequence[Job], steps: int) -> npt.NDArray[np.float64]:
    """The planned learning rate of each job and step."""
    return np.stack([job.lr * SCHEDULES[job.schedule](steps) for job in jobs])


def fleet(task: str, optimizer: str, jobs: Sequence[Job], steps: int, twists: Sequence[Twist | None] = ()) -> Fleet:
    """The jobs, before their first step."""
    prepare()
    what = TASKS[task]
    orders = {seed: batches(what, seed, steps) for seed in {job.seed for job in jobs}}
    twists = twists or [None] * len(jobs)
    lanes = [Lane(job.seed, orders[job.seed], twist) for job, twist in zip(jobs, twists, strict=True)]
    return Fleet(what, OPTIMIZERS[optimizer], lanes)


def follow(flock: Fleet, table: npt.NDArray[np.float64], steps: int) -> Log:
    """Train a fleet to its end and write down every row."""
    log = Log.empty(len(flock.lanes), steps)
    log.start_loss[:] = flock.end_losses().numpy()
    for step in range(steps):
        log.write(step, flock.step(table[:, step]), table[:, step])
        if step % EVALUATE_EVERY == EVALUATE_EVERY - 1 and step + 1 < steps:
            # It stands on the first row after it was taken.
            log.put(step + 1, "val_loss", flock.validate().numpy())
    log.end_loss[:] = flock.end_losses().numpy()
    return log
