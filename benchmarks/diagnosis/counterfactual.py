"""What each hand would have brought: regret closed, help and harm, over all branches run to their ends."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.diagnosis import cache, sweep
from benchmarks.diagnosis.bootstrap import bootstrap
from benchmarks.diagnosis.branches import FACTORS, OCTAVES, SEEDS, State, states
from benchmarks.diagnosis.share import share
from benchmarks.diagnosis.tasks import TASKS

import steersman.rules.engine
from steersman.rules.effects import KINDS, kind

BROKEN = 0.4
"""Only a job with a critical finding is cut below this at once."""

CHANGE = 0.05
"""Nats at the end beyond which a branch has helped or harmed."""


def groups() -> list[tuple[str, str]]:
    """All pairs but those that take all data in each batch.

    The quickest first: there is something to see early. Then the slowest, lest one core waits for them in the end.
    """
    slow = ("T", "R", "M2", "M2C", "AE", "M1")
    pairs = [pair for pair in sweep.groups() if TASKS[pair[0]].batch]
    return sorted(pairs, key=lambda p: slow.index(p[0]) if p[0] in slow else -1)


def _rules() -> str:
    """A digest of the rules that are installed: branches depend on what they prescribe."""
    folder = Path(steersman.rules.engine.__file__).parent
    digest = hashlib.sha256()
    for file in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def load(pair: tuple[str, str], seeds: Sequence[int]) -> tuple[list[State], float]:
    """The states of one pair, from the cache where these very rules have been tried."""
    task, optimizer = pair
    octaves = OCTAVES if task != "T" else (-4, -1, 0, 2)
    seeds = seeds if task != "T" else seeds[:1]
    config = {"task": task, "optimizer": optimizer, "seeds": list(seeds), "octaves": octaves, "rules": _rules()}
    made = (*cache.MAKERS, "sweep", "branches", "listen", "peers/policies")
    where = cache.path("branches", config, made).with_suffix(".json")
    began = time.monotonic()
    if not where.exists():
        found = states(task, optimizer, seeds, octaves)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(json.dumps([dataclasses.asdict(state) for state in found]))
    kept = [State(**state) for state in json.loads(where.read_text())]
    for state in kept:
        state.actions = [(int(a[0]), float(a[1]), int(a[2]), str(a[3]), float(a[4])) for a in state.actions]
    return kept, time.monotonic() - began


def gather(seeds: Sequence[int] = SEEDS, processes: int = 2, pairs: Sequence[tuple[str, str]] = ()) -> list[State]:
    """All states, several pairs at once; tells of each."""
    wanted = list(pairs or groups())
    found: dict[tuple[str, str], list[State]] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(load, pair, tuple(seeds)): pair for pair in wanted}
        for number, done in enumerate(as_completed(waiting), 1):
            pair = waiting[done]
            found[pair], seconds = done.result()
            words = f"branches {number} of {len(wanted)}: {' '.join(pair)}, {seconds:.0f} s"
            print(words, file=sys.stderr, flush=True)
    return [state for pair in wanted for state in found[pair]]


def _cluster(state: State) -> tuple[str, str]:
    return state.task, state.optimizer


def closed(some: Sequence[State], level: Callable[[State], float], cap: float) -> dict[str, Any]:
    """The share of the mean regret that a policy has closed; regrets are held between 0 and the cap."""

    def bound(x: float) -> float:
        return min(max(x, 0.0), cap)

    nothing = sum(bound(s.regret) for s in some)
    saved = sum(bound(s.regret) - bound(level(s)) for s in some)
    return {
        "n": len(some),
        "nothing": nothing / len(some) if some else None,
        "mean": (nothing - saved) / len(some) if some else None,
        "closed": saved / nothing if nothing else None,
        "clusters": bootstrap(some, _cluster, lambda s: (bound(s.regret) - bound(level(s)), bound(s.regret))),
    }


def _level(policy: str, state: State) -> float:
    return state.level(state.ends[policy])


def _branch_level(branch: str, state: State) -> float:
    return state.level(state.branches[branch])


def _moved(policy: str, branch: str, sign: float, state: State) -> bool:
    """Whether a policy, or a branch, ended above (sign 1) or below (sign -1) doing nothing."""
    if policy:
        return sign * (_level(policy, state) - state.regret) > CHANGE
    return sign * (_branch_level(branch, state) - _branch_level("nothing", state)) > CHANGE


def _hindsight(state: State) -> float:
    """The end of the best of the factors that were tried at this job's one step, and of doing nothing."""
    return min(_branch_level(branch, state) for branch in ("nothing", *FACTORS))


def policies(some: Sequence[State]) -> dict[str, Any]:
    """Each policy from the first step on."""
    out = {}
    for name in some[0].ends:
        level = partial(_level, name)
        better, worse = partial(_moved, name, "", -1.0), partial(_moved, name, "", 1.0)
        well = [s for s in some if s.healthy]
        out[name] = {
            "closed, capped at 1 nat": closed(some, level, 1.0),
            "closed, capped at 5": closed(some, level, 5.0),
            "helped": share(some, better),
            "harmed": share(some, worse),
            "harmed, healthy runs": share(well, worse, _cluster),
        }
    acted = [s for s in some if s.actions]
    daemon = [(s, s.level(s.ends["Steersman"]) - s.regret) for s in acted]
    out["Steersman"]["acted"] = share(some, lambda s: bool(s.actions))
    out["Steersman"]["acted, healthy runs"] = share([s for s in some if s.healthy], lambda s: bool(s.actions))
    out["Steersman"]["harmed, runs acted on"] = share(daemon, lambda d: d[1] > CHANGE)
    return out


