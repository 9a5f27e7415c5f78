"""A share with its exact interval, as results.json has it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from benchmarks.diagnosis.statistics import bootstrap, exact, rate

T = TypeVar("T")


def share(
    items: Sequence[T], holds: Callable[[T], bool], cluster: Callable[[T], Hashable] | None = None
) -> dict[str, Any]:
    """How many of the items it holds for, with the exact interval and that of clusters drawn anew."""
    k, n = sum(holds(item) for item in items), len(items)
    out: dict[str, Any] = {"k": k, "n": n, "share": k / n if n else None, "exact": exact(k, n)}
    if cluster is not None and n:
        out["clusters"] = bootstrap(items, cluster, lambda item: (float(holds(item)), 1.0))
    return out


def per_thousand(k: int, steps: int) -> dict[str, Any]:
    """Events per 1,000 steps with the exact interval of a Poisson rate."""
    low, high = rate(k, steps / 1000.0)
    return {"k": k, "steps": steps, "rate": 1000.0 * k / steps if steps else None, "exact": (low, high)}
