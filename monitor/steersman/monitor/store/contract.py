"""What the daemon asks of a store, whatever keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from steersman.rules.samples import Samples


@dataclass(frozen=True)
class JobRecord:
    """One attempt of one job. `facts` and `state` are JSON objects that only the daemon understands.

    Attributes:
        attempt_id: UUID, the key.
        name: the name granted.
        attempt: 1 for the first attempt of this name.
        facts: what the agent said when it opened the job.
        state: what the daemon keeps beside the detectors: how the job ended, its policy, its control state.
        started_at: seconds since the epoch.
        ended_at: None while it runs.
    """

    attempt_id: str
    name: str
    attempt: int
    facts: Mapping[str, object]
    state: Mapping[str, object]
    started_at: float
    ended_at: float | None = None


@dataclass(frozen=True)
class RowsWrite:
    """Consecutive rows of one rank, directly after what is stored of it.

    Attributes:
        attempt_id: of which attempt.
        rank: of which rank.
        first_seq: the high-water mark plus 1, plus `skipped`.
        samples: the rows; none at all is allowed, to say only that rows were lost.
        skipped: rows directly before these that are lost for good; they are counted and never waited for again.
    """

    attempt_id: str
    rank: int
    first_seq: int
    samples: Samples
    skipped: int = 0


@dataclass(frozen=True)
class EventRecord:
    """Something that happened in a job and is no sample. (attempt_id, rank, event_seq) is its key."""

    attempt_id: str
    rank: int
    event_seq: int
    time: float
    step: int
    kind: str
    message: str
    count: int = 0


@dataclass(frozen=True)
class LedgerRecord:
    """One line of the ledger. `body` is the canonical JSON over which `hash` was taken."""

    job: str
    seq: int
    attempt_id: str
    time: float
    body: str
    prev: str
    hash: str


@dataclass(frozen=True)
class Unit:
    """What is written in one transaction: all of it is on disk afterwards, or none.

    Attributes:
        jobs: inserted or replaced by attempt_id.
        rows: appended; a RowsWrite that does not start at the high-water mark plus 1 (plus what it skips) is refused
            with `StoreError`, and so is one of an attempt that is neither stored nor in `jobs`.
        snapshots: by attempt_id, the detectors' state as opaque bytes, replaced.
        findings: by attempt_id, JSON of all its findings and its diagnosis, replaced.
        adjustments: by adjustment id, (attempt_id, JSON), inserted or replaced.
        events: inserted; one that is there already is skipped.
        ledger: appended; (job, seq) must follow the last one, else `StoreError`.
    """

    jobs: Sequence[JobRecord] = ()
    rows: Sequence[RowsWrite] = ()
    snapshots: Mapping[str, bytes] = field(default_factory=dict)
    findings: Mapping[str, str] = field(default_factory=dict)
    adjustments: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    events: Sequence[EventRecord] = ()
    ledger: Sequence[LedgerRecord] = ()


@dataclass(frozen=True)
class Restored:
    """What a daemon needs to go on with a job where another left it."""

    job: JobRecord
    high_water: Mapping[int, int]
    """By rank: highest sequence number stored."""
    snapshot: bytes | None
    findings: str | None
    adjustments: Mapping[str, str]
    event_high_water: Mapping[int, int]
    lost: Mapping[int, int] = field(default_factory=dict)
    """By rank: rows lost for good, where there are any."""


@dataclass(frozen=True)
class SeriesInfo:
    """A stored series: name, unit and number of points over all ranks."""

    name: str
    unit: str
    points: int


@dataclass(frozen=True)
class Damage:
    """A stretch of stored samples that can no longer be read.

    Attributes:
        job: the job's name.
        attempt: its attempt.
        series: the series concerned, empty where it is all series of these rows.
        rank: -1 where it is all ranks.
        first_step: smallest step of the rows concerned.
        last_step: largest step of the rows concerned.
        rows: how many rows.
        cause: what is wrong with it, in words.
    """

    job: str
    attempt: int
    series: str
    rank: int
    first_step: int
    last_step: int
    rows: int
    cause: str

    def __str__(self) -> str:
        what = f"series {self.series}" if self.series else "all series"
        who = f"rank {self.rank}" if self.rank >= 0 else "all ranks"
        return (
            f"job {self.job} attempt {self.attempt}: {what} of {who} cannot be read "
            f"from step {self.first_step} to step {self.last_step} ({self.rows} rows): {self.cause}"
        )


class Store(Protocol):
    """Blocking; the daemon calls `write` from one thread, and the readers from any.

    Every method raises `StoreError` (monitor/errors.py) with what happened, to what, and what to do next.
    """

    def write(self, unit: Unit) -> None:
        """Commit one unit; when it returns, all of it survives a power cut."""
        ...

    def jobs(self, *, ended: bool) -> list[JobRecord]:
        """Attempts, newest first; those that have ended only when asked for."""
        ...

    def find(self, name: str, attempt: int = 0) -> JobRecord | None:
        """An attempt of a name, the newest for 0."""
        ...

    def restore(self, attempt_id: str) -> Restored | None:
        """Everything that is needed to go on with an attempt."""
        ...

    def list_series(self, attempt_id: str) -> list[SeriesInfo]:
        """The series stored of an attempt, by name."""
        ...

    def series(
        self, attempt_id: str, name: str, *, ranks: Sequence[int] = (), from_step: int = 0, to_step: int | None = None
    ) -> Mapping[int, Samples]:
        """By rank: every stored point of one series, as Samples with that one column, absent rows left out.

        Points come in the order in which they were written; both bounds are inclusive. Ranks without a point are left
        out, and an attempt or a series that is not stored has none. What is damaged is skipped with the log event
        `store_damaged`; see `damage`.
        """
        ...

    def events(self, attempt_id: str, limit: int = 100) -> list[EventRecord]:
        """The newest events, oldest first."""
        ...

    def ledger(self, job: str, attempt_id: str | None = None) -> list[LedgerRecord]:
        """The entries of a job in order."""
        ...

    def adjustments(self, job: str) -> Mapping[str, str]:
        """By id, the JSON of all adjustments of a job, those of all its attempts."""
        ...

    def damage(self, attempt_id: str) -> list[Damage]:
        """What can no longer be read of an attempt's samples: reads all of it, so it takes a while."""
        ...

    def check(self, attempt_id: str) -> None:
        """Raise `StoreError` naming job, series and steps when anything that `damage` lists is there."""
        ...

    def close(self) -> None:
        """Release what is held; calling it twice is allowed."""
        ...
