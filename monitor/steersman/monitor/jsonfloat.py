"""JSON that keeps NaN and infinities, and that every database accepts."""

from __future__ import annotations

import json
import math
from typing import Any


def plain(value: Any) -> Any:
    """The value with non-finite floats written as one-key objects, tuples as lists.

    >>> restored(plain({"a": (1.0, float("inf"))}))
    {'a': [1.0, inf]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else {"~float": repr(value)}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def restored(value: Any) -> Any:
    """Undoes `plain`, but for tuples."""
    if isinstance(value, dict):
        if value.keys() == {"~float"}:
            return float(value["~float"])
        return {key: restored(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [restored(inner) for inner in value]
    return value


def dumps(value: Any) -> str:
    """Canonical JSON of `plain(value)`."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(text: str) -> Any:
    """Undoes `dumps`."""
    return restored(json.loads(text))
