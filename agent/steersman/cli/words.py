"""Numbers and names as people read them: short, aligned, and free of terminal control characters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

UNKNOWN = "–"
"""Stands where a number is not known."""

# C0 and C1 controls, DEL, line and paragraph separators, and the marks that turn the direction of text around: a job's
# name or message is somebody else's text, and must neither move the cursor nor disguise itself.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
# whole escape sequences go, so that "\x1b[31m" does not leave "[31m" behind
_ESCAPES = re.compile("(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?")
_SPARKS = "▁▂▃▄▅▆▇█"


def clean(text: str, limit: int = 2000) -> str:
    r"""`text` without terminal escapes and control characters, on one line, at most `limit` characters long.

    Example:
        >>> clean("\x1b[31mred\x1b[0m\nline")
        'red line'
    """
    plain = _ESCAPES.sub("", text)
    plain = _CONTROLS.sub(lambda match: " " if match[0] in "\n\r\t\u2028\u2029" else "", plain)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


_ITEM = re.compile(r"(\d+[.)]|[-*])\s+")
_BLOCK = re.compile(r"\s*(\d+[.)]\s|[-*]\s|[|#>]|$)")
_FENCE = "```"
_WRAPPED = 60
"""A line of as many characters may have been broken to fit a page."""


def unwrapped(text: str) -> str:
    r"""A text whose lines were broken to fit a page, a paragraph or an item of a list in one line each.

    >>> unwrapped("1. Stop.\n2. Go back\n   to a checkpoint.").splitlines()
    ['1. Stop.', '2. Go back to a checkpoint.']
    """
    lines: list[str] = []
    fits = item = fenced = False  # the next line may belong to this one; this is an item; this is as it was written
    for line in text.strip("\n").splitlines():
        fence = line.strip().startswith(_FENCE)
        continues = bool(lines) and not (fenced or fence or _BLOCK.match(line))
        if continues and (fits or (item and line.startswith("  "))):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.rstrip())
            item = _ITEM.match(line.lstrip()) is not None
        fenced ^= fence
        code = fenced or fence or (line.startswith("    ") and not item)
        fits = len(line) >= _WRAPPED and not code and not line.startswith(("|", "#"))
    return "\n".join(lines)


def items(text: str) -> list[tuple[str, str]]:
    r"""The lines of an unwrapped text, each with what numbers it; empty for a line that is no item of a list.

    >>> items("First:\n1. Stop.")
    [('', 'First:'), ('1.', 'Stop.')]
    """
    found = [(line, _ITEM.match(line)) for line in unwrapped(text).splitlines()]
    return [(match[1], line[match.end() :]) if match else ("", line) for line, match in found]


def units(told: Iterable[str]) -> str:
    """What the units are that sentences use; empty where none needs to be explained.

    >>> units(["The loss is at its best."])
    ''
    """
    words = " ".join(told)
    known = {
        "nats": "0.1 nats are 10 % of the loss, 0.7 a factor of two, 2.3 a factor of ten",
        "e-fold": "an e-fold of steps is 2.7 times as many",
    }
    return "; ".join(text for unit, text in known.items() if re.search(rf"\b{unit}\b", words))


def effect(nats: float, low: float, high: float, jobs: int) -> str:
    """What a prescription is expected to bring.

    Example:
        >>> effect(-0.35, -1.46, 0.05, 72)[:102] + "…"
        'the loss ends 0.35 nats lower than if nothing is done (90 %: 1.46 lower to 0.05 higher), as in 72 jobs…'
    """

    def way(value: float, unit: str = "") -> str:
        return f"{abs(value):.2f}{unit} {'lower' if value < 0.0 else 'higher'}"

    between = f"{way(low)} to {way(high)}"
    known = f"{plural(jobs, 'job')} of the benchmark"
    return f"the loss ends {way(nats, ' nats')} than if nothing is done (90 %: {between}), as in {known}"


def number(value: float | None, digits: int = 4) -> str:
    """A number with `digits` significant digits, in scientific notation where plain digits would be long.

    Example:
        >>> number(0.00031), number(2.5), number(12345678.0), number(None)
        ('3.1e-4', '2.5', '1.235e7', '–')
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        text = f"{value:.{digits}g}"
        return f"{value:.0f}" if "e" in text else text
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def factor(value: float | None) -> str:
    """A factor as `×0.5`, or `×1/16` where it is the inverse of a whole number above ten.

    Example:
        >>> factor(0.5), factor(0.0625), factor(None)
        ('×0.5', '×1/16', '–')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if 0 < value < 0.1 and abs(1 / value - round(1 / value)) < 1e-6 / value:
        return f"×1/{round(1 / value)}"
    return f"×{number(value, 3)}"


def count(value: int | None) -> str:
    """A whole number with thin groups of thousands.

    Example:
        >>> count(1234567), count(None)
        ('1,234,567', '–')
    """
    return UNKNOWN if value is None else f"{value:,}"


def percent(value: float) -> str:
    """A share as whole percent.

    Example:
        >>> percent(0.914)
        '91 %'
    """
    return f"{round(100 * value)} %"


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units.

    Example:
        >>> duration(5), duration(75), duration(3700), duration(200000)
        ('5 s', '1 min 15 s', '1 h 1 min', '2 d 7 h')
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def plural(number_of: int, noun: str, many: str = "") -> str:
    """`1 job`, `2 jobs`.

    Example:
        >>> plural(1, "job"), plural(2, "process", "processes")
        ('1 job', '2 processes')
    """
    return f"{number_of:,} {noun if number_of == 1 else many or noun + 's'}"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last `width` buckets of a series as little bars; a value that is no number leaves a `×`.

    Example:
        >>> sparkline([1.0, 2.0, 3.0, None], 4)
        '▁▅█×'
    """
    if width <= 0 or not values:
        return ""
    # each bar shows the last value of its bucket, so that the newest value is always the last bar
    if len(values) > width:
        values = [values[(i + 1) * len(values) // width - 1] for i in range(width)]
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return "×" * len(values)
    low, high = min(finite), max(finite)
    span = high - low
    bars = []
    for value in values:
        if value is None or not math.isfinite(value):
            bars.append("×")
        else:
            # (value - low) alone can overflow where the extremes lie far apart
            place = 0.0 if span == 0 else (value / span - low / span) if math.isfinite(span) else 0.5
            bars.append(_SPARKS[min(7, int(place * 7 + 0.5))])
    return "".join(bars)
