"""Whether the loss still falls, with bounds."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np

from steersman.rules.features.saved import Saved

SLOTS = 64
BINS = 16
PAIRWISE = 32
"""Blocks from which on a trend is read at every second: that halves what it costs, and delays it by three points in
a hundred."""
_PAIRS = {n: np.triu_indices(n, 1) for n in range(BINS, SLOTS // 2 + 1)}
# S of n values has the variance n (n - 1) (2 n + 5) / 18; brought to that of 16, so that one threshold serves all.
_SCALE = {n: math.sqrt(16 * 15 * 37 / (n * (n - 1) * (2 * n + 5))) for n in _PAIRS}


class Trend(NamedTuple):
    """A line through the last half of a regime.

    Attributes:
        slope: change of the loss on its scale per e-fold of steps (or of the sum of LRs): Sen's median of slopes.
        error: its standard error, from the residuals, widened where these are correlated.
        x: centre of the abscissa.
        y: the line at that centre.
        noise: sd of the residuals of one block.
        mann_kendall: S, as of 16 blocks; -38 or less is falling, 38 or more rising, at 5 %.
        span: e-folds that it covers.
    """

    slope: float
    error: float
    x: float
    y: float
    noise: float
    mann_kendall: float
    span: float


class BlockRing(Saved):
    """Block means over the whole of a regime in 64 slots: when they are full, neighbours merge and blocks double.

    Trends are read from the last half, 16 to 32 blocks: means of batches are nearly independent, which single losses
    are not (the device of SASA: Lang, Xiao, Zhang 2019, 1909.09785). The slope is Sen's (1968), its test that of Mann
    and Kendall.

    >>> ring = BlockRing()
    >>> for step in range(1, 400):
    ...     _ = ring.add(math.log(step), math.log(step), 3.0 - 0.2 * math.log(step))
    >>> round(ring.trend(by_lr=False).slope, 3)
    -0.2
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("size", "xs", "ss", "ys", "held", "x", "s", "y", "points")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """A new regime."""
        self.size = 1
        self.xs: list[float] = []
        self.ss: list[float] = []
        self.ys: list[float] = []
        self.held = 0
        self.x = self.s = self.y = 0.0
        self.points = 0

    def add(self, ln_step: float, ln_lr_sum: float, level: float) -> bool:
        """Take a point; returns whether that may change the trend."""
        self.points += 1
        self.held += 1
        self.x += ln_step
        self.s += ln_lr_sum
        self.y += level
        if self.held < self.size:
            return False
        n = self.held
        self.xs.append(self.x / n)
        self.ss.append(self.s / n)
        self.ys.append(self.y / n)
        self.held = 0
        self.x = self.s = self.y = 0.0
        if len(self.ys) == SLOTS:
            for column in (self.xs, self.ss, self.ys):
                column[:] = [(a + b) / 2.0 for a, b in zip(column[::2], column[1::2], strict=True)]
            self.size *= 2
        n = len(self.ys)
        return n <= PAIRWISE or n % 2 == 0

    def trend(self, by_lr: bool) -> Trend | None:
        """The line through the last half; None before 20 points or where the abscissa does not move.

        Args:
            by_lr: take the logarithm of the sum of LRs for the abscissa, as a decaying schedule asks for.
        """
        n = len(self.ys)
        if n < BINS or self.points < 20:
            return None
        if n > PAIRWISE:
            n -= n % 2
        take = max(n - n // 2, BINS)
        xs, ys = (self.ss if by_lr else self.xs)[n - take : n], self.ys[n - take : n]
        x, y = np.array(xs), np.array(ys)
        first, second = _PAIRS[take]
        dx = x.take(second)
        dx -= x.take(first)
        # The functions themselves: of arrays this small numpy's wrappers cost more than the work.
        if np.minimum.reduce(dx) <= 0.0:
            return None
        dy = y.take(second)
        dy -= y.take(first)
        rising = float(np.add.reduce(np.sign(dy)))
        dy /= dx
        dy.partition(dx.size // 2)
        slope = float(dy[dx.size // 2])
        xm, ym = float(np.add.reduce(x)) / take, float(np.add.reduce(y)) / take
        x -= xm
        sxx = float(x @ x)
        ols = float(x @ y) / sxx
        y -= ym
        x *= ols
        y -= x
        rest, rss = y, float(y @ y)
        error = math.sqrt(rss / (take - 2) / sxx)
        lag = float(rest[1:] @ rest[:-1]) / rss if rss > 0.0 else 0.0
        if lag > 0.1:
            error *= math.sqrt((1.0 + lag) / (1.0 - min(lag, 0.9)))
        return Trend(
            slope,
            error,
            xm,
            ym,
            math.sqrt(rss / (take - 2)),
            rising * _SCALE[take],
            xs[-1] - xs[0],
        )
