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
_FAR = 0.1
"""Share of the whole height by which a value has to stand out of its cell at least to be shown."""


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
    """Values as blocks between the least and the greatest.

    A cell shows the middle of its values, or the one farthest from it where that stands out, so that no spike is lost;
    × stands for what is not finite.

    >>> sparkline([1.0, 2.0, None, float("nan"), 3.0], 5)
    '▁▅ ×█'
    >>> sparkline([1.0] * 9 + [2.0] + [1.0] * 10, 4)
    '▁█▁▁'
    """
    known = [v for v in values if v is not None and math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    # A loss falls by decades: on a straight scale most of it would lie on the floor.
    logarithmic = low > 0.0 and high > 8.0 * low
    if logarithmic:
        low, high = math.log(low), math.log(high)
    cells = min(width, len(values))
    heights: list[list[float] | None] = []
    for k in range(cells):
        here = [v for v in values[k * len(values) // cells : (k + 1) * len(values) // cells] if v is not None]
        finite = [v for v in here if math.isfinite(v)]
        levels = sorted(
            ((math.log(v) if logarithmic else v) - low) / (high - low) if high > low else 0.0 for v in finite
        )
        heights.append(levels if len(finite) == len(here) else None)
    spreads = sorted(levels[-1] - levels[0] for levels in heights if levels)
    far = max(_FAR, 2.0 * spreads[len(spreads) // 2]) if spreads else _FAR
    return "".join(_NONFINITE if levels is None else _cell(levels, far) for levels in heights)


def _cell(levels: Sequence[float], far: float) -> str:
    if not levels:
        return " "
    middle = levels[len(levels) // 2]
    most = max(levels[0], levels[-1], key=lambda level: abs(level - middle))
    shown = most if abs(most - middle) > far else middle
    return _BLOCKS[min(int(shown * 8 + 1e-6), 7)]
