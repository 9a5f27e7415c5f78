"""A written job as lines of blocks, for terminals and for pages of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steersman.rules.cases.trial import Tried

WIDTH = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
_NONFINITE = "×"


def lines(tried: Tried, rules: Sequence[str] = (), width: int = WIDTH) -> list[str]:
    """Each series of a case, least to greatest, and below them the steps at which rules fired.

    Args:
        tried: the case and what came of it.
        rules: whose firing is shown; without them every rule that fired.
        width: of the curve, in characters.
    """
    samples = tried.case.samples()
    out = []
    names = sorted(samples.columns, key=lambda n: (n != "loss", n))
    fired = {
        rule: steps
        for rule, changes in tried.changes.items()
        if (steps := [c.step for c in changes if c.state.value == "firing"]) and (not rules or rule in rules)
    }
    margin = max(len(name) for name in [*names, *fired])
    for name in names:
        column = samples.columns[name]
        values = [v if p else None for v, p in zip(column.values.tolist(), column.present.tolist(), strict=True)]
        known = [v for v in values if v is not None and math.isfinite(v)]
        if known:
            low, high = min(known), max(known)
            span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            out.append(f"{name:{margin}}  {sparkline(values, width)}  {span}")
    cells = min(width, len(samples))
    for rule, steps in fired.items():
        marks = [" "] * cells
        for step in steps:
            marks[min(step * cells // tried.case.steps, cells - 1)] = "▲"
        shown = ", ".join(map(str, steps[:4])) + (", …" if len(steps) > 4 else "")
        out.append(f"{rule:{margin}}  {''.join(marks)}  fires at step {shown}")
    return [line.rstrip() for line in out]


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Values as blocks between the least and the greatest; a cell shows the middle of its values, × what is not finite.

    >>> sparkline([1.0, 2.0, None, float("nan"), 3.0], 5)
    '▁▄ ×█'
    """
    known = [v for v in values if v is not None and math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    # A loss falls by decades: on a straight scale most of it would lie on the floor.
    logarithmic = low > 0.0 and high > 8.0 * low
    if logarithmic:
        low, high = math.log(low), math.log(high)
    cells = min(width, len(values))
    out = []
    for k in range(cells):
        here = [v for v in values[k * len(values) // cells : (k + 1) * len(values) // cells] if v is not None]
        good = sorted(v for v in here if math.isfinite(v))
        if len(good) < len(here):
            out.append(_NONFINITE)
        elif not good:
            out.append(" ")
        else:
            middle = good[len(good) // 2]
            share = ((math.log(middle) if logarithmic else middle) - low) / (high - low) if high > low else 0.0
            out.append(_BLOCKS[min(int(share * 8 + 1e-6), 7)])
    return "".join(out)
