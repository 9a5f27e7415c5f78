"""Learning rates too low and too high, plateaus, recommendations and confidence, on the sweep."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from benchmarks.diagnosis.listen import Heard, Said, listen_all
from benchmarks.diagnosis.peers.detectors import FLAT, Detector
from benchmarks.diagnosis.peers.view import view
from benchmarks.diagnosis.share import share
from benchmarks.diagnosis.sweep import SweepRun, load_sweep

Pair = tuple[SweepRun, Heard]
HALVES = ("tuning", "held out")
CHANGES_LR = {"lr_too_low", "lr_too_high"}


def _cluster(pair: Pair) -> tuple[str, str]:
    return pair[0].task, pair[0].optimizer


def said_by(heard: Heard, verdict: str, step: int) -> bool:
    """Whether the diagnosis named that verdict at any look up to a step."""
    return any(s.verdict == verdict and s.step < step for s in heard.said)


def fired_by(heard: Heard, verdict: str, step: int) -> bool:
    """Whether a rule for that verdict, warning or louder, fired up to a step."""
    return any(f.verdict == verdict and f.severity != "info" and f.step < step for f in heard.fired)


def _said(verdict: str, step: int, pair: Pair) -> bool:
    return said_by(pair[1], verdict, step)


def _fired(verdict: str, step: int, pair: Pair) -> bool:
    return fired_by(pair[1], verdict, step)


def _broken(step: int, pair: Pair) -> bool:
    return any(said_by(pair[1], verdict, step) for verdict in ("lr_too_high", "diverged", "nonfinite"))


def truths(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """The runs by what they are."""
    return {
        "low": [p for p in pairs if p[0].label == "too_low"],
        "high": [p for p in pairs if p[0].label == "too_high"],
        "ok": [p for p in pairs if p[0].label == "ok"],
        # At twice the best some jobs break: that such a rate is called too high is no false alarm.
        "near": [p for p in pairs if abs(math.log2(p[0].lr / p[0].best_lr)) <= 1.01 and p[0].label != "too_high"],
    }


def directions(pairs: Sequence[Pair], quarter: int) -> dict[str, Any]:
    """Too low and too high by a quarter of the run, by the diagnosis and by rules."""
    of = truths(pairs)
    rows = {"lr_too_low": ("low", "ok", "high"), "lr_too_high": ("high", "near", "low", "ok")}
    out: dict[str, Any] = {}
    for verdict, classes in rows.items():
        out[verdict] = {
            "diagnosis": {c: share(of[c], partial(_said, verdict, quarter), _cluster) for c in classes},
            "rules": {c: share(of[c], partial(_fired, verdict, quarter), _cluster) for c in classes},
            "by the end": share(of[classes[0]], partial(_said, verdict, 10**9)),
            # A job that broke has a learning rate that is too high whatever else it is called.
            "or broken": share(of["high"], partial(_broken, quarter)) if verdict == "lr_too_high" else None,
            "by task": _by_task(of[classes[0]], verdict, quarter),
        }
    return out


def _by_task(pairs: Sequence[Pair], verdict: str, quarter: int) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for run, heard in pairs:
        for name in (run.task, run.optimizer):
            k, n = found.get(name, (0, 0))
            found[name] = (k + said_by(heard, verdict, quarter), n + 1)
    return found


def by_octave(pairs: Sequence[Pair], quarter: int) -> list[dict[str, Any]]:
    """What is said by a quarter of the run, over the distance from the best learning rate."""
    rows = []
    for octave in range(-9, 8):
        some = [p for p in pairs if round(math.log2(p[0].lr / p[0].best_lr)) == octave]
        if len(some) < 10:
            continue
        row: dict[str, Any] = {"octave": octave, "n": len(some)}
        for verdict in ("lr_too_low", "lr_too_high"):
            row[verdict] = sum(said_by(p[1], verdict, quarter) for p in some) / len(some)
        row["regret"] = float(np.median([min(p[0].regret, 5.0) for p in some]))
        rows.append(row)
    return rows


def recommendations(pairs: Sequence[Pair], quarter: int) -> dict[str, Any]:
    """The learning rate recommended by a quarter of the run where the run's own is wrong, against the sweep's best.

    The last recommendation up to there counts; a run without one abstains. It is made for the rate in force, and what
    the schedule makes of the base rate it makes of the best one, too.
    """
    wrong = [p for p in pairs if p[0].label in ("too_low", "too_high")]

    def last(pair: Pair) -> Said | None:
        return next((s for s in reversed(pair[1].said) if s.value is not None and s.step < quarter), None)

    def base(pair: Pair, step: int) -> float:
        return pair[0].lr / float(pair[0].recording.samples.columns["lr/0"].values[step])

    def value(pair: Pair) -> float | None:
        said = last(pair)
        return None if said is None or said.value is None else said.value * base(pair, said.step)

    made = [(p, v) for p in wrong if (v := value(p)) is not None]
    within = share(made, lambda m: abs(math.log2(m[1] / m[0][0].best_lr)) <= 2.0, lambda m: _cluster(m[0]))
    sides = {}
    for label in ("too_low", "too_high"):
        some = [m for m in made if m[0][0].label == label]
        sides[label] = share(some, lambda m: abs(math.log2(m[1] / m[0][0].best_lr)) <= 2.0)
    covered = [(p, s, base(p, s.step)) for p in wrong if (s := last(p)) is not None]
    return {
        "within x4": within,
        "by side": sides,
        "abstains": share(wrong, lambda p: value(p) is None),
        "interval holds the best": share(
            covered, lambda m: (m[1].low or 0.0) * m[2] <= m[0][0].best_lr <= (m[1].high or math.inf) * m[2]
        ),
        "nearer than the run's own": share(
            made,
            lambda m: abs(math.log(m[1] / m[0][0].best_lr)) < abs(math.log(m[0][0].lr / m[0][0].best_lr)),
        ),
        "off by octaves": sorted(round(math.log2(v / p[0].best_lr), 2) for p, v in made),
    }


def calibration(pairs: Sequence[Pair], quarter: int) -> list[dict[str, Any]]:
    """How often a verdict on the learning rate is right, by the confidence stated, at a quarter of the run.

    "Too low" is right where the run ends more than 0.05 nats above the best at a learning rate below it.
    """
    found: dict[float, list[bool]] = {}
    for run, heard in pairs:
        said = heard.at(quarter - 1)
        if said.verdict == "healthy":
            right = run.label in ("ok", "grey")
        elif said.verdict in CHANGES_LR:
            right = run.regret > 0.05 and said.verdict == f"lr_too_{run.side}"
        else:
            continue
        found.setdefault(min(math.floor(said.confidence * 10.0) / 10.0, 0.9), []).append(right)
    return [{"from": low, **share(rights, bool)} for low, rights in sorted(found.items())]


def plateaus(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Whether a run that still improves is called flat, and one that is flat is found, before its decay begins.

    Improving: the mean log-loss fell by more than 0.05 from the third to the fourth fifth of the run; flat: it moved by
    less than 0.01. A run in which the loss is not finite is neither.
    """

    def third(pair: Pair) -> float:
        loss = pair[0].recording.samples.columns["loss"].values
        n = len(loss)
        if not np.isfinite(loss).all():
            return math.nan
        level = np.log(np.maximum(loss, 0.01 * np.median(loss[:20])))
        return float(level[n * 26 // 100 : n * 52 // 100].mean() - level[n * 52 // 100 : n * 78 // 100].mean())

    gains = [(p, third(p)) for p in pairs]
    improving = [p for p, g in gains if g > 0.05]
    flat = [p for p, g in gains if abs(g) < 0.01]
    stop = len(pairs[0][0].recording.samples) * 78 // 100 if pairs else 0

    def ours(pair: Pair) -> bool:
        return any(f.verdict == "plateau" and f.step < stop for f in pair[1].fired)

    def named(pair: Pair) -> bool:
        return said_by(pair[1], "plateau", stop)

    def loose(pair: Pair) -> bool:
        return ours(pair) or any(
            said_by(pair[1], v, stop) for v in ("lr_too_high", "lr_too_low", "diverged", "nonfinite")
        )

    out: dict[str, Any] = {
        "Steersman, a plateau rule": {
            "improving": share(improving, ours, _cluster),
            "flat": share(flat, ours, _cluster),
        },
        "Steersman, the diagnosis": {"improving": share(improving, named), "flat": share(flat, named)},
        "Steersman, a plateau rule or another cause named": {"improving": None, "flat": share(flat, loose)},
    }
    for name, detector in FLAT.items():
        out[name] = {
            "improving": share(improving, partial(_alarms, detector, stop)),
            "flat": share(flat, partial(_alarms, detector, stop)),
        }
    return out


def _alarms(detector: Detector, stop: int, pair: Pair) -> bool:
    return any(step < stop for step in detector(view(pair[0].recording.samples.rows(0, stop))))


def verdicts(pairs: Sequence[Pair], quarter: int) -> dict[str, dict[str, int]]:
    """The diagnosis at a quarter of the run by what the run is."""
    found: dict[str, Counter[str]] = {}
    for run, heard in pairs:
        found.setdefault(run.label, Counter())[heard.at(quarter - 1).verdict] += 1
    return {label: dict(counts.most_common()) for label, counts in sorted(found.items())}


def measure(processes: int = 2, runs: Sequence[SweepRun] | None = None) -> dict[str, Any]:
    """Everything of the sweep, for each half."""
    runs = load_sweep() if runs is None else runs
    heard = listen_all([run.recording for run in runs], processes)
    return report(list(zip(runs, heard, strict=True)))


def report(every: Sequence[Pair]) -> dict[str, Any]:
    """The figures of runs that have been listened to."""
    out: dict[str, Any] = {}
    for half in HALVES:
        pairs = [p for p in every if p[0].half == half]
        if not pairs:
            continue
        quarter = pairs[0][0].T // 4
        out[half] = {
            "runs": {label: sum(p[0].label == label for p in pairs) for label in ("ok", "grey", "too_low", "too_high")},
            "directions": directions(pairs, quarter),
            "by octave": by_octave(pairs, quarter),
            "recommended": recommendations(pairs, quarter),
            "calibration": calibration(pairs, quarter),
            "plateau": plateaus(pairs),
            "verdicts": verdicts(pairs, quarter),
        }
    return out
