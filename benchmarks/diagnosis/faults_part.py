"""Spikes and lasting harm found, and false alarms on runs that are well, for Steersman and for its peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.diagnosis.faults import FAULTS, FaultRun, load_faults
from benchmarks.diagnosis.listen import Heard, listen_all, pack
from benchmarks.diagnosis.peers.detectors import SPIKES
from benchmarks.diagnosis.peers.view import view
from benchmarks.diagnosis.share import per_thousand, share
from benchmarks.diagnosis.sweep import SweepRun

from steersman.rules.backtest.healthy import HealthyRun, counts
from steersman.rules.recording import Recording
from steersman.rules.samples import Column, Samples

SPIKE_WITHIN, LASTING_WITHIN = 10, 100
QUIET = 64
"""Steps at the start in which no detector is counted: most need them to learn what is usual."""
HARM = frozenset(
    {"spike", "diverged", "nonfinite", "bad_data", "gradient_explosion", "precision_overflow", "lr_too_high"}
)
WAYS = {
    "Steersman": HARM,
    "Steersman, rules for spikes alone": frozenset({"spike"}),
    "Steersman, all others": HARM - {"spike"},
}
Pair = tuple[FaultRun, Heard]


@dataclass(frozen=True)
class Healthy:
    """A run with nothing wrong, and every alarm on it."""

    name: str
    heard: Heard
    recording: Recording
    held_out: bool


def ours(heard: Heard, verdicts: frozenset[str] = HARM) -> list[int]:
    """Steps at which a rule said that something has got worse."""
    return [f.step for f in heard.fired if f.verdict in verdicts]


def _first(steps: Sequence[int], onset: int, within: int) -> int | None:
    return next((s - onset for s in sorted(steps) if onset <= s < onset + within), None)


def found(pairs: Sequence[Pair], within: int, alarms: dict[int, list[int]]) -> dict[str, Any]:
    """Recall and delay of the alarms of each run (by its place) on those whose fault had an effect."""
    delays = [_first(alarms[k], run.onset, within) for k, (run, _) in enumerate(pairs)]
    seen = sorted(d for d in delays if d is not None)
    out = share(delays, lambda d: d is not None)
    out["delay"] = float(np.median(seen)) if seen else None
    out["delay 90 %"] = float(np.percentile(seen, 90)) if seen else None
    return out


def disguised(recording: Recording, way: str) -> Recording:
    """The same healthy run as another job would have logged it."""
    s = recording.samples
    if way.startswith("every "):
        k = int(way.removeprefix("every "))
        keep = slice(k - 1, None, k)
        columns = {n: Column(c.values[keep], c.present[keep]) for n, c in s.columns.items()}
        samples = Samples(s.steps[keep], s.times[keep], columns)
    elif way == BARE:
        samples = Samples(s.steps, s.times, {n: c for n, c in s.columns.items() if n in ("loss", "val_loss", "lr/0")})
    else:
        add = 100.0 if way == "loss + 100" else -1.2 * float(np.median(s.columns["loss"].values[:20]))
        columns = dict(s.columns)
        for name in ("loss", "val_loss"):
            columns[name] = Column(s.columns[name].values + add, s.columns[name].present)
        samples = Samples(s.steps, s.times, columns)
    return Recording(recording.source, f"{recording.name}/{way}", recording.format, samples, recording.facts)


BARE = "no steps, no norm"
DISGUISES = ("every 10", "every 50", "loss + 100", "loss below 0", BARE)


def healthy_rates(runs: Sequence[Healthy], bare: Sequence[Healthy]) -> dict[str, Any]:
    """How often each rule fires on runs that are well, as `steersman.rules.backtest.healthy.write` takes it.

    Args:
        runs: those with all that the probe tells.
        bare: some of them as a log of others has them; they tell of rules that nothing else tells of.
    """
    each, others = [_healthy(run) for run in runs], [_healthy(run) for run in bare]
    found, scant = counts(pack().rules, each), counts(pack().rules, others)
    rules = {name: mine if mine.of_runs else scant[name] for name, mine in found.items()}
    return {"runs": len(runs), "steps": sum(run.steps for run in each), "rules": rules}


def _healthy(run: Healthy) -> HealthyRun:
    return HealthyRun(Counter(f.rule for f in run.heard.fired), run.heard.rows, run.heard.sight)


def _spike_table(pairs: Sequence[Pair], healthy: Sequence[Healthy]) -> dict[str, Any]:
    struck = {
        "spike": [p for p in pairs if p[0].fault and _kind(p[0]) == "spike" and p[0].effect > 3.0],
        "sustained": [p for p in pairs if p[0].fault and _kind(p[0]) == "sustained" and p[0].lasting > 1.5],
    }
    within = {"spike": SPIKE_WITHIN, "sustained": LASTING_WITHIN}
    table: dict[str, Any] = {}
    steps = sum(run.heard.rows - QUIET for run in healthy)
    for name, verdicts in WAYS.items():
        false = sum(s >= QUIET for run in healthy for s in ours(run.heard, verdicts))
        table[name] = {
            kind: found(some, within[kind], {k: ours(h, verdicts) for k, (_, h) in enumerate(some)})
            for kind, some in struck.items()
        } | {"false": per_thousand(false, steps)}
    views = [view(run.recording.samples) for run in healthy]
    for name, detector in SPIKES.items():
        alarms = {
            kind: {k: list(detector(view(run.recording.samples))) for k, (run, _) in enumerate(some)}
            for kind, some in struck.items()
        }
        false = sum(s >= QUIET for one in views for s in detector(one))
        table[name] = {kind: found(some, within[kind], alarms[kind]) for kind, some in struck.items()} | {
            "false": per_thousand(false, steps)
        }
    return table


def _kind(run: FaultRun) -> str:
    return FAULTS[run.fault].kind if run.fault in FAULTS else "plan"


def _by_fault(pairs: Sequence[Pair]) -> dict[str, Any]:
    out = {}
    for name, fault in FAULTS.items():
        tried = [p for p in pairs if p[0].fault == name]
        struck = [p for p in tried if p[0].effective]
        within = SPIKE_WITHIN if fault.kind in ("spike", "nan") else LASTING_WITHIN
        any_rule = {k: [f.step for f in h.fired] for k, (_, h) in enumerate(struck)}
        counts: dict[str, int] = {}
        for run, heard in struck:
            verdict = heard.at(min(run.onset + 100, heard.rows - 1)).verdict
            counts[verdict] = counts.get(verdict, 0) + 1
        out[name] = {
            "words": fault.words,
            "tried": len(tried),
            "struck": len(struck),
            "found": found(struck, within, any_rule),
            "diagnosis after 100 steps": dict(sorted(counts.items(), key=lambda item: -item[1])),
        }
    return out


def measure(sweep: Sequence[tuple[SweepRun, Heard]], processes: int = 2) -> dict[str, Any]:
    """Everything of the faults; runs of the sweep that are well are negatives too."""
    faults = load_faults()
    heard = listen_all([run.recording for run in faults], processes)
    every = list(zip(faults, heard, strict=True))
    fine = [(run, h) for run, h in sweep if run.label == "ok"]
    masks = [(disguised(run.recording, way), run.held_out, way) for run, _ in fine[::3] for way in DISGUISES]
    masked = listen_all([m[0] for m in masks], processes)
    out: dict[str, Any] = {}
    for half in ("tuning", "held out"):
        held = half == "held out"
        plain = [Healthy(run.recording.name, h, run.recording, held) for run, h in fine if run.half == half]
        pairs = [p for p in every if p[0].half == half]
        # A twin runs at half of the best learning rate and a planned schedule is no fault.
        twins = [Healthy(run.recording.name, h, run.recording, held) for run, h in pairs if not run.fault]
        planned = [Healthy(run.fault, h, run.recording, held) for run, h in pairs if run.fault.startswith("plan:")]
        worn = [Healthy(way, h, r, held) for (r, h_out, way), h in zip(masks, masked, strict=True) if h_out == held]
        hard = {}
        for name in dict.fromkeys(run.name for run in [*planned, *worn]):
            some = [run for run in [*planned, *worn] if run.name == name]
            hard[name] = share(some, lambda run: any(f.severity != "info" and f.step >= QUIET for f in run.heard.fired))
            rules: dict[str, int] = {}
            for run in some:
                for rule in {f.rule for f in run.heard.fired if f.severity != "info" and f.step >= QUIET}:
                    rules[rule] = rules.get(rule, 0) + 1
            hard[name]["rules"] = dict(sorted(rules.items()))
        out[half] = {
            "table": _spike_table(pairs, [*plain, *twins]),
            "by fault": _by_fault(pairs),
            "hard": hard,
            "loud on healthy": share([*plain, *twins], lambda run: any(f.severity != "info" for f in run.heard.fired)),
        }
    everything = [Healthy(run.recording.name, h, run.recording, run.held_out) for run, h in fine] + [
        Healthy(run.fault, h, run.recording, run.held_out) for run, h in every if _kind(run) == "plan"
    ]
    bare = [Healthy(way, h, r, held) for (r, held, way), h in zip(masks, masked, strict=True) if way == BARE]
    out["healthy_rates"] = healthy_rates(everything, bare)
    return out
