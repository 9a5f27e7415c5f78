"""A short look at every part that can be had in minutes, held against bounds close to what was measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.diagnosis import corpus_part, cost_part, faults, sweep, sweep_part
from benchmarks.diagnosis.faults import FAULTS
from benchmarks.diagnosis.faults_part import HARM, LASTING_WITHIN, QUIET, SPIKE_WITHIN, found, ours
from benchmarks.diagnosis.listen import Heard, listen_all
from benchmarks.diagnosis.share import per_thousand
from benchmarks.diagnosis.sweep import SweepRun

PAIRS = [("Q", "sgdm"), ("LR", "adam"), ("M1", "adamw"), ("MF", "rmsprop"), ("AE", "adam"), ("AE", "adagrad")]
"""Pairs of task and optimizer: cheap ones, of both halves."""
STRUCK = [("LR", "adam"), ("M1", "adamw"), ("MF", "rmsprop")]
"""Those of them to which faults happen."""

LEAST = {"too low": 0.72, "too high": 0.90, "recommended": 0.82, "flat": 0.55, "spike": 0.90, "sustained": 0.90}
"""A short look fails where a share falls below these, a little less than the .76, .98, .90, .63, 1.0, .95 measured."""
MOST = {"too high near": 0.03, "improving": 0.05, "false": 0.65, "cost": 50.0}
"""And where these are exceeded; measured 0, .012, .54 and 22 to 32 µs."""

Pairs = Sequence[tuple[SweepRun, Heard]]


@dataclass(frozen=True)
class Figure:
    """One number and what it is held against.

    Attributes:
        name: for people.
        value: as measured; None where there was nothing to measure it on, which is a failure.
        bound: it may not fall below this, or, with `most`, not rise above.
        most: which of the two.
    """

    name: str
    value: float | None
    bound: float
    most: bool = False

    @property
    def good(self) -> bool:
        """Whether it is within its bound."""
        return self.value is not None and (self.value <= self.bound if self.most else self.value >= self.bound)

    def __str__(self) -> str:
        value = "nothing to measure it on" if self.value is None else f"{self.value:.3f}"
        return f"{self.name}: {value} (at {'most' if self.most else 'least'} {self.bound:g})"


def corpus(result: dict[str, Any]) -> Iterator[Figure]:
    """Published logs, where they are."""
    if "left out" in result:
        print(f"corpus left out: {result['left out']}")
        return
    yield Figure("corpus: faults found", result["recall"], 0.95)
    yield Figure("corpus: false alarms on healthy logs", result["false_alarms"], 0, most=True)
    yield Figure("corpus: critical findings on healthy logs", result["healthy_with_critical_finding"], 0, most=True)


def rates(pairs: Pairs) -> Iterator[Figure]:
    """Learning rates too low and too high by a quarter of the run, and plateaus."""
    of, quarter = sweep_part.truths(pairs), sweep.STEPS // 4

    def said(kind: str, verdict: str) -> float | None:
        some = of[kind]
        return sum(sweep_part.said_by(heard, verdict, quarter) for _, heard in some) / len(some) if some else None

    yield Figure("too low: found", said("low", "lr_too_low"), LEAST["too low"])
    yield Figure("too low: said of too high", said("high", "lr_too_low"), 0.0, most=True)
    yield Figure("too high: found", said("high", "lr_too_high"), LEAST["too high"])
    yield Figure("too high: said of too low", said("low", "lr_too_high"), 0.0, most=True)
    yield Figure("too high: said within 2x of the best", said("near", "lr_too_high"), MOST["too high near"], most=True)
    recommended = sweep_part.recommendations(pairs, quarter)
    yield Figure("recommended within x4 of the best", recommended["within x4"]["share"], LEAST["recommended"])
    plateau = sweep_part.plateaus(pairs)["Steersman, a plateau rule"]
    yield Figure("plateau: flat caught", plateau["flat"]["share"], LEAST["flat"])
    yield Figure("plateau: said of improving", plateau["improving"]["share"], MOST["improving"], most=True)


def harm(processes: int, pairs: Pairs) -> Iterator[Figure]:
    """Spikes and lasting harm, and false alarms on what is well."""
    runs = [run for pair in STRUCK for run in faults.load(*pair)]
    struck = list(zip(runs, listen_all([run.recording for run in runs], processes), strict=True))
    of: dict[str, Callable[[faults.FaultRun], bool]] = {
        "spike": lambda run: FAULTS[run.fault].kind == "spike" and run.effect > 3.0,
        "sustained": lambda run: FAULTS[run.fault].kind == "sustained" and run.lasting > 1.5,
    }
    for kind, within in (("spike", SPIKE_WITHIN), ("sustained", LASTING_WITHIN)):
        some = [(run, heard) for run, heard in struck if run.fault in FAULTS and of[kind](run)]
        result = found(some, within, {k: ours(heard) for k, (_, heard) in enumerate(some)})
        yield Figure(f"{kind} found", result["share"], LEAST[kind])
    well = [heard for run, heard in struck if not run.fault] + [heard for run, heard in pairs if run.label == "ok"]
    false = sum(step >= QUIET for heard in well for step in ours(heard, HARM))
    rate = per_thousand(false, sum(heard.rows - QUIET for heard in well))["rate"]
    yield Figure("false alarms of harm per 1,000 steps", rate, MOST["false"], most=True)


def quick(processes: int) -> int:
    """Measure all of it and print it; 1 where something is out of its bound. Writes nothing but the cache."""
    figures = list(corpus(corpus_part.measure()))
    runs = sweep.load_sweep(PAIRS)
    pairs = list(zip(runs, listen_all([run.recording for run in runs], processes), strict=True))
    figures += rates(pairs)
    figures += harm(processes, pairs)
    cost = cost_part.measure(runs, 12)["us_a_row"]
    figures.append(Figure("processor time of all rules, us a row", cost, MOST["cost"], most=True))
    for figure in figures:
        print(figure)
    bad = [figure.name for figure in figures if not figure.good]
    if bad:
        print(f"failed: {', '.join(bad)}", file=sys.stderr)
    return int(bool(bad))
