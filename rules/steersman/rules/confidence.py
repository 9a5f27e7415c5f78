"""How sure a diagnosis is."""

from __future__ import annotations

from collections.abc import Sequence

from steersman.rules.verdict import Verdict

MEASURED = {Verdict.LR_TOO_LOW: 0.95, Verdict.LR_TOO_HIGH: 0.87}
"""How often these are right at a quarter of the run, on the tuning half of the sweep (docs/diagnosis.md)."""

HEALTHY = 0.66
"""The same of *healthy* where the direction of steps is known: a rate somewhat too low shows little."""

HEALTHY_BLIND = 0.55
"""Where it is not: a judgement, as is all that follows."""

_PRIOR = {"critical": 0.85, "warning": 0.7, "info": 0.4}


def stated(verdict: Verdict, severities: Sequence[str], more: int, against: int) -> float:
    """Confidence in a verdict: how often it was right where that was measured, otherwise that of its loudest rule.

    Args:
        verdict: the cause named.
        severities: how loud each of its rules is.
        more: how many further numbers speak for it.
        against: how many against it.

    >>> stated(Verdict.LR_TOO_LOW, ["warning"], more=0, against=0)
    0.95
    >>> round(stated(Verdict.PLATEAU, ["warning"], more=1, against=1), 2)
    0.68
    """
    base = MEASURED.get(verdict) or max((_PRIOR[s] for s in severities), default=_PRIOR["info"])
    return min(max(base + 0.04 * more - 0.06 * against, 0.05), 0.97)
