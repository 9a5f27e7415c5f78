"""Measures what Steersman says of jobs whose truth is known, and writes it into docs/diagnosis.md.

`make bench-diagnosis`, or `python -m benchmarks.diagnosis [--quick] [--only PART]`. Recordings are kept in a cache and
made anew only when the code that makes them has changed; STEERSMAN_CORPUS names a folder of labelled logs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine, say
from benchmarks.diagnosis import (
    corpus_part,
    cost_part,
    counterfactual,
    exam_part,
    faults,
    faults_part,
    plot,
    sweep,
    sweep_part,
)
from benchmarks.diagnosis.branches import SEEDS
from benchmarks.diagnosis.listen import Heard, listen_all
from benchmarks.diagnosis.page import HALVES, into, section
from benchmarks.diagnosis.quick import quick
from benchmarks.diagnosis.sweep import SweepRun
from benchmarks.diagnosis.targets import table

from steersman.rules import effects
from steersman.rules.backtest import healthy
from steersman.rules.packs import shipped_pack

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
RESULTS = HERE / "results.json"
PARTS = ("corpus", "sweep", "exam", "faults", "counterfactual", "cost")
ASKED_FOR = ("school",)
"""Parts that are measured only where they are named: they take long and tell little."""

Pairs = list[tuple[SweepRun, Heard]]


def listened(processes: int) -> Pairs:
    """The sweep, and what the engine says of each run."""
    sweep.make(processes)
    runs = sweep.load_sweep()
    say(f"listening to {len(runs)} runs")
    return list(zip(runs, listen_all([run.recording for run in runs], processes), strict=True))


def measure(parts: Sequence[str], processes: int, seeds: int, results: dict[str, Any]) -> dict[str, Any]:
    """The parts asked for, added to what was measured before."""
    pairs: Pairs = []
    if "sweep" in parts or "faults" in parts:
        pairs = listened(processes)
    for number, name in enumerate(parts, 1):
        say(f"{name}, {number} of {len(parts)}")
        if name == "corpus":
            results[name] = corpus_part.measure()
        elif name == "sweep":
            results[name] = sweep_part.report(pairs)
        elif name == "exam":
            learned = results.get(name, {}).get("rows", {}).get(exam_part.LEARNED)
            results[name] = exam_part.measure(processes)
            if learned is not None:
                results[name]["rows"][exam_part.LEARNED] = learned
        elif name == "school":
            if "exam" not in results:
                results["exam"] = exam_part.measure(processes)
            results["exam"]["rows"][exam_part.LEARNED] = exam_part.school(processes)
        elif name == "faults":
            faults.make(processes)
            found = faults_part.measure(pairs, processes)
            healthy.write(shipped_pack() / healthy.NAME, **found["healthy_rates"])
            results[name] = found
        elif name == "counterfactual":
            results[name] = found = counterfactual.measure(processes, SEEDS[:seeds])
            effects.write(found["effects"])
        elif name == "cost":
            results[name] = cost_part.measure([run for run, _ in pairs] or sweep.load_sweep())
        write(results)
    return results


def write(results: dict[str, Any]) -> None:
    """Keep the figures, and put them into the page with its charts."""
    results = {"when": time.strftime("%Y-%m-%d"), "machine": machine(), **results}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    shown = {**results, "targets": table(results)}
    if "sweep" in results:
        shown |= dict.fromkeys(("recommended", "calibration", "plateau"), results["sweep"])
        draw(results["sweep"])
    page = DOCS / "diagnosis.md"
    page.write_text(into(page.read_text(), section(shown)))


def draw(found: dict[str, Any]) -> None:
    """The charts of the page."""
    calibration = {}
    for half in HALVES:
        rows = found[half]["by octave"]
        series = {
            "said too low": [(r["octave"], r["lr_too_low"]) for r in rows],
            "said too high": [(r["octave"], r["lr_too_high"]) for r in rows],
            "median regret, nats / 5": [(r["octave"], min(max(r["regret"], 0.0) / 5.0, 1.0)) for r in rows],
        }
        chart = plot.lines(
            f"By a quarter of the run, {half} half", "log2 of the learning rate over the best", "share of runs", series
        )
        (DOCS / "images" / f"diagnosis-{half.replace(' ', '-')}.svg").write_text(chart)
        calibration[half] = [(min(r["from"] + 0.05, 1.0), r["share"]) for r in found[half]["calibration"]]
    chart = plot.lines("Stated confidence", "stated, by tenths", "right", calibration, diagonal=True)
    (DOCS / "images" / "diagnosis-calibration.svg").write_text(chart)


def main() -> None:
    """Measure what is asked for, keep what was measured before of the rest, and write the page."""
    parser = argparse.ArgumentParser(description="Measure what Steersman says of jobs whose truth is known.")
    parser.add_argument("--only", choices=PARTS + ASKED_FOR, action="append", help="may be given more than once")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="minutes: some of it, held against bounds",
    )
    parser.add_argument("--write", action="store_true", help="only write the page anew from what was measured last")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 2))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="of the branches: 1 takes a third of the time")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.quick:
        sys.exit(quick(options.processes))
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {k: v for k, v in results.items() if k in PARTS}
    if options.write:
        write(results)
        return
    began = time.monotonic()
    measure(options.only or PARTS, options.processes, options.seeds, results)
    say(f"done after {(time.monotonic() - began) / 60:.0f} minutes: docs/diagnosis.md")


if __name__ == "__main__":
    main()
