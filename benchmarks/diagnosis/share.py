"""A share with its exact interval, as results.json has it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from benchmarks.diagnosis.bootstrap import bootstrap

from steersman.rules.backtest.interval import PerThousand, Share

T = TypeVar("T")


def share(
    items: Sequence[T], holds: Callable[[T], bool], cluster: Callable[[T], Hashable] | None = None
) -> dict[str, Any]:
    """How many of the items it holds for, with the exact interval and that of clusters drawn anew."""
    found = Share(sum(holds(item) for item in items), len(items))
    out: dict[str, Any] = {"k": found.count, "n": found.total, "share": found.value, "exact": (found.low, found.high)}
    if cluster is not None and items:
        out["clusters"] = bootstrap(items, cluster, lambda item: (float(holds(item)), 1.0))
    return out


def per_thousand(k: int, steps: int) -> dict[str, Any]:
    """Events per 1,000 steps with the exact interval of a Poisson rate."""
    found = PerThousand(k, steps)
    return {"k": k, "steps": steps, "rate": found.value, "exact": (found.low, found.high)}
