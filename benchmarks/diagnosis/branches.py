"""What would have become of a job under each hand: run to the end on the same batches, from the same weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from benchmarks.diagnosis import sweep
from benchmarks.diagnosis.fleet import Fleet, Snapshot
from benchmarks.diagnosis.peers.policies import Greedy, Hold, Policy, Ramp, ReduceOnPlateau, Steersman, lightning_finder
from benchmarks.diagnosis.runs import EVALUATE_EVERY, Job, Log, facts, fleet
from benchmarks.diagnosis.schedules import wsd

STEPS = 1000
OCTAVES = (-5, -3, -1, 0, 1, 3)
SEEDS = (41, 42, 43)
FACTORS = {"x 1/16": 1.0 / 16.0, "x 1/4": 0.25, "x 1/2": 0.5, "x 2": 2.0, "x 4": 4.0, "x 16": 16.0}
WIDE = 64.0, 64.0
"""Limits of an owner who means it: a total factor within 1/64 and 64, with six adjustments, 100 steps apart."""
CHUNK = 10
"""Steps between two looks of the daemon, and the grid on which jobs fork."""


@dataclass
class State:
    """One job, how it ended under each policy from its first step, and under each branch from a step on.

    Attributes:
        octave: distance of its learning rate from the best, in powers of two.
        ends: policy to end loss.
        actions: what the daemon did: step, factor, ramp, verdict, confidence.
        fork: where branches leave.
        alarmed: whether that is where the daemon acted first; else a step drawn at random.
        branches: branch to end loss.
        drawn: the factor of the placebo.
    """

    task: str
    optimizer: str
    octave: int
    seed: int
    best_end: float
    floor: float
    ends: dict[str, float] = field(default_factory=dict)
    actions: list[tuple[int, float, int, str, float]] = field(default_factory=list)
    fork: int = 0
    alarmed: bool = False
    branches: dict[str, float] = field(default_factory=dict)
    drawn: float = 1.0

    @property
    def held_out(self) -> bool:
        """See `SweepRun`."""
        return sweep.held_out(self.task, self.optimizer)

    @property
    def half(self) -> str:
        """Which half: "tuning" or "held out"."""
        return "held out" if self.held_out else "tuning"

    def level(self, end: float) -> float:
        """An end loss in nats above the best; what broke counts as five."""
        if not math.isfinite(end):
            return 5.0
        return min(math.log(max(end, self.floor)) - math.log(max(self.best_end, self.floor)), 5.0)

    @property
    def regret(self) -> float:
        """That of doing nothing."""
        return self.level(self.ends["nothing"])

    @property
    def healthy(self) -> bool:
        """Whether it does well when left alone."""
        return self.regret <= sweep.OK


def drive(flock: Fleet, bases: Sequence[float], policies: Sequence[Policy]) -> tuple[Log, np.ndarray[Any, Any]]:
    """Train lanes from where they stand to their end, each under its policy; returns rows by lane and end losses.

    Lanes may stand at different steps of their runs: one that has ended stays as it is, at a rate of zero.
    """
    n = len(bases)
    plan = wsd(STEPS)
    log = Log.empty(n, STEPS)
    steersmen = [(k, p) for k, p in enumerate(policies) if isinstance(p, Steersman)]
    base = np.asarray(bases)
    shown: list[float | None] = [None] * n
    done = np.zeros(n, dtype=np.bool_)
    began = int(flock.clock.min())
    for moment in range(STEPS - began):
        now = flock.clock.copy()
        lr = np.where(done, 0.0, base * plan[now] * np.array([p.factor for p in policies]))
        taken = flock.step(lr)
        lanes = np.arange(n)
        if steersmen:
            # They look from the first step on, where all lanes stand at the same.
            log.write(int(now[0]), taken, lr)
        losses = taken.loss.numpy()
        ends = flock.clock % EVALUATE_EVERY == 0
        values = flock.validate().numpy() if ends.any() else None
        for k in lanes[~done]:
            step = int(now[k])
            shown[k] = float(values[k]) if values is not None and ends[k] else None
            policies[k].see(step, float(losses[k]), shown[k])
        if values is not None and steersmen and int(flock.clock[0]) < STEPS:
            log.put(int(flock.clock[0]), "val_loss", values)
        if steersmen and int(now[0]) % CHUNK == CHUNK - 1:
            for k, policy in steersmen:
                stop = int(now[0]) + 1
                policy.read(log.samples(k, stop).rows(stop - CHUNK, stop))
        over = flock.clock >= STEPS
        done |= over
        if done.all():
            break
        # The data of a step that has been is as good as any for a lane that no longer moves.
        flock.clock[over] -= CHUNK
        del moment
    return log, flock.end_losses().numpy().astype(np.float64)


def states(task: str, optimizer: str, seeds: Sequence[int], octaves: Sequence[int]) -> list[State]:
    """Everything of one pair of task and optimizer."""
    known = sweep.label(task, optimizer, sweep.log(task, optimizer))
    best = known[0].best_lr
    jobs = [Job(best * 2.0**octave, seed) for seed in seeds for octave in octaves]
    found = [State(task, optimizer, octave, seed, known[0].best_end_loss, 0.0) for seed in seeds for octave in octaves]
    said = facts(optimizer, STEPS)
    ways: dict[str, Any] = {
        "nothing": Hold,
        "Steersman": lambda: Steersman(said),
        "Steersman, wide limits": lambda: Steersman(said, WIDE, 6, 100),
        "ReduceLROnPlateau, validation": ReduceOnPlateau,
        "ReduceLROnPlateau, means of 25": lambda: ReduceOnPlateau(25),
        "GreedyLR": Greedy,
    }
    lanes = [job for job in jobs for _ in ways]
    policies: list[Policy] = [make() for _ in jobs for make in ways.values()]
    flock = fleet(task, optimizer, lanes, STEPS)
    floor = sweep.SOLVED * float(np.median(flock.end_losses().numpy()))
    _, ends = drive(flock, [job.lr for job in lanes], policies)
    for k, state in enumerate(found):
        state.floor = floor
        mine = slice(k * len(ways), (k + 1) * len(ways))
        state.ends = dict(zip(ways, ends[mine].tolist(), strict=True))
        daemon = policies[mine][1]
        assert isinstance(daemon, Steersman)
        state.actions = daemon.actions
    _branch(found, jobs)
    return found


def _branch(found: Sequence[State], jobs: Sequence[Job]) -> None:
    """Fork every job where the daemon first acted, or at a step drawn from those of other jobs."""
    draw = np.random.default_rng([3, len(found)])
    acted = [s.actions[0] for s in found if s.actions] or [(250, 2.0, 20, "", 0.0)]
    for state in found:
        state.alarmed = bool(state.actions) and state.actions[0][0] + 1 < STEPS - 50
        other = acted[int(draw.integers(len(acted)))]
        step = state.actions[0][0] + 1 if state.alarmed else other[0] + 1
        state.fork = min(max(step // CHUNK * CHUNK, CHUNK), 8 * STEPS // 10)
        if state.alarmed:
            state.fork = step // CHUNK * CHUNK
        state.drawn = other[1]
    task, optimizer = found[0].task, found[0].optimizer
    trunk = fleet(task, optimizer, jobs, STEPS)
    plan = wsd(STEPS)
    base = np.array([job.lr for job in jobs])
    shots: dict[int, Snapshot] = {}
    stopped: dict[int, float] = {}
    for step in range(max(s.fork for s in found)):
        trunk.step(base * plan[step])
        here = [k for k, s in enumerate(found) if s.fork == step + 1]
        if here:
            ends = trunk.end_losses().numpy()
            for k in here:
                shots[k] = trunk.take(k)
                stopped[k] = float(ends[k])
    wanted = _find(found, jobs, shots)
    lanes, names, policies, origin = [], [], [], []
    for k, (state, job) in enumerate(zip(found, jobs, strict=True)):
        ways: dict[str, Policy] = {"nothing": Hold(), **{n: Hold(f) for n, f in FACTORS.items()}}
        if state.alarmed:
            _, factor, over, _, _ = state.actions[0]
            ways["prescribed"] = Ramp(factor, state.fork, over)
        else:
            ways["placebo"] = Ramp(state.drawn, state.fork, 20)
        ways["ReduceLROnPlateau, validation"] = ReduceOnPlateau()
        ways["GreedyLR"] = Greedy()
        ways["LR finder of Lightning"] = Hold(wanted[k] / job.lr)
        for name, policy in ways.items():
            lanes.append(job)
            names.append(name)
            policies.append(policy)
            origin.append(k)
    flock = fleet(task, optimizer, lanes, STEPS)
    for lane, k in enumerate(origin):
        flock.put(lane, shots[k])
    _, ends = drive(flock, [job.lr for job in lanes], policies)
    for name, k, end in zip(names, origin, ends.tolist(), strict=True):
        found[k].branches[name] = end
    for k, end in stopped.items():
        found[k].branches["stop"] = end


def _find(found: Sequence[State], jobs: Sequence[Job], shots: dict[int, Snapshot]) -> list[float]:
    """Lightning's learning-rate finder from each fork: 100 steps from 1e-8 to 1, then everything is put back."""
    flock = fleet(found[0].task, found[0].optimizer, jobs, STEPS)
    for k, shot in shots.items():
        flock.put(k, shot)
    flock.clock[:] = np.minimum(flock.clock, STEPS - 100 - CHUNK)
    lrs = np.geomspace(1e-8, 1.0, 100)
    losses = np.stack([flock.step(np.full(len(jobs), lr)).loss.numpy() for lr in lrs], axis=1)
    return [lightning_finder(lrs, losses[k].astype(np.float64)) for k in range(len(jobs))]
