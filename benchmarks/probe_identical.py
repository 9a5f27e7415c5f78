"""Whether the weights end the same to the bit with the probe observing and without it, for every optimizer of torch.

Walks `torch.optim` and takes each class as it comes and with each switch that it has; what torch itself refuses on a
CPU is listed with its words. Each trains twice from the same seed, with dropout, clipping, evaluation, a scheduler and
checkpoints that are loaded again; weights, the optimizer's state and the job's next random numbers are compared.

    python -m benchmarks.probe_identical [--only CLASS] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from typing import Any

import torch
from tests.agent.probe.optimizers import REFUSED, VARIANTS, Make, Work

from steersman.agent.measure.ears import Ears
from steersman.agent.probe import ProbeConfig, install

STEPS = 40


def trained(name: str, make: Make) -> list[torch.Tensor]:
    """All that is to be equal: weights, state, and a few random numbers."""
    work = Work(name, make)
    return [*work.train(STEPS), *work.state(), torch.rand(4)]


def compare(name: str, make: Make, path: str) -> dict[str, Any]:
    """One variant, bare and watched."""
    bare = trained(name, make)
    probe = install(ProbeConfig(str(uuid.uuid4()), name, path, budget_floor=1.0))
    watched = trained(name, make)
    probe.close()
    equal = len(bare) == len(watched) and all(map(torch.equal, bare, watched))
    finite = all(bool(torch.isfinite(value).all()) for value in bare)
    kind, _, variant = name.partition("-")
    return {"class": kind, "variant": variant, "equal": equal, "finite": finite, "failures": probe.failures}


def measure(only: str = "") -> dict[str, Any]:
    """All variants, or those of one class."""
    found = []
    with Ears() as ears:
        for name, make in VARIANTS.items():
            if not only or name.partition("-")[0] == only:
                found.append(compare(name, make, ears.path))
        heard = ears.heard()
    for one in found:
        name = "-".join(filter(None, (one["class"], one["variant"])))
        # Equal because nothing was watched would be no news.
        one["rows"] = heard[name].rows if name in heard else 0
        one["watched"] = one["rows"] == STEPS and not one.pop("failures")
    refused = {name: words for name, words in REFUSED.items() if not only or name.partition("-")[0] == only}
    return {"torch": torch.__version__, "steps": STEPS, "variants": found, "refused": refused}


def main() -> None:
    """Measure, say, and end with 1 where something was not equal."""
    parser = argparse.ArgumentParser(description="Whether weights end the same with the probe and without.")
    parser.add_argument("--only", default="", metavar="CLASS", help="one class of torch.optim")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = measure(options.only)
    good = bool(report["variants"]) and all(one["equal"] and one["watched"] for one in report["variants"])
    if options.json:
        print(json.dumps(report))
    else:
        for one in report["variants"]:
            word = "equal" if one["equal"] else "NOT EQUAL"
            print(f"{one['class']:12}{one['variant']:24}{word:10}{one['rows']:4} rows of {STEPS}")
        for name, words in report["refused"].items():
            print(f"{name}: refused by torch on a CPU: {words}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
