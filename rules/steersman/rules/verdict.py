"""The words of a diagnosis."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """The causes a diagnosis can name. Each has a headline in plain words in `HEADLINES`."""

    HEALTHY = "healthy"
    UNDETERMINED = "undetermined"
    TOO_SHORT = "too_short"
    LR_TOO_HIGH = "lr_too_high"
    LR_TOO_LOW = "lr_too_low"
    WARMUP_TOO_SHORT = "warmup_too_short"
    DECAY_TOO_EARLY = "decay_too_early"
    DECAY_TOO_LATE = "decay_too_late"
    DIVERGED = "diverged"
    NONFINITE = "nonfinite"
    SPIKE = "spike"
    PLATEAU = "plateau"
    OVERFITTING = "overfitting"
    UNDERFITTING = "underfitting"
    GRADIENT_EXPLOSION = "gradient_explosion"
    GRADIENT_VANISHING = "gradient_vanishing"
    PRECISION_OVERFLOW = "precision_overflow"
    BAD_DATA = "bad_data"


class PrescriptionKind(enum.StrEnum):
    """How a prescription changes the job's learning rate."""

    SCALE = "scale"
    """`value` is a factor on what is in force now."""
    SET = "set"
    """`value` is the LR of the first group; the other groups keep their ratio to it."""


@dataclass(frozen=True)
class RecommendedLR:
    """The learning rate a diagnosis would use, for the first parameter group, with an interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ExpectedEffect:
    """Where a job ends that follows a prescription, against where it ends when it is left alone.

    Attributes:
        nats: logarithm of the one end loss over the other, median; below zero is better.
        low: lower end of a 90 % interval.
        high: upper end of a 90 % interval.
        jobs: how many jobs that was measured on, each run to its end both ways.
    """

    nats: float
    low: float
    high: float
    jobs: int


@dataclass(frozen=True)
class Prescription:
    """The adjustment a diagnosis proposes.

    Attributes:
        kind: see `PrescriptionKind`.
        value: as the kind says.
        over_steps: length of the ramp in steps; 0 is at once.
        reason: why, one sentence.
        risk: what may go wrong, one sentence.
        expected: what following it brings; None where nothing like it was measured.
    """

    kind: PrescriptionKind
    value: float
    over_steps: int
    reason: str
    risk: str
    expected: ExpectedEffect | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The one cause that best explains what is firing.

    Attributes:
        verdict: see `Verdict`.
        confidence: 0 to 1.
        onset_step: the step at which it began, None where there is none.
        at_step: last step taken into account; -1 before the first.
        time: seconds since the epoch of that sample; 0 before the first.
        headline: one sentence in words, e.g. "learning rate too high".
        evidence_for: sentences with numbers.
        evidence_against: sentences with numbers.
        would_refute: what would change this verdict, one sentence.
        recommended_lr: None where the LR is not the lever or no value can be named.
        prescription: None where nothing is proposed.
        lr_is_the_lever: None where it is not known.
        rules: names of the firing rules behind it.
    """

    verdict: Verdict
    confidence: float
    onset_step: int | None
    at_step: int
    time: float
    headline: str
    evidence_for: tuple[str, ...] = ()
    evidence_against: tuple[str, ...] = ()
    would_refute: str = ""
    recommended_lr: RecommendedLR | None = None
    prescription: Prescription | None = None
    lr_is_the_lever: bool | None = None
    rules: tuple[str, ...] = ()
