"""What a rule says of one job."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class FindingState(enum.StrEnum):
    """Where a rule stands for one job."""

    INACTIVE = "inactive"
    """Its condition does not hold."""
    PENDING = "pending"
    """It holds, but not yet for as long as the rule's `for` asks."""
    FIRING = "firing"
    """It has held for long enough."""
    RESOLVED = "resolved"
    """It fired, and no longer holds."""


class Severity(enum.StrEnum):
    """How loud a finding is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True)
class Evidence:
    """One number behind a finding or a diagnosis.

    Attributes:
        name: the feature, as in the rule's expression.
        value: what it was.
        threshold: what it was compared with; NaN where it was compared with no number.
        text: the same as one sentence.
    """

    name: str
    value: float
    threshold: float
    text: str


@dataclass(frozen=True)
class Finding:
    """A rule's state for one job.

    Attributes:
        rule: its name in the pack.
        state: see `FindingState`.
        severity: see `Severity`.
        verdict: the verdict the rule speaks for, a member of `steersman.rules.verdict.Verdict`.
        first_step: step at which it fired; -1 where it has not.
        last_step: last step at which its condition held; -1 where it never did.
        since: time at which it entered its state, seconds since the epoch (of the sample, not of the clock).
        summary: one sentence for a person.
        evidence: the numbers behind it.
    """

    rule: str
    state: FindingState
    severity: Severity
    verdict: str
    first_step: int
    last_step: int
    since: float
    summary: str
    evidence: tuple[Evidence, ...] = ()
