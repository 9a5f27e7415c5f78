"""Intervals for what was counted, and for what was averaged over jobs that resemble each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
from scipy.stats import beta, chi2

T = TypeVar("T")


def exact(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval for a share.

    >>> [round(x, 3) for x in exact(0, 300)]
    [0.0, 0.012]
    """
    if n == 0:
        return 0.0, 1.0
    tail = (1.0 - level) / 2.0
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1.0 - tail, k + 1, n - k))
    return low, high


def rate(k: int, exposure: float, level: float = 0.95) -> tuple[float, float]:
    """The exact interval for a Poisson rate: events per unit of exposure."""
    if exposure <= 0.0:
        return 0.0, float("inf")
    tail = (1.0 - level) / 2.0
    low = 0.0 if k == 0 else float(chi2.ppf(tail, 2 * k)) / 2.0
    return low / exposure, float(chi2.ppf(1.0 - tail, 2 * k + 2)) / 2.0 / exposure


def bootstrap(
    items: Sequence[T],
    cluster: Callable[[T], Hashable],
    parts: Callable[[T], tuple[float, float]],
    rounds: int = 2000,
) -> tuple[float, float]:
    """A 95 % interval for a ratio of sums, drawing whole clusters: runs of one task and optimizer are not independent.

    Args:
        items: what is counted or averaged.
        cluster: what an item belongs to.
        parts: what it adds to the numerator and to the denominator.
        rounds: drawings.
    """
    sums: dict[Hashable, list[float]] = {}
    for item in items:
        above, below = parts(item)
        total = sums.setdefault(cluster(item), [0.0, 0.0])
        total[0] += above
        total[1] += below
    if not sums:
        return float("nan"), float("nan")
    table = np.array(list(sums.values()))
    drawn = table[np.random.default_rng(7).integers(0, len(table), size=(rounds, len(table)))].sum(axis=1)
    drawn = drawn[drawn[:, 1] != 0.0]
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return float(low), float(high)
