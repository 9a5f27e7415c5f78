"""What is known of a job beside its rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JobFacts:
    """What the job said of itself in its hello.

    Attributes:
        optimizer: class name of its optimizer, empty where it is not known.
        planned_steps: how many optimizer steps it means to take; 0 where it did not say.
        joined: whether somebody came to it while it ran, so that its beginning was not seen.
    """

    optimizer: str = ""
    planned_steps: int = 0
    joined: bool = False
