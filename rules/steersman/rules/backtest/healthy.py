"""How often rules fire on healthy runs, kept in a file beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steersman.rules.backtest.interval import PerThousand, Share

NAME = "healthy.json"
"""The file in a folder of rules."""


@dataclass(frozen=True)
class HealthyRate:
    """One rule on healthy runs.

    Attributes:
        runs: of the healthy runs, those on which it fired.
        steps: how often it began to fire, per 1,000 optimizer steps of them.
    """

    runs: Share
    steps: PerThousand

    def __str__(self) -> str:
        steps = self.steps
        return (
            f"on {self.runs.count} of {self.runs.total} healthy runs ({self.runs.low:.0%} to {self.runs.high:.0%}), "
            f"{steps.count} times in {steps.exposure:,} steps: {steps.value or 0.0:.2g} per 1,000 "
            f"({steps.low:.2g} to {steps.high:.2g})"
        )


def write(path: Path, runs: int, steps: int, rules: Mapping[str, tuple[int, int]]) -> None:
    """Keep the figures of each rule. Counts alone are written: intervals follow from them.

    Args:
        path: the file.
        runs: healthy runs there were.
        steps: optimizer steps of them.
        rules: by rule, on how many of them it fired, and how often in all.
    """
    content = {
        "healthy_runs": runs,
        "healthy_steps": steps,
        "rules": {name: {"runs": fired, "alarms": times} for name, (fired, times) in rules.items()},
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, HealthyRate]:
    """The figures by rule; none where the file is not there or is not of this shape."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs, steps = int(content["healthy_runs"]), int(content["healthy_steps"])
        return {
            str(rule): HealthyRate(Share(int(f["runs"]), runs), PerThousand(int(f["alarms"]), steps))
            for rule, f in content["rules"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
