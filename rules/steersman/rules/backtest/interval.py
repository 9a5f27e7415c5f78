"""Shares and rates with exact confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with the Clopper-Pearson interval of 95 %.

    Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the binomial".

    >>> share = Share(0, 38)
    >>> share.value, f"{share.low:.3f}", f"{share.high:.3f}"
    (0.0, '0.000', '0.093')
    """

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.count / self.total if self.total else None

    @property
    def low(self) -> float:
        """Lower bound."""
        return self._bounds()[0]

    @property
    def high(self) -> float:
        """Upper bound."""
        return self._bounds()[1]

    def _bounds(self) -> tuple[float, float]:
        if not self.total:
            return 0.0, 1.0
        found = stats.binomtest(self.count, self.total).proportion_ci(LEVEL, method="exact")
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class PerThousand:
    """`count` events in `exposure` steps, per 1,000, with Garwood's exact Poisson interval of 95 %.

    Garwood (1936), "Fiducial limits for the Poisson distribution".

    >>> rate = PerThousand(2, 10_000)
    >>> rate.value, f"{rate.low:.3f}", f"{rate.high:.3f}"
    (0.2, '0.024', '0.722')
    """

    count: int
    exposure: int

    @property
    def value(self) -> float | None:
        """Events per 1,000 steps; None of no steps."""
        return 1000.0 * self.count / self.exposure if self.exposure else None

    @property
    def low(self) -> float:
        """Lower bound."""
        if not self.count or not self.exposure:
            return 0.0
        return 1000.0 * float(stats.chi2.ppf((1 - LEVEL) / 2, 2 * self.count)) / 2 / self.exposure

    @property
    def high(self) -> float:
        """Upper bound."""
        if not self.exposure:
            return float("inf")
        return 1000.0 * float(stats.chi2.ppf((1 + LEVEL) / 2, 2 * self.count + 2)) / 2 / self.exposure


def percent(share: float) -> str:
    """A share with as many digits as tell it from none and from all.

    >>> percent(0.0), percent(0.000963), percent(0.00326), percent(0.034), percent(0.345), percent(0.9974)
    ('0 %', '0.1 %', '0.3 %', '3.4 %', '34 %', '99.7 %')
    """
    value = 100.0 * share
    apart = min(value, 100.0 - value)
    if apart >= 10.0 or apart <= 0.0:
        return f"{value:.0f} %"
    digits = max(1, math.ceil(-math.log10(apart)))
    return f"{round(value, digits):g} %"


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided p of McNemar's test, from the pairs in which only one of the two was right.

    >>> mcnemar(0, 6)
    0.03125
    >>> mcnemar(0, 0)
    1.0
    """
    both = first_only + second_only
    return float(stats.binomtest(first_only, both, 0.5).pvalue) if both else 1.0
