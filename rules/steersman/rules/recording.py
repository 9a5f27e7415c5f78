"""A training run that somebody wrote down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steersman.rules.facts import JobFacts
from steersman.rules.samples import Samples


@dataclass(frozen=True)
class Recording:
    """One run as it was logged.

    Attributes:
        source: the path it was read from, as it was given.
        name: for people: the run's own name where it has one, otherwise one made of the path.
        format: which reader read it, e.g. "huggingface".
        samples: its rows in the order in which they were written.
        facts: what the log says of the job beside its rows.
        notes: what a reader guessed or left out, a sentence each.
        read_as: by series name (`step`, `loss`, `lr/GROUP`, …) the name that the log has for it.
        adjustments: what our own hand did to its rate: the step, and the factor on what was in force.
    """

    source: str
    name: str
    format: str
    samples: Samples
    facts: JobFacts = field(default_factory=JobFacts)
    notes: tuple[str, ...] = ()
    read_as: Mapping[str, str] = field(default_factory=dict)
    adjustments: tuple[tuple[int, float], ...] = ()
