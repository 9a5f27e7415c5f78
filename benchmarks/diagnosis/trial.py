"""Ways of moving a learning rate, tried on fresh seeds of the tuning half, each job run to its end under each way."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from benchmarks.diagnosis import sweep
from benchmarks.diagnosis.branches import STEPS, drive
from benchmarks.diagnosis.counterfactual import CHANGE, groups
from benchmarks.diagnosis.runs import Job, facts, fleet

from steersman.rules.facts import JobFacts

Ways = Callable[[JobFacts], Mapping[str, Any]]
"""Makes the policies by name; the first is to do nothing."""
Tried = list[tuple[dict[str, float], dict[str, bool]]]
"""Of each job the levels at its end by way, and under which ways a hand was laid on it."""


def _try(ways: Ways, octaves: Sequence[int], seeds: Sequence[int], pair: tuple[str, str]) -> Tried:
    task, optimizer = pair
    known = sweep.label(task, optimizer, sweep.log(task, optimizer))[0]
    jobs = [Job(known.best_lr * 2.0**octave, seed) for seed in seeds for octave in octaves]
    said = facts(optimizer, STEPS)
    names = tuple(ways(said))
    lanes = [job for job in jobs for _ in names]
    policies = [policy for _ in jobs for policy in ways(said).values()]
    flock = fleet(task, optimizer, lanes, STEPS)
    floor = sweep.SOLVED * float(np.median(flock.end_losses().numpy()))
    _, ends = drive(flock, [job.lr for job in lanes], policies)

    def level(end: float) -> float:
        if not math.isfinite(end):
            return 5.0
        return min(math.log(max(end, floor) / max(known.best_end_loss, floor)), 5.0)

    out = []
    for k in range(len(jobs)):
        mine = slice(k * len(names), (k + 1) * len(names))
        levels = dict(zip(names, map(level, ends[mine].tolist()), strict=True))
        acted = {n: bool(getattr(p, "actions", ())) for n, p in zip(names, policies[mine], strict=True)}
        out.append((levels, acted))
    return out


def try_all(ways: Ways, octaves: Sequence[int], seeds: Sequence[int]) -> None:
    """Try all ways and print a line for each.

    Args:
        ways: makes the policies; can be sent to another process.
        octaves: distances of the jobs' rates from the best, in powers of two.
        seeds: of the jobs, which nothing was tuned on.
    """
    # No held-out task or optimizer is loaded.
    pairs = [pair for pair in groups() if not sweep.held_out(*pair) and pair[0] != "T"]
    found: Tried = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for number, some in enumerate(pool.map(partial(_try, ways, octaves, seeds), pairs), 1):
            found += some
            print(f"{number} of {len(pairs)}: {' '.join(pairs[number - 1])}", file=sys.stderr, flush=True)

    def bound(x: float) -> float:
        return min(max(x, 0.0), 1.0)

    nothing, *others = found[0][0]
    whole = sum(bound(levels[nothing]) for levels, _ in found)
    for name in others:
        closed = 1.0 - sum(bound(levels[name]) for levels, _ in found) / whole
        acted = [levels for levels, hands in found if hands[name]]
        harmed = sum(levels[name] - levels[nothing] > CHANGE for levels in acted)
        helped = sum(levels[nothing] - levels[name] > CHANGE for levels in acted)
        print(
            f"{name}: {closed:.0%} of regret closed, {helped} helped and {harmed} harmed of {len(acted)} acted on, "
            f"{len(found)} jobs"
        )
