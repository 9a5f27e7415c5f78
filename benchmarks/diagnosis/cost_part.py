"""What the engine spends on a row, with all rules."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.diagnosis.listen import pack
from benchmarks.diagnosis.sweep import SweepRun

from steersman.rules.engine import Engine

BATCH = 64


def measure(runs: Sequence[SweepRun], count: int = 40) -> dict[str, Any]:
    """Processor time over runs spread evenly over the sweep, in batches of 64 rows."""
    found = []
    for run in runs[:: max(len(runs) // count, 1)]:
        samples = run.recording.samples
        parts = [samples.rows(i, i + BATCH) for i in range(0, len(samples), BATCH)]
        engine = Engine(pack(), run.recording.facts)
        began = time.process_time()
        for part in parts:
            engine.feed(part)
        found.append((time.process_time() - began) / len(samples) * 1e6)
    return {
        "us_a_row": statistics.median(found),
        "least": min(found),
        "rows": BATCH,
        "runs": len(found),
        "rules": len(pack().rules),
    }
