"""How the dashboard learns of the world: a stream of updates, and a few questions. The daemon is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steersman.cli import views


@dataclass(frozen=True)
class Connected:
    """A daemon answers; the present state of all jobs follows."""

    daemon: views.Daemon


@dataclass(frozen=True)
class JobUpdate:
    """The whole state of one job."""

    job: views.Job
    adjustments: tuple[views.Adjustment, ...] = ()


@dataclass(frozen=True)
class Ready:
    """The present state is complete; changes follow."""


@dataclass(frozen=True)
class Lost:
    """The daemon is gone; the feed tries again by itself.

    Attributes:
        reason: one sentence.
        retry_in: seconds until the next attempt.
    """

    reason: str
    retry_in: float


Update = Connected | JobUpdate | Ready | Lost


@dataclass(frozen=True)
class Points:
    """Consecutive points of one series of one rank, by ascending step."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


class FeedError(Exception):
    """A question could not be answered, or a decision was refused; the message is for people."""


class Feed(Protocol):
    """What the dashboard needs of a daemon. The gRPC client is one implementation, a script in the tests another."""

    def updates(self) -> AsyncIterator[Update]:
        """Never ends: what is lost is said with `Lost`, and comes back with `Connected`."""
        ...

    async def detail(self, job: str) -> views.JobDetail:
        """One job with its events. Raises `FeedError`."""
        ...

    async def series_names(self, job: str) -> tuple[str, ...]:
        """The series a job has. Raises `FeedError`."""
        ...

    async def series(self, job: str, name: str, resolution: int, from_step: int) -> Points:
        """The first rank's points from a step on, at most `resolution`, extremes kept. Raises `FeedError`."""
        ...

    async def decide(self, verb: str, adjustment_id: str) -> views.Adjustment:
        """`approve`, `reject` or `revert` an adjustment. Raises `FeedError`."""
        ...
