"""What the probe itself costs a step, apart from the norm: the price of a row.

A backward that does nothing, of a loss as a loss function makes it, and a step of an optimizer that does nothing, with
one group of ten parameters: with the probe and without it, in blocks that alternate within one process; and the
backward alone. A real process drains the probe's memory. Nothing else runs between two steps, so that the code is warm:
in a real loop, where the job's own tensors have been through the caches, the same code costs two to four times as much,
which is what probe_overhead.py shows.

    python -m benchmarks.probe_fixed [--blocks N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import torch

from steersman.agent.measure.ears import Ears
from steersman.agent.measure.overhead import leave_norm_out
from steersman.agent.probe import ProbeConfig, install

STEPS = 500


class Idle(torch.optim.Optimizer):
    """Steps without doing anything."""

    def __init__(self, params: list[torch.nn.Parameter]) -> None:
        super().__init__(params, {"lr": 0.1})

    def step(self, closure: Any = None) -> Any:
        """Nothing."""


def timed(call: Callable[[], object]) -> float:
    """Microseconds a call, over one block."""
    began = time.perf_counter_ns()
    for _ in range(STEPS):
        call()
    return (time.perf_counter_ns() - began) / STEPS / 1e3


def measure(blocks: int) -> dict[str, Any]:
    """Both parts, in microseconds."""
    original = torch.autograd.backward
    loss = torch.nn.functional.mse_loss(torch.nn.Parameter(torch.ones(3)), torch.zeros(3))

    def backward(*args: Any, **kwargs: Any) -> None:
        """Nothing: what is left is the patch."""

    params = [torch.nn.Parameter(torch.randn(600)) for _ in range(10)]
    for param in params:
        param.grad = torch.randn(600)
    optimizer = Idle(params)

    def step() -> None:
        torch.autograd.backward(loss)
        optimizer.step()

    found: dict[str, list[float]] = {name: [] for name in ("step bare", "step", "norm", "backward bare", "backward")}
    with Ears() as ears:
        try:
            torch.autograd.backward = backward
            for _ in range(blocks):
                found["step bare"].append(timed(step))
                found["backward bare"].append(timed(lambda: torch.autograd.backward(loss)))
                for name in ("step", "norm"):
                    # A budget that nothing exceeds: nothing may be thinned away while it is being measured.
                    identity = str(uuid.uuid4())
                    probe = install(ProbeConfig(identity, name, ears.path, budget_floor=1.0))
                    probe.see(optimizer)
                    if name == "step":
                        leave_norm_out(probe)
                    timed(step)
                    found[name].append(timed(step))
                    if name == "step":
                        found["backward"].append(timed(lambda: torch.autograd.backward(loss)))
                    probe.close()
                    if probe.failures:
                        raise SystemExit(f"the probe failed {probe.failures} times")
        finally:
            torch.autograd.backward = original
    middle = {name: statistics.median(values) for name, values in found.items()}
    least = {name: min(values) for name, values in found.items()}
    return {
        "step_us": middle["step"] - middle["step bare"],
        "step_least_us": least["step"] - least["step bare"],
        "backward_us": middle["backward"] - middle["backward bare"],
        "backward_least_us": least["backward"] - least["backward bare"],
        "norm_us": middle["norm"] - middle["step"],
        "norm_least_us": least["norm"] - least["step"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What the probe itself costs a step, apart from the norm.")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = measure(max(options.blocks, 2))
    if options.json:
        print(json.dumps(report))
        return
    step, least = report["step_us"], report["step_least_us"]
    print(f"a row, from backward to the agent's memory: {step:.1f} µs a step (least {least:.1f})")
    step, least = report["backward_us"], report["backward_least_us"]
    print(f"the patch on backward is of that:           {step:.1f} µs a call (least {least:.1f})")
    step, least = report["norm_us"], report["norm_least_us"]
    print(f"norm and direction besides:                 {step:.1f} µs a step (least {least:.1f})")


if __name__ == "__main__":
    main()
