"""How sure a diagnosis is."""

from __future__ import annotations

from collections.abc import Sequence

_PRIOR = {"critical": 0.85, "warning": 0.7, "info": 0.4}


def calibrated(rules: Sequence[str], severities: Sequence[str], more: int, against: int) -> float:
    """Confidence from the rules behind a verdict, and how much else speaks for and against it.

    Args:
        rules: names of the firing rules.
        severities: how loud each is.
        more: further evidence for.
        against: evidence against.
    """
    del rules
    prior = max((_PRIOR[s] for s in severities), default=0.4)
    return min(max(prior + 0.04 * more - 0.06 * against, 0.05), 0.97)