def hindsight(some: Sequence[State]) -> dict[str, Any]:
    """What the best of one action's factors would have brought: no hand at those steps could do better with them."""
    return {
        "closed, capped at 1 nat": closed(some, _hindsight, 1.0),
        "closed, capped at 5": closed(some, _hindsight, 5.0),
        "helped": share(some, lambda s: _hindsight(s) - _branch_level("nothing", s) < -CHANGE),
    }


def branches(some: Sequence[State]) -> dict[str, Any]:
    """Each branch from the alarm on, or from a random step of a run without one."""
    out: dict[str, Any] = {}
    for where, chosen in {
        "at the alarm": [s for s in some if s.alarmed],
        "at random, no alarm": [s for s in some if not s.alarmed],
        "at random, no alarm, healthy": [s for s in some if not s.alarmed and s.healthy],
    }.items():
        names = list(dict.fromkeys(name for s in chosen for name in s.branches if name != "nothing"))
        rows = {}
        for name in names:
            rows[name] = {
                "helped": share(chosen, partial(_moved, "", name, -1.0)),
                "harmed": share(chosen, partial(_moved, "", name, 1.0), _cluster),
                "closed, capped at 1 nat": closed(chosen, partial(_branch_level, name), 1.0),
            }
        if where == "at the alarm":
            up = [s for s in chosen if s.actions[0][1] > 1.0]
            down = [s for s in chosen if s.actions[0][1] < 1.0]
            for words, few in (("prescribed, raises", up), ("prescribed, cuts", down)):
                deltas = [s.level(s.branches["prescribed"]) - s.level(s.branches["nothing"]) for s in few]
                rows[words] = {
                    "helped": share(deltas, lambda d: d < -CHANGE),
                    "harmed": share(deltas, lambda d: d > CHANGE),
                    "closed, capped at 1 nat": closed(few, partial(_branch_level, "prescribed"), 1.0),
                }
        out[where] = {"n": len(chosen), "branches": rows}
    return out


def effects(every: Sequence[State]) -> dict[str, Any]:
    """What following a first prescription brought, of each kind: log of the end loss over doing nothing.

    The interval is of the tuning half, wider by `CHANGE` on both sides, below which a difference is not counted; how
    many of the held-out half end within it is said beside it.
    """
    out: dict[str, Any] = {}
    for name in KINDS:
        deltas: dict[str, list[float]] = {"tuning": [], "held out": []}
        for s in every:
            if s.alarmed and kind(s.actions[0][1], s.actions[0][1] < BROKEN) == name:
                delta = s.level(s.branches["prescribed"]) - s.level(s.branches["nothing"])
                deltas[s.half].append(delta)
        if not deltas["tuning"]:
            continue
        low, middle, high = (float(q) for q in np.quantile(deltas["tuning"], (0.05, 0.5, 0.95)))
        low, high, others = low - CHANGE, high + CHANGE, deltas["held out"]
        out[name] = {
            "nats": middle,
            "low": low,
            "high": high,
            "jobs": len(deltas["tuning"]),
            "held out": float(np.median(others)) if others else None,
            "within": share(others, partial(_within, low, high)),
        }
    return out


def _within(low: float, high: float, delta: float) -> bool:
    return low <= delta <= high


def stops(some: Sequence[State]) -> dict[str, Any]:
    """What stopping at the alarm would have saved, and which winners it would have stopped."""
    alarmed = [s for s in some if s.alarmed]
    lost = [s for s in alarmed if s.regret > math.log(1.5)]
    return {
        "steps saved on runs that end 1.5 times above the best": sum(1000 - s.fork for s in lost),
        "of steps in such runs": 1000 * sum(s.regret > math.log(1.5) for s in some),
        "winners stopped": share([s for s in some if s.healthy], lambda s: s.alarmed),
    }


def report(every: Sequence[State]) -> dict[str, Any]:
    """The figures of each half."""
    out: dict[str, Any] = {}
    for half in ("tuning", "held out"):
        some = [s for s in every if s.half == half]
        if some:
            out[half] = {
                "states": len(some),
                "healthy": sum(s.healthy for s in some),
                "policies": policies(some),
                "hindsight": hindsight(some),
                "branches": branches(some),
                "stops": stops(some),
            }
    tasks = [s for s in every if TASKS[s.task].held_out]
    if tasks:
        out["held-out tasks"] = {"states": len(tasks), "policies": policies(tasks), "hindsight": hindsight(tasks)}
    return out


def measure(processes: int = 2, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Everything, for each half."""
    every = gather(seeds, processes)
    return {**report(every), "effects": effects(every), "seeds": [len(seeds), len(SEEDS)]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    options = parser.parse_args()
    print(json.dumps(measure(options.processes, SEEDS[: options.seeds]), indent=1))
