"""How far a rate that is too low should be raised at once: fresh seeds of the tuning half, run to their ends.

    python -m benchmarks.diagnosis.raises           # some four minutes on two cores; a line for each way

No held-out task or optimizer is loaded.
"""

from __future__ import annotations

import math
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from benchmarks.diagnosis import sweep
from benchmarks.diagnosis.branches import STEPS, drive
from benchmarks.diagnosis.counterfactual import CHANGE, groups
from benchmarks.diagnosis.peers.policies import Hold, Steersman
from benchmarks.diagnosis.runs import Job, facts, fleet

from steersman.rules.facts import JobFacts

OCTAVES = (-5, -4, -3, -2, -1, 0)
SEEDS = (51, 52)
SHARES = {"half of what is asked for": 0.5, "seven tenths": 0.7, "all": 1.0}
"""Of what is recommended, whatever else the prescription looks at; at most 16 times, all of it 64 times."""


class Raiser(Steersman):
    """The daemon, but a raise goes this share of the way."""

    def __init__(self, said: JobFacts, share: float) -> None:
        limit = 16.0 if share < 1.0 else 64.0
        super().__init__(said, (16.0, limit))
        self._share, self._limit = share, limit

    def by(self, prescribed: float, asked: float | None) -> float:
        """See `Steersman`."""
        if prescribed <= 1.0 or asked is None:
            return prescribed
        return min(max(self._share * asked, 2.0), self._limit)


def _policies(said: JobFacts) -> dict[str, Any]:
    found: dict[str, Any] = {"nothing": Hold(), "as shipped": Steersman(said)}
    found.update({name: Raiser(said, share) for name, share in SHARES.items()})
    return found


WAYS = ("nothing", "as shipped", *SHARES)


def _try(pair: tuple[str, str]) -> list[tuple[dict[str, float], dict[str, bool]]]:
    task, optimizer = pair
    known = sweep.label(task, optimizer, sweep.log(task, optimizer))[0]
    jobs = [Job(known.best_lr * 2.0**octave, seed) for seed in SEEDS for octave in OCTAVES]
    lanes = [job for job in jobs for _ in WAYS]
    said = facts(optimizer, STEPS)
    policies = [policy for _ in jobs for policy in _policies(said).values()]
    flock = fleet(task, optimizer, lanes, STEPS)
    floor = sweep.SOLVED * float(np.median(flock.end_losses().numpy()))
    _, ends = drive(flock, [job.lr for job in lanes], policies)

    def level(end: float) -> float:
        if not math.isfinite(end):
            return 5.0
        return min(math.log(max(end, floor) / max(known.best_end_loss, floor)), 5.0)

    out = []
    for k in range(len(jobs)):
        mine = slice(k * len(WAYS), (k + 1) * len(WAYS))
        levels = dict(zip(WAYS, map(level, ends[mine].tolist()), strict=True))
        acted = {n: bool(getattr(p, "actions", ())) for n, p in zip(WAYS, policies[mine], strict=True)}
        out.append((levels, acted))
    return out


def main() -> None:
    """Try all ways and print a line for each."""
    pairs = [pair for pair in groups() if not sweep.held_out(*pair) and pair[0] != "T"]
    found = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for number, some in enumerate(pool.map(_try, pairs), 1):
            found += some
            print(f"raises {number} of {len(pairs)}", file=sys.stderr, flush=True)

    def bound(x: float) -> float:
        return min(max(x, 0.0), 1.0)

    whole = sum(bound(levels["nothing"]) for levels, _ in found)
    for name in WAYS[1:]:
        closed = 1.0 - sum(bound(levels[name]) for levels, _ in found) / whole
        acted = [levels for levels, hands in found if hands[name]]
        harmed = sum(levels[name] - levels["nothing"] > CHANGE for levels in acted)
        print(f"{name}: {closed:.0%} of regret closed, {harmed} harmed of {len(acted)} acted on, {len(found)} jobs")


if __name__ == "__main__":
    main()
