"""What rules cost a job: CPU time of the engine per row, with 1, 16, 100 and 500 rules.

    python -m benchmarks.rules_cost [--rows 4000] [--repeat 5] [--json]

The rules are the shipped ones, repeated under other names. The rows are a run that learns, once as the probe reports it
(all features known, so that conditions run compiled) and once as a log with loss and LR alone (most features unknown,
so that conditions are walked in three-valued logic). The least of the repeats is told: the machine is shared.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np

from steersman.rules.engine import Engine, JobFacts
from steersman.rules.packs import Pack, load_pack
from steersman.rules.samples import Column, Samples

COUNTS = (0, 1, 16, 100, 500)


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description="Measure what rules cost per row.")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    whole = learning(options.rows)
    bare = Samples(whole.steps, whole.times, {name: whole.columns[name] for name in ("loss", "lr/0")})
    report: list[tuple[int, int, float, float]] = []
    for count in COUNTS:
        pack = repeated(count)
        parts = sum(rule.parts for rule in pack.rules)
        report.append((count, parts, per_row(pack, whole, options.repeat), per_row(pack, bare, options.repeat)))
    if options.json:
        names = ("rules", "parts", "probe_us", "log_us")
        packs = [dict(zip(names, line, strict=True)) for line in report]
        print(json.dumps({"rows": options.rows, "repeat": options.repeat, "packs": packs}))
        return
    print("| rules | parts | µs a row, as the probe reports | µs a row, loss and LR alone |\n|---|---|---|---|")
    for count, parts, probe, log in report:
        print(f"| {count} | {parts:,} | {probe:.0f} | {log:.0f} |")


def repeated(count: int) -> Pack:
    """That many rules, made of the shipped ones."""
    shipped = load_pack().rules
    return Pack(tuple(replace(shipped[k % len(shipped)], name=f"rule_{k}") for k in range(count)))


def learning(rows: int) -> Samples:
    """A healthy run."""
    rng = np.random.default_rng(0)
    steps = np.arange(rows)
    tenth = steps % 10 == 9
    loss = 4.0 * (steps + 1.0) ** -0.3 * np.exp(0.03 * rng.standard_normal(rows))
    return Samples(
        steps,
        steps.astype(np.float64),
        {
            "loss": Column.full(loss),
            "grad_norm": Column.full(np.exp(0.1 * rng.standard_normal(rows))),
            "lr/0": Column.full(np.full(rows, 1e-3)),
            "hypergrad_cos": Column(0.02 * rng.standard_normal(rows), tenth),
            "update_norm": Column(np.full(rows, 0.01), tenth),
            "weight_norm": Column(np.full(rows, 10.0), tenth),
        },
    )


def per_row(pack: Pack, samples: Samples, repeat: int) -> float:
    """Microseconds of CPU time."""
    best = float("inf")
    for _ in range(repeat):
        engine = Engine(pack, JobFacts())
        before = time.thread_time_ns()
        engine.feed(samples)
        best = min(best, float(time.thread_time_ns() - before))
    return best / 1000.0 / len(samples)


if __name__ == "__main__":
    main()
