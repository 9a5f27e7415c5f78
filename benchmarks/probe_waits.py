"""How many operations that make a host wait for its device the probe adds: counted, over every configuration.

Every way of training that the tests know (accumulation, scalers, closures, several optimizers, compiled, sparse, …) is
run for the same rounds without the probe and with it in each of three ways: observing, with norm and direction thinned
away, and with an adjustment of the learning rate in force. Then every optimizer that torch ships, observed. What is
counted are dispatches such as `aten::_local_scalar_dense` and copies that block; bare loops have some of their own.

    python -m benchmarks.probe_waits [--only NAME] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from tests.agent.probe.loops.catalogue import LOOPS
from tests.agent.probe.loops.loop import Loop
from tests.agent.probe.optimizers import VARIANTS, Work

from steersman.agent.measure.ears import Ears
from steersman.agent.measure.overhead import leave_norm_out
from steersman.agent.measure.waits import counted
from steersman.agent.probe import ProbeConfig, install

WARM = 6
ROUNDS = 24
WAYS = ("observing", "without norm", "adjusting")


@contextlib.contextmanager
def watched(name: str, path: str, way: str) -> Iterator[Any]:
    """The probe in this process; it finds the optimizers by itself."""
    probe = install(ProbeConfig(str(uuid.uuid4()), name, path, budget_floor=10.0))
    if way == "without norm":
        leave_norm_out(probe)
    try:
        yield probe
    finally:
        probe.close()
    if probe.failures:
        raise SystemExit(f"{name}: the probe failed {probe.failures} times: its count would mean nothing")


def rounds_of(make: Callable[[], Loop], after_first: Callable[[], None] = lambda: None) -> Counter[str]:
    """What is counted in the rounds after the first few; the agent's answer has arrived by then."""
    loop = make()
    for index in range(WARM):
        loop.round()
        if index == 0:
            after_first()
        time.sleep(0.012)  # how often the probe reads what the agent says
    with counted() as seen:
        for _ in range(ROUNDS):
            loop.round()
    return seen


def known_to(ears: Ears, name: str) -> None:
    """Wait until the agent has heard of a job, and so has answered."""
    deadline = time.monotonic() + 5
    while name not in ears.heard() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.012)


def loops(only: str = "") -> list[dict[str, Any]]:
    """Every way of training, in each of the ways to watch it."""
    found = []
    with Ears() as plain, Ears(factor=0.9) as steering:
        for name, make in LOOPS.items():
            if only and name != only:
                continue
            bare = rounds_of(make)
            one: dict[str, Any] = {"loop": name, "bare": sum(bare.values()), "added": {}, "rows": {}}
            for way in WAYS:
                ears, job = steering if way == "adjusting" else plain, f"{name}, {way}"
                with watched(job, ears.path, way):
                    seen = rounds_of(make, lambda ears=ears, job=job: known_to(ears, job))  # type: ignore[misc]
                heard = ears.heard()[job]
                one["added"][way] = difference(seen, bare)
                one["rows"][way] = heard.rows
                if way == "adjusting":
                    one["adjusted"] = heard.applied > 0
            found.append(one)
    return found


def optimizers(only: str = "") -> list[dict[str, Any]]:
    """Every optimizer that torch ships, observed."""
    found = []
    with Ears() as ears:
        for name, make in VARIANTS.items():
            if only and name != only:
                continue
            with counted() as bare:
                Work(name, make).train()
            with watched(name, ears.path, "observing"), counted() as seen:
                Work(name, make).train()
            rows = ears.heard()[name].rows
            found.append({"optimizer": name, "bare": sum(bare.values()), "added": difference(seen, bare), "rows": rows})
    return found


def difference(seen: Counter[str], bare: Counter[str]) -> dict[str, int]:
    """What one has more, or fewer, than the other, by operation."""
    return {name: seen[name] - bare[name] for name in sorted({*seen, *bare}) if seen[name] != bare[name]}


def unwatched(report: dict[str, Any]) -> list[str]:
    """Configurations of which no row arrived: a probe that does nothing would add nothing."""
    found = [f"{one['loop']}, {way}" for one in report["loops"] for way in WAYS if not one["rows"][way]]
    return found + [one["optimizer"] for one in report["optimizers"] if not one["rows"]]


def main() -> None:
    """Count, say, and end with 1 where one was added."""
    parser = argparse.ArgumentParser(description="Operations that make a host wait, added by the probe.")
    parser.add_argument("--only", default="", metavar="NAME", help="one loop, or one optimizer")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {"rounds": ROUNDS, "loops": loops(options.only), "optimizers": optimizers(options.only)}
    added = [one["added"][way] for one in report["loops"] for way in WAYS]
    added += [one["added"] for one in report["optimizers"]]
    if options.json:
        print(json.dumps(report))
    else:
        print(f"{'loop':24}{'bare':>6}" + "".join(f"{way:>16}" for way in WAYS) + f"   in {ROUNDS} rounds")
        for one in report["loops"]:
            cells = [str(sum(one["added"][way].values())) for way in WAYS]
            if not one["adjusted"]:
                cells[-1] += " (refused)"
            print(f"{one['loop']:24}{one['bare']:6}" + "".join(f"{cell:>16}" for cell in cells))
        for one in report["optimizers"]:
            print(f"{one['optimizer']:24}{one['bare']:6}{sum(one['added'].values()):16}")
        print(f"{sum(map(bool, added))} of {len(added)} configurations add any")
    for name in unwatched(report):
        print(f"{name}: no row arrived, so its count shows nothing", file=sys.stderr)
    sys.exit(1 if any(added) or not added or unwatched(report) else 0)


if __name__ == "__main__":
    main()
