"""What the daemon asks of the rules: the seam between a job and its engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from steersman.monitor.facts import Facts
from steersman.monitor.probation import Expectation
from steersman.rules.budget import StoppedRule
from steersman.rules.finding import Finding
from steersman.rules.samples import Samples
from steersman.rules.verdict import Diagnosis


class JobEngine(Protocol):
    """Features and rules of one job. How rows are cut into calls changes nothing."""

    def feed(self, samples: Samples) -> Sequence[Finding]:
        """Take rows in; the findings whose state changed, in order."""
        ...

    def note_adjustment(self, step: int, factor: float) -> None:
        """Our own hand multiplied the LR by `factor` from this step on."""
        ...

    def findings(self) -> Sequence[Finding]:
        """All findings as they stand."""
        ...

    def stopped(self) -> Sequence[StoppedRule]:
        """The rules that were too slow and are switched off for this job."""
        ...

    def diagnose(self) -> Diagnosis:
        """The one cause that best explains what is firing."""
        ...

    def expectation(self, step: int, steps: int) -> Expectation | None:
        """What the untouched curve will do over so many steps from `step` on; None where it can't be told."""
        ...

    def snapshot(self) -> bytes:
        """The whole state, from which `EngineMaker.restore` goes on to the bit."""
        ...


class EngineMaker(Protocol):
    """Makes engines over the rules in force."""

    @property
    def rules(self) -> int:
        """How many rules are in force."""
        ...

    @property
    def files(self) -> Sequence[str]:
        """The files they come from."""
        ...

    def new(self, facts: Facts) -> JobEngine:
        """An engine for a job that begins."""
        ...

    def restore(self, facts: Facts, snapshot: bytes) -> JobEngine:
        """An engine that goes on from a snapshot.

        Raises:
            ValueError: the snapshot does not fit the rules in force.
        """
        ...
