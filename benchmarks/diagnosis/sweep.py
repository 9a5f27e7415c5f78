"""Every task with every optimizer at learning rates a factor of two apart, labelled by what they end in."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from benchmarks.diagnosis import cache
from benchmarks.diagnosis.centres import CENTRES
from benchmarks.diagnosis.optimizers import OPTIMIZERS
from benchmarks.diagnosis.runs import Job, Log, facts, fleet, follow, rates, recording
from benchmarks.diagnosis.tasks import TASKS

from steersman.rules.recording import Recording

STEPS = 1000
OCTAVES = range(-8, 6)
"""Learning rates are the coarse centre of a task and optimizer times two to these powers."""
OK, HARMFUL = 0.05, 0.2
"""Regrets in nats up to which a run counts as fine, and beyond which its learning rate counts as wrong."""
SCHOOL = ("wsd", "cosine", "linear", "root")
"""Schedules of the school and of the exam; all others have the first."""
SOLVED = 0.01
"""A loss below this share of the first counts as this share: a task that is solved is not solved better."""


Group = tuple[str, str, str]
"""Task, optimizer and schedule."""


@dataclass(frozen=True)
class SweepRun:
    """One run of the sweep, and how it ended.

    Attributes:
        task: its name in `TASKS`.
        optimizer: its name in `OPTIMIZERS`.
        lr: base learning rate.
        seed: of initialisation and batches.
        T: optimizer steps.
        recording: its rows as the probe would have sent them.
        end_loss: on a thousand training examples after the last step; NaN or infinite where it broke.
        best_end_loss: the same, at the best learning rate, geometric mean over seeds.
        best_lr: the middle of the learning rates that end within 0.01 nats of the best.
        regret: nats by which it ended above that, both held above `SOLVED`; infinite where it broke.
        side: "low", "high" or "best": on which side of the best learning rates it lies.
        held_out: whether its task or optimizer is held out: no rule may be tuned on it.
        schedule: its name in `SCHEDULES`.
    """

    task: str
    optimizer: str
    lr: float
    seed: int
    T: int
    recording: Recording
    end_loss: float
    best_end_loss: float
    best_lr: float
    regret: float
    side: str
    held_out: bool
    schedule: str = "wsd"

    @property
    def label(self) -> str:
        """The truth by effect: "ok", "too_low", "too_high", or "grey" between fine and wrong."""
        if self.regret <= OK:
            return "ok"
        if self.regret <= HARMFUL or self.side == "best":
            return "grey"
        return f"too_{self.side}"

    @property
    def half(self) -> str:
        """Which half: "tuning" or "held out"."""
        return "held out" if self.held_out else "tuning"


def groups() -> list[tuple[str, str]]:
    """All pairs of task and optimizer, the slowest first."""
    every = [o.name for o in OPTIMIZERS.values() if o.name != "adamw95" and not o.school]
    pairs = [
        (task.name, o)
        for task in TASKS.values()
        if task.part in ("tuning", "held out")
        for o in task.optimizers or every
    ]
    return sorted(pairs, key=lambda pair: pair[0] != "T")


def school(part: str = "school") -> list[Group]:
    """Task, optimizer and schedule of what only the judgement learns from, or of the exam.

    Every second optimizer has a schedule. The exam has those optimizers, too, that are held out.
    """
    optimizers = [o.name for o in OPTIMIZERS.values() if part == "exam" or not o.held_out]
    tasks = [task.name for task in TASKS.values() if task.part == part]
    return [
        (task, optimizer, schedule)
        for number, task in enumerate(tasks)
        for place, optimizer in enumerate(optimizers)
        for turn, schedule in enumerate(SCHOOL)
        if schedule == "wsd" or (number + place + turn) % 2
    ]


def held_out(task: str, optimizer: str) -> bool:
    """Whether no rule may be tuned on this pair."""
    return TASKS[task].held_out or OPTIMIZERS[optimizer].held_out


def jobs(task: str, optimizer: str, schedule: str = "wsd") -> list[Job]:
    """The runs of one pair."""
    return [
        Job(2.0 ** (CENTRES[task, optimizer] + octave), seed, schedule)
        for seed in range(TASKS[task].seeds)
        for octave in OCTAVES
    ]


def log(task: str, optimizer: str, schedule: str = "wsd") -> Log:
    """The rows of one pair, from the cache where they are there."""
    what = jobs(task, optimizer, schedule)
    config = {"task": task, "optimizer": optimizer, "steps": STEPS, "jobs": [[j.lr, j.seed] for j in what]}
    if schedule != "wsd":
        config["schedule"] = schedule
    return cache.kept(
        cache.path("sweep", config),
        lambda: follow(fleet(task, optimizer, what, STEPS), rates(what, STEPS), STEPS),
    )


def label(task: str, optimizer: str, rows: Log, schedule: str = "wsd") -> list[SweepRun]:
    """The runs of one pair with what they ended in."""
    what = jobs(task, optimizer, schedule)
    floor = SOLVED * float(np.median(rows.start_loss))
    ends = np.where(np.isfinite(rows.end_loss), np.maximum(rows.end_loss, floor), math.inf)
    lrs = sorted({job.lr for job in what})
    means = np.array([np.mean([math.log(e) for e, job in zip(ends, what, strict=True) if job.lr == lr]) for lr in lrs])
    best = int(np.argmin(means))
    near = [best, best]
    while near[0] > 0 and means[near[0] - 1] <= means[best] + 0.01:
        near[0] -= 1
    while near[1] < len(lrs) - 1 and means[near[1] + 1] <= means[best] + 0.01:
        near[1] += 1
    low, high = lrs[near[0]], lrs[near[1]]
    runs = []
    for k, job in enumerate(what):
        name = "/".join(
            [task, optimizer, *([schedule] if schedule != "wsd" else []), f"lr={job.lr:g}", f"seed={job.seed}"]
        )
        runs.append(
            SweepRun(
                task,
                optimizer,
                job.lr,
                job.seed,
                STEPS,
                recording(rows, k, name, facts(optimizer, STEPS)),
                float(rows.end_loss[k]),
                math.exp(means[best]),
                math.sqrt(low * high),
                float(math.log(ends[k]) - means[best]) if math.isfinite(ends[k]) else math.inf,
                "low" if job.lr < low else "high" if job.lr > high else "best",
                held_out(task, optimizer),
                schedule,
            )
        )
    return runs


def load_sweep(pairs: Iterable[tuple[str, str]] | None = None) -> list[SweepRun]:
    """The whole sweep, or that of some pairs of task and optimizer; what is not in the cache is made now."""
    return [run for task, optimizer in pairs or groups() for run in label(task, optimizer, log(task, optimizer))]


def load_school(part: str = "school") -> list[SweepRun]:
    """What only the judgement learns from, or the exam."""
    found = []
    for task, optimizer, schedule in school(part):
        rows = log(task, optimizer, schedule)
        runs = label(task, optimizer, rows, schedule)
        # Where the best gains less than what makes a rate wrong, none is.
        if math.log(float(np.median(rows.start_loss)) / runs[0].best_end_loss) > HARMFUL:
            found += runs
    return found


def _make(group: Group) -> tuple[str, float]:
    began = time.monotonic()
    log(*group)
    return " ".join(group), time.monotonic() - began


def make(processes: int = 2, pairs: Sequence[Group] = ()) -> None:
    """Fill the cache, several pairs at once, and tell of each."""
    began = time.monotonic()
    pairs = pairs or [(task, optimizer, "wsd") for task, optimizer in groups()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for number, (name, seconds) in enumerate(pool.map(_make, pairs), 1):
            words = f"{number} of {len(pairs)}: {name}, {seconds:.0f} s"
            print(f"sweep {words} ({time.monotonic() - began:.0f} s in all)", file=sys.stderr, flush=True)


def main() -> None:
    """`python -m benchmarks.diagnosis.sweep`: fill the cache and count the labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    make(parser.parse_args().processes)
    counts: dict[str, int] = {}
    for run in load_sweep():
        key = f"{run.half}: {run.label}"
        counts[key] = counts.get(key, 0) + 1
    print(json.dumps({"folder": str(cache.folder()), "labels": dict(sorted(counts.items()))}))


if __name__ == "__main__":
    main()
