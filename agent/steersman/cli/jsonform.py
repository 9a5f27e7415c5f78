"""The documented --json shapes: snake_case, null where a number is not known, never NaN. See docs/cli.md."""

from __future__ import annotations

import dataclasses
import json
import math
from array import array
from collections.abc import Mapping, Sequence

# the names that `steersman diagnose --json` uses for the same things
_RENAMED = {"evidence_for": "for", "evidence_against": "against"}
# empty words that mean "there is none"
_NULL_WHEN_EMPTY = {"verdict", "end_message", "detail", "unit"}


def as_json(value: object) -> object:
    """A view, or anything made of views, as what `json.dumps` takes.

    Example:
        >>> as_json((1, float("nan"), {"a": float("inf")}))
        [1, None, {'a': None}]
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_RENAMED.get(f.name, f.name): _field(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, array | Sequence):
        return [as_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON shape")


def _field(name: str, value: object) -> object:
    return None if name in _NULL_WHEN_EMPTY and value == "" else as_json(value)


def dumps(value: object) -> str:
    """One line of strict JSON."""
    return json.dumps(as_json(value), allow_nan=False, ensure_ascii=False)
