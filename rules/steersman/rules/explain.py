"""The sentence in which a rule says what it saw."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from string import Formatter

Value = float | bool | None

LARGE = 1e7
"""A number from here on is told in powers of ten, whatever the template asks for."""
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[]+|\[)")


class Explanation:
    """A template with `{feature}` or `{feature:.2f}` in it, and with `[parts]` that may be left out.

    A part in brackets is told where all features in it are known; without features, brackets are text like any other.
    Parts do not stand within parts.

    >>> said = Explanation("The loss rose by {up:.1f} nats[, each step being {r:.0%} of the weights].")
    >>> said.fill({"up": 0.52, "r": 0.1}), said.fill({"up": 0.52, "r": None})
    ('The loss rose by 0.5 nats, each step being 10% of the weights.', 'The loss rose by 0.5 nats.')

    Attributes:
        names: of all features in it.
        needed: of those outside of parts that may be left out.
    """

    def __init__(self, template: str) -> None:
        parts = [(optional, text) for optional, text in _PART.findall(template)]
        self._parts = [
            (optional, names) if (names := _names(optional)) else (text or f"[{optional}]", frozenset[str]())
            for optional, text in parts
        ]
        self.needed = frozenset[str]().union(*(_names(text) for text, optional in self._parts if not optional))
        self.names = self.needed.union(*(optional for _, optional in self._parts))

    @classmethod
    @functools.lru_cache(maxsize=1024)
    def of(cls, template: str) -> Explanation:
        """That of a template, made once."""
        return cls(template)

    def fill(self, values: Mapping[str, Value]) -> str:
        """The sentence for these features."""
        told = [text for text, names in self._parts if all(values.get(name) is not None for name in names)]
        return "".join(told).format_map(_Known(values))


def has_nested_parts(template: str) -> bool:
    """Whether brackets stand within brackets that have a feature in them.

    >>> has_nested_parts("{a}[, {b} [nats]]"), has_nested_parts("{a}[, {b}] [nats]"), has_nested_parts("[a [b]] {c}")
    (True, False, False)
    """
    depth, nested, start = 0, False, 0
    for place, sign in enumerate(template):
        if sign == "[":
            start = place if depth == 0 else start
            depth += 1
            nested = nested or depth > 1
        elif sign == "]" and depth:
            depth -= 1
            if depth == 0:
                if nested and "{" in template[start:place].replace("{{", ""):
                    return True
                nested = False
    return False


def _names(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name)


class _Shown:
    """A feature in a template: formatted where it is known, a word where it is not."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __format__(self, form: str) -> str:
        if self.value is None:
            return "unknown"
        value = float(self.value)
        told = format(value, ".3g" if abs(value) >= LARGE else form or ".3g")
        if value == 0.0 or not math.isfinite(value) or any(digit in told for digit in "123456789"):
            return told
        # It is small, and not nothing.
        sign = "+" if form.startswith("+") else ""
        return f"{100.0 * value:{sign}.1g}%" if form.endswith("%") else f"{value:{sign}.1g}"


class _Known(dict[str, _Shown]):
    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__()
        self.values_of = values

    def __missing__(self, name: str) -> _Shown:
        return _Shown(self.values_of.get(name))
