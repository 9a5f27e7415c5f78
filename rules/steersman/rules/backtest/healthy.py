"""How often rules fire on healthy runs, kept in a file beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from steersman.rules.backtest.interval import PerThousand, Share, percent
from steersman.rules.backtest.reach import Sight, tried
from steersman.rules.rule import Rule

NAME = "healthy.json"
"""The file in a folder of rules."""


class Counts(NamedTuple):
    """What one rule did on healthy runs.

    Attributes:
        runs: on how many it fired.
        alarms: how often it began to.
        of_runs: on how many it could have fired: what it reads was known there.
        of_steps: optimizer steps of those.
    """

    runs: int
    alarms: int
    of_runs: int
    of_steps: int


@dataclass(frozen=True)
class HealthyRate:
    """One rule on healthy runs.

    Attributes:
        runs: of the healthy runs on which it could fire, those on which it did.
        steps: how often it began to fire, per 1,000 optimizer steps of them.
        healthy: all healthy runs, those on which it could not fire among them.
    """

    runs: Share
    steps: PerThousand
    healthy: int

    @property
    def measured(self) -> bool:
        """Whether there is a run on which it could fire: of a rule without one nothing is known."""
        return self.runs.total > 0

    @property
    def short(self) -> str:
        """For a table."""
        return f"{self.runs.count} of {self.runs.total}" if self.measured else "not measured"

    def __str__(self) -> str:
        if not self.measured:
            return f"not measured: none of the {self.healthy} healthy runs has what it reads"
        runs, steps = self.runs, self.steps
        times = f"{steps.count} time{'s' if steps.count != 1 else ''}"
        others = f" that have what it reads, of {self.healthy}" if runs.total < self.healthy else ""
        return (
            f"on {runs.count} of {runs.total} healthy runs{others} ({percent(runs.low)} to {percent(runs.high)}), "
            f"{times} in {steps.exposure:,} steps: {steps.value or 0.0:.2g} per 1,000 "
            f"({steps.low:.2g} to {steps.high:.2g})"
        )


@dataclass(frozen=True)
class HealthyRun:
    """One healthy run.

    Attributes:
        fired: by rule, how often it began to fire.
        steps: its optimizer steps.
        sight: what was there for rules to read.
    """

    fired: Mapping[str, int]
    steps: int
    sight: Sight


def counts(rules: Sequence[Rule], runs: Sequence[HealthyRun]) -> dict[str, Counts]:
    """What each rule did on healthy runs, counted where it could have fired."""
    found = list(zip(runs, tried(rules, [run.sight for run in runs]), strict=True))
    out = {}
    for rule in (r.name for r in rules):
        mine = [(run.fired.get(rule, 0), run.steps) for run, names in found if rule in names]
        out[rule] = Counts(sum(t > 0 for t, _ in mine), sum(t for t, _ in mine), len(mine), sum(s for _, s in mine))
    return out


def write(path: Path, runs: int, steps: int, rules: Mapping[str, Counts]) -> None:
    """Keep the figures of each rule. Counts alone are written: intervals follow from them.

    Args:
        path: the file.
        runs: healthy runs there were.
        steps: optimizer steps of them.
        rules: what each did on them.
    """
    content = {
        "healthy_runs": runs,
        "healthy_steps": steps,
        "rules": {name: counts._asdict() for name, counts in rules.items()},
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, HealthyRate]:
    """The figures by rule; none where the file is not there or is not of this shape."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs, steps = int(content["healthy_runs"]), int(content["healthy_steps"])
        return {str(rule): _rate(found, runs, steps) for rule, found in content["rules"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _rate(found: Mapping[str, int], runs: int, steps: int) -> HealthyRate:
    # Files that are older say nothing of what a rule reads.
    of_runs, of_steps = int(found.get("of_runs", runs)), int(found.get("of_steps", steps))
    return HealthyRate(Share(int(found["runs"]), of_runs), PerThousand(int(found["alarms"]), of_steps), runs)
