"""A case: a written job, and what the rules should say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steersman.rules.cases.drawing import draw
from steersman.rules.cases.notation import Notation
from steersman.rules.facts import JobFacts
from steersman.rules.finding import FindingState, Severity
from steersman.rules.samples import Ints, Samples
from steersman.rules.verdict import Verdict

ANY_RULE = "*"
"""Stands for every rule, where none of them may fire."""


@dataclass(frozen=True)
class Expected:
    """What one rule should do.

    Attributes:
        rule: its name, or `ANY_RULE`.
        state: the state asked for.
        at: the rule is in that state at this step; -1 where not asked.
        by: it comes into that state at this step or before; -1 where not asked.
        after: and not before this one.
        never: it does not come into that state at all.
        severity: of the finding; with `never`, of this severity or louder. None is any.
        line: where it stands in its file.
        column: where in that line.
    """

    rule: str
    state: FindingState = FindingState.FIRING
    at: int = -1
    by: int = -1
    after: int = 0
    never: bool = False
    severity: Severity | None = None
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class ExpectedDiagnosis:
    """What the diagnosis should be at a step."""

    at: int
    verdict: Verdict
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class Case:
    """One written job.

    Attributes:
        name: for people.
        steps: its length in optimizer steps.
        interval: steps from one row to the next.
        seed: of its noise.
        facts: what the job says of itself.
        series: by name, as in `Samples.columns`.
        adjusted: (step, factor) where Steersman itself changed the LR.
        expected: what rules should do.
        diagnoses: what the diagnosis should be.
        line: where it stands in its file.
    """

    name: str
    steps: int
    interval: int
    seed: int
    facts: JobFacts
    series: Mapping[str, Notation]
    adjusted: tuple[tuple[int, float], ...] = ()
    expected: tuple[Expected, ...] = ()
    diagnoses: tuple[ExpectedDiagnosis, ...] = ()
    line: int = 0

    def samples(self) -> Samples:
        """Its rows. A row's time is its step, so that times of findings are steps."""
        steps: Ints = np.arange(0, self.steps, self.interval, dtype=np.int64)
        columns = {name: draw(notation, steps, name, self.seed) for name, notation in self.series.items()}
        return Samples(steps, steps.astype(np.float64), columns)


@dataclass(frozen=True)
class CaseFile:
    """A file of cases.

    Attributes:
        path: as it was given.
        rules: the rule files and folders that its cases are about; empty for the shipped pack.
        cases: in the order of the file.
    """

    path: str
    rules: tuple[Path, ...]
    cases: tuple[Case, ...]
