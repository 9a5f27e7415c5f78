"""Whether a learning rate is too low or too high, and by how much, from all that steps tell: a learned combination."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Value = float | bool | None

MODEL = Path(__file__).parent / "judgement.json"

INPUTS = (
    "c", "t_c", "ln_R", "ln_R_top", "ln_travel", "rho", "i", "i_lo", "i_up", "above_start", "fell", "up", "overshoot",
    "noise", "gnorm_change", "mk",
)  # fmt: skip
"""What the combination sees, all of it relative to the job itself; see `inputs`."""

MIN_SAMPLES = 10
"""Samples of the direction below which nothing is judged."""


@dataclass(frozen=True)
class Judgement:
    """What is thought of the learning rate in force.

    Attributes:
        low: probability that a much higher one would end better (by more than 0.2 nats).
        high: probability that a much lower one would.
        octaves: log2 of the rate in force over the best one.
    """

    low: float
    high: float
    octaves: float


class Forests:
    """Several sums of small regression trees (gradient boosting: Friedman 2001), walked level by level all at once.

    Args:
        saved: of each sum its base value and its trees, each a list of nodes [input, threshold, whether unknown goes
            left, left, right, value]; a leaf has the input -1.
    """

    def __init__(self, saved: Sequence[Mapping[str, Any]]) -> None:
        nodes: list[tuple[int, float, bool, int, int, float]] = []
        roots: list[int] = []
        self.bases = [float(one["base"]) for one in saved]
        self.depth = max(int(one["depth"]) for one in saved)
        self.ends = np.cumsum([len(one["trees"]) for one in saved])[:-1]
        for tree in (t for one in saved for t in one["trees"]):
            first = len(nodes)
            roots.append(first)
            for place, (feature, threshold, unknown_left, left, right, value) in enumerate(tree, first):
                if feature < 0:
                    nodes.append((0, math.inf, True, place, place, value))
                else:
                    nodes.append((feature, threshold, bool(unknown_left), first + left, first + right, value))
        feature, threshold, unknown_left, left, right, value = zip(*nodes, strict=True)
        self._roots = np.array(roots)
        self._feature, self._threshold = np.array(feature), np.array(threshold)
        self._unknown_left = np.array(unknown_left)
        # What is not to the left is to the right: one table, looked up with the truth of the comparison.
        self._next = np.stack([np.array(right), np.array(left)], axis=1).ravel()
        self._value = np.array(value)

    def sums(self, x: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
        """The sums for one row of inputs; NaN is unknown."""
        at = self._roots
        unknown = np.isnan(x)
        some = bool(unknown.any())
        for _ in range(self.depth):
            feature = self._feature[at]
            left = x[feature] <= self._threshold[at]
            if some:
                left = np.where(unknown[feature], self._unknown_left[at], left)
            at = self._next[2 * at + left]
        parts = np.split(self._value[at], self.ends)
        return [base + float(part.sum()) for base, part in zip(self.bases, parts, strict=True)]


def inputs(values: Mapping[str, Value]) -> list[float]:
    """The inputs in their order; NaN where one is unknown."""
    horizon = values.get("horizon")
    half = 0.5 * math.log(float(horizon)) if horizon else 0.5 * math.log(1000.0)
    derived = {
        "ln_R": _ln(values.get("r")) + half,
        "ln_R_top": _ln(values.get("r_top")) + half,
        "ln_travel": _ln(values.get("travel")),
    }
    out = []
    for name in INPUTS:
        if name in derived:
            out.append(derived[name])
        else:
            value = values.get(name)
            out.append(float(value) if value is not None else math.nan)
    return out


def judge(values: Mapping[str, Value]) -> Judgement | None:
    """Judge the rate in force; None where its steps are hardly known, or unlike all that was learned from."""
    if (values.get("n_c") or 0.0) < MIN_SAMPLES or values.get("r") is None or values.get("i") is None:
        return None
    forests, bounds = _model()
    x = np.array(inputs(values))
    for name in ("ln_R", "ln_R_top"):
        place = INPUTS.index(name)
        least, most = bounds[name]
        if not least <= x[place] <= most:
            return None
    low, high, octaves = forests.sums(x)
    return Judgement(_logistic(low), _logistic(high), octaves)


@cache
def _model() -> tuple[Forests, dict[str, tuple[float, float]]]:
    saved = json.loads(MODEL.read_text())
    if tuple(saved["inputs"]) != INPUTS:
        raise ValueError(f"{MODEL} was learned for other inputs: learn it again")
    bounds = {name: (float(least), float(most)) for name, (least, most) in saved["bounds"].items()}
    return Forests([saved["low"], saved["high"], saved["octaves"]]), bounds


def _ln(value: Value) -> float:
    return math.log(value) if value is not None and value > 0.0 else math.nan


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(x, -30.0), 30.0)))
