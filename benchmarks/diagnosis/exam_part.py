"""Learning rates too low and too high on jobs that were not run before rules and judgement were settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.diagnosis import sweep
from benchmarks.diagnosis.listen import listen_all
from benchmarks.diagnosis.sweep_part import Pair, directions, recommendations
from benchmarks.diagnosis.tasks import TASKS

LEARNED = "the school, which was learned from"
FRESH = "X5", "X6"
"""Those of the exam that nobody had run before the judgement that is shipped was settled."""


def measure(processes: int = 2) -> dict[str, Any]:
    """The exam, by schedule and by task."""
    pairs = _sat("exam", processes)
    rows = {"the exam": row(pairs), " and ".join(FRESH): row([p for p in pairs if p[0].task in FRESH])}
    for schedule in sweep.SCHOOL:
        rows[schedule] = row([p for p in pairs if p[0].schedule == schedule])
    for task in dict.fromkeys(p[0].task for p in pairs):
        rows[task] = row([p for p in pairs if p[0].task == task])
    return {"tasks": {t.name: t.words for t in TASKS.values() if t.part in ("exam", "school")}, "rows": rows}


def school(processes: int = 2) -> dict[str, Any]:
    """What the judgement learned from, to be put beside the exam; takes longer than that."""
    return row(_sat("school", processes))


def _sat(part: str, processes: int) -> list[Pair]:
    sweep.make(processes, sweep.school(part))
    runs = sweep.load_school(part)
    return list(zip(runs, listen_all([run.recording for run in runs], processes), strict=True))


def row(pairs: Sequence[Pair]) -> dict[str, Any]:
    """What is said by a quarter of the run, and recommended by then."""
    quarter = pairs[0][0].T // 4
    said = directions(pairs, quarter)
    value = recommendations(pairs, quarter)
    return {
        **{verdict: said[verdict]["diagnosis"] for verdict in ("lr_too_low", "lr_too_high")},
        "within x4": value["within x4"],
        "abstains": value["abstains"],
    }
