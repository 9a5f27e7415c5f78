"""Intervals for what was averaged over jobs that resemble each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


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
