"""What following a prescription brings, as it was measured: jobs that were run to their ends with it and without it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path

from steersman.rules.verdict import ExpectedEffect

MEASURED = Path(__file__).parent / "effects.json"

KINDS: Mapping[str, str] = {
    "raise": "up to four times the rate",
    "raise further": "more than four times the rate, at most sixteen",
    "cut": "down to two fifths of the rate",
    "deep cut": "further down, where a finding is critical",
}
"""Prescriptions that are alike, and what they are."""


def kind(factor: float, broken: bool) -> str | None:
    """Which of `KINDS` a change of the learning rate is; None where nothing like it was measured.

    >>> kind(2.0, False), kind(0.5, False), kind(0.1, True), kind(0.1, False)
    ('raise', 'cut', 'deep cut', None)
    """
    if factor > 1.0:
        return "raise" if factor <= 4.0 else "raise further" if factor <= 16.0 else None
    if factor < 0.4:
        return "deep cut" if broken else None
    return "cut" if factor < 1.0 else None


def expected(factor: float, broken: bool) -> ExpectedEffect | None:
    """What multiplying the rate brings by the end of the run.

    Args:
        factor: by which the learning rate is multiplied.
        broken: whether a finding behind it is critical.
    """
    name = kind(factor, broken)
    return None if name is None else _measured().get(name)


def write(measured: Mapping[str, Mapping[str, float]]) -> None:
    """Keep what was measured: of each of `KINDS` the fields of an `ExpectedEffect`."""
    names = [field.name for field in fields(ExpectedEffect)]
    kept = {name: {field: round(effect[field], 3) for field in names} for name, effect in measured.items()}
    MEASURED.write_text(json.dumps(kept, indent=1) + "\n")
    _measured.cache_clear()


@cache
def _measured() -> dict[str, ExpectedEffect]:
    return {name: ExpectedEffect(**effect) for name, effect in json.loads(MEASURED.read_text()).items()}
