"""Files in a folder that look like logs, and of which no run could be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steersman.cli.words import clean, count

_NAMED = 5


@dataclass(frozen=True)
class PassedOver:
    """A file that a search has not taken; nobody named it, so it is no error.

    Attributes:
        source: the folder as it was given, and the way from there.
        reason: why it was not taken.
    """

    source: str
    reason: str

    def as_object(self) -> dict[str, Any]:
        """For `--json`: as what cannot be read, with a mark."""
        return {"source": self.source, "error": self.reason, "verdict": None, "passed_over": True}


def lines(passed: Sequence[PassedOver]) -> list[str]:
    """What is said of them at the end: some by name, the others counted. Nothing of none."""
    if not passed:
        return []
    shown = [f"  {clean(file.source)}: {clean(file.reason)}" for file in passed[:_NAMED]]
    more = len(passed) - _NAMED
    return [
        f"{count(len(passed))} passed over:",
        *shown,
        *([f"  and {more:,} more, which --json names"] if more > 0 else []),
    ]
