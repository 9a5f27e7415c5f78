"""How a job stands, and how it ended."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class JobState(enum.StrEnum):
    """How a job stands."""

    STARTING = "starting"
    """Known, no sample yet."""
    RUNNING = "running"
    """Samples come in at its pace."""
    SILENT = "silent"
    """No sample for longer than its own pace explains."""
    FINISHED = "finished"
    """Exit code 0."""
    FAILED = "failed"
    """Another exit code."""
    KILLED = "killed"
    """By a signal."""
    LOST = "lost"
    """Gone, and nobody saw how."""
    DETACHED = "detached"
    """The probe left, the job goes on."""


@dataclass(frozen=True)
class End:
    """How an attempt ended; `state` is one of the last five of `JobState`."""

    state: JobState
    time: float
    exit_code: int = 0
    signal: int = 0
    message: str = ""
