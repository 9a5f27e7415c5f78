"""What is said of jobs that were entered in their midst: `python -m benchmarks.diagnosis.joined`.

The rows of the sweep from a step on, as they come from a job that was attached to. Truth is what the whole run ended
in.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence

from benchmarks.diagnosis.listen import listen_all
from benchmarks.diagnosis.sweep import SweepRun, load_sweep
from benchmarks.diagnosis.sweep_part import HALVES, said_by

from steersman.rules.recording import Recording

VERDICTS = ("lr_too_high", "lr_too_low", "diverged", "nonfinite")


def entered(run: SweepRun, step: int) -> Recording:
    """The recording of a run as somebody sees it who comes at a step."""
    whole = run.recording
    facts = dataclasses.replace(whole.facts, planned_steps=0, joined=True)
    return dataclasses.replace(whole, samples=whole.samples.rows(step, len(whole.samples)), facts=facts)


def measure(runs: Sequence[SweepRun], step: int, processes: int = 2) -> dict[str, dict[str, dict[str, int]]]:
    """How many runs of each half and label there are, and of how many a verdict is ever given."""
    heard = listen_all([entered(run, step) for run in runs], processes)
    out: dict[str, dict[str, dict[str, int]]] = {half: {} for half in HALVES}
    for run, said in zip(runs, heard, strict=True):
        counts = out[run.half].setdefault(run.label, dict.fromkeys(("runs", *VERDICTS), 0))
        counts["runs"] += 1
        for verdict in VERDICTS:
            counts[verdict] += said_by(said, verdict, 10**9)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, action="append", help="where it is entered; 300 and 600 by default")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    runs = load_sweep()
    steps = options.step or [300, 600]
    print(json.dumps({step: measure(runs, step, options.processes) for step in steps}, indent=1))


if __name__ == "__main__":
    main()
