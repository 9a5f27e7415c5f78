"""Whether a learning rate is too low or too high, and by how much, from all that steps tell: a learned combination."""

from __future__ import annotations

import itertools
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
    "noise", "gnorm_change", "mk", "c_own", "gnorm_noise", "ln_promise", "lr_share",
)  # fmt: skip
"""What the combination sees, all of it relative to the job itself; see `inputs`."""

LEAVES = 16
"""Leaves of a tree at most: a bit each."""

MIN_SAMPLES = 5
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
    """Several sums of small regression trees (gradient boosting: Friedman 2001), all of their nodes looked at at once.

    A node whose question is answered "no" rules out the leaves on its left; of those that no node has ruled out the
    leftmost is where a walk down the tree would end (QuickScorer: Lucchese et al., SIGIR 2015).

    Args:
        saved: of each sum its base value and its trees, each a list of nodes [input, threshold, whether unknown goes
            left, left, right, value]; a leaf has the input -1.

    Raises:
        ValueError: a tree has more than 16 leaves.

    >>> stump = [[0, 0.5, 1, 1, 2, 0.0], [-1, 0.0, 1, 0, 0, -1.0], [-1, 0.0, 1, 0, 0, 1.0]]
    >>> forests = Forests([{"base": 10.0, "trees": [stump, stump]}])
    >>> forests.sums(np.array([0.4])), forests.sums(np.array([0.6])), forests.sums(np.array([math.nan]))
    ([8.0], [12.0], [8.0])
    """

    def __init__(self, saved: Sequence[Mapping[str, Any]]) -> None:
        self.bases = [float(one["base"]) for one in saved]
        ends = [0, *np.cumsum([len(one["trees"]) for one in saved]).tolist()]
        self._own = [slice(a, b) for a, b in itertools.pairwise(ends)]
        questions: list[tuple[int, float, bool, int]] = []
        firsts: list[int] = []
        values: list[list[float]] = []
        for tree in (t for one in saved for t in one["trees"]):
            firsts.append(len(questions))
            leaves: list[float] = []
            _lay_out(tree, 0, questions, leaves)
            if len(leaves) > LEAVES:
                raise ValueError(f"a tree has {len(leaves)} leaves, more than {LEAVES}")
            if len(questions) == firsts[-1]:
                questions.append((0, math.inf, True, 0))  # a tree that is one leaf
            values.append(leaves + [0.0] * (LEAVES - len(leaves)))
        feature, threshold, unknown_left, out = zip(*questions, strict=True)
        self._firsts = np.array(firsts)
        self._feature, self._threshold = np.array(feature), np.array(threshold)
        self._unknown_right = ~np.array(unknown_left)
        self._out = np.array(out, dtype=np.uint16)
        self._values = np.array(values).ravel()
        self._places = LEAVES * np.arange(len(firsts)) - 1  # frexp counts bits from one

    def sums(self, x: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
        """The sums for one row of inputs; NaN is unknown."""
        unknown = np.isnan(x)
        right = x.take(self._feature) > self._threshold
        if unknown.any():
            right |= unknown.take(self._feature) & self._unknown_right
        out = np.bitwise_or.reduceat(self._out * right, self._firsts)
        left = (~out).astype(np.int32)
        leaf = np.frexp((left & -left).astype(np.float32))[1]
        values = self._values.take(self._places + leaf)
        return [base + float(np.add.reduce(values[own])) for base, own in zip(self.bases, self._own, strict=True)]


def _lay_out(
    tree: Sequence[Sequence[Any]], place: int, questions: list[tuple[int, float, bool, int]], leaves: list[float]
) -> None:
    """Number the leaves below a node from left to right, and note which of them each question rules out."""
    feature, threshold, unknown_left, left, right, value = tree[place]
    if feature < 0:
        leaves.append(value)
        return
    mine, first = len(questions), len(leaves)
    questions.append((feature, threshold, bool(unknown_left), 0))
    _lay_out(tree, left, questions, leaves)
    ruled_out = (1 << min(len(leaves), LEAVES)) - (1 << min(first, LEAVES))
    questions[mine] = (feature, threshold, bool(unknown_left), ruled_out)
    _lay_out(tree, right, questions, leaves)


def inputs(values: Mapping[str, Value]) -> list[float]:
    """The inputs in their order; NaN where one is unknown."""
    horizon = values.get("horizon")
    half = 0.5 * math.log(float(horizon)) if horizon else 0.5 * math.log(1000.0)
    derived = {
        "ln_R": _ln(values.get("r")) + half,
        "ln_R_top": _ln(values.get("r_top")) + half,
        "ln_travel": _ln(values.get("travel")),
        "ln_promise": _ln(values.get("promise")),
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
