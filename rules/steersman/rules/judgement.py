"""Whether a learning rate is too low or too high, and by how much, from all that steps tell: a learned combination."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
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


class Forest:
    """A sum of small regression trees (gradient boosting: Friedman 2001), walked level by level for all trees at once.

    Args:
        saved: base value and, for each tree, its nodes as [input, threshold, whether unknown goes left, left, right,
            value]; a leaf has the input -1.
    """

    def __init__(self, saved: Mapping[str, Any]) -> None:
        trees = saved["trees"]
        width = max(len(t) for t in trees)
        shape = (len(trees), width)
        self.base = float(saved["base"])
        self.depth = int(saved["depth"])
        self.feature = np.full(shape, -1, dtype=np.int64)
        self.threshold = np.zeros(shape)
        self.unknown_left = np.zeros(shape, dtype=np.bool_)
        self.left = np.zeros(shape, dtype=np.int64)
        self.right = np.zeros(shape, dtype=np.int64)
        self.value = np.zeros(shape)
        for row, tree in enumerate(trees):
            for place, (feature, threshold, unknown_left, left, right, value) in enumerate(tree):
                leaf = feature < 0
                self.feature[row, place] = max(feature, 0)
                self.threshold[row, place] = math.inf if leaf else threshold
                self.unknown_left[row, place] = leaf or bool(unknown_left)
                self.left[row, place] = place if leaf else left
                self.right[row, place] = place if leaf else right
                self.value[row, place] = value
        self._rows = np.arange(len(trees))

    def sum(self, x: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        """The sum for one row of inputs; NaN is unknown."""
        rows = self._rows
        at = np.zeros(len(rows), dtype=np.int64)
        for _ in range(self.depth):
            seen = x[self.feature[rows, at]]
            go_left = np.where(np.isnan(seen), self.unknown_left[rows, at], seen <= self.threshold[rows, at])
            at = np.where(go_left, self.left[rows, at], self.right[rows, at])
        return self.base + float(self.value[rows, at].sum())


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
    low, high, octaves, bounds = _model()
    x = np.array(inputs(values))
    for name in ("ln_R", "ln_R_top"):
        place = INPUTS.index(name)
        least, most = bounds[name]
        if not least <= x[place] <= most:
            return None
    return Judgement(_logistic(low.sum(x)), _logistic(high.sum(x)), octaves.sum(x))


@cache
def _model() -> tuple[Forest, Forest, Forest, dict[str, tuple[float, float]]]:
    saved = json.loads(MODEL.read_text())
    if tuple(saved["inputs"]) != INPUTS:
        raise ValueError(f"{MODEL} was learned for other inputs: learn it again")
    bounds = {name: (float(least), float(most)) for name, (least, most) in saved["bounds"].items()}
    return Forest(saved["low"]), Forest(saved["high"]), Forest(saved["octaves"]), bounds


def _ln(value: Value) -> float:
    return math.log(value) if value is not None and value > 0.0 else math.nan


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(x, -30.0), 30.0)))
