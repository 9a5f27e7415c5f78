"""What operators see, as plain frozen values: unknown numbers are None, enums are their lower-case words.

Both the commands and the dashboard work on these; only `translate` and the clients know protobuf.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

LIVE_STATES = frozenset({"starting", "running", "silent"})
"""States of a job that may still send samples."""

IN_FORCE_STATES = frozenset({"applied", "probation", "kept"})
"""States of an adjustment that is laid over the job's own learning rate."""

OPEN_STATES = frozenset({"proposed", "approved", "armed"})
"""States of an adjustment on which nothing has been read back yet."""

SEVERITIES = ("info", "warning", "critical")
"""From quiet to loud."""


@dataclass(frozen=True)
class Evidence:
    """One number behind a finding."""

    name: str
    value: float | None
    threshold: float | None
    text: str


@dataclass(frozen=True)
class Finding:
    """A rule's state for one job."""

    rule: str
    state: str
    severity: str
    verdict: str
    first_step: int | None
    last_step: int | None
    summary: str
    evidence: tuple[Evidence, ...] = ()
    since: float | None = None


@dataclass(frozen=True)
class RecommendedLR:
    """The learning rate a diagnosis would use, with an interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ExpectedEffect:
    """Where a job ends that follows a prescription, as the logarithm over where it ends when it is left alone."""

    nats: float
    low: float
    high: float
    jobs: int


@dataclass(frozen=True)
class Prescription:
    """The adjustment a diagnosis proposes."""

    kind: str
    value: float | None
    over_steps: int
    reason: str
    risk: str
    expected: ExpectedEffect | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The one cause that best explains what is firing."""

    verdict: str
    confidence: float
    onset_step: int | None
    at_step: int | None
    time: float | None
    headline: str
    evidence_for: tuple[str, ...] = ()
    evidence_against: tuple[str, ...] = ()
    would_refute: str = ""
    recommended_lr: RecommendedLR | None = None
    prescription: Prescription | None = None
    lr_is_the_lever: bool | None = None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What the owner of a job allows, with the defaults filled in; None is no bound."""

    min_factor: float = 1 / 16
    max_factor: float = 16.0
    min_lr: float | None = None
    max_lr: float | None = None
    max_adjustments: int = 3
    cooldown_steps: int = 200


@dataclass(frozen=True)
class Job:
    """The newest attempt of a job, as the daemon sees it."""

    name: str
    attempt_id: str
    attempt: int
    state: str
    policy: str
    limits: Limits
    host: str
    user: str
    command: str
    world_size: int
    ranks_seen: int
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    signal: int | None
    end_message: str
    step: int | None
    last_sample_at: float | None
    loss: float | None
    grad_norm: float | None
    lr: float | None
    own_lr: float | None
    val_loss: float | None
    steps_per_second: float | None
    total_factor: float
    diagnosis: Diagnosis | None
    findings: tuple[Finding, ...]
    rows: int
    rows_lost: int
    waiting_adjustments: int
    planned_steps: int | None
    recent_loss: tuple[float | None, ...]
    way_in: str
    agent_connected: bool

    @property
    def factor_now(self) -> float:
        """What the learning rate in force is of the job's own; `total_factor` is what a ramp ends at."""
        if self.lr is None or not self.own_lr:
            return self.total_factor
        return self.lr / self.own_lr

    @property
    def live(self) -> bool:
        """Whether it may still send samples."""
        return self.state in LIVE_STATES

    @property
    def firing(self) -> tuple[Finding, ...]:
        """Its firing findings, the loudest first."""
        firing = [f for f in self.findings if f.state == "firing"]
        return tuple(sorted(firing, key=lambda f: -severity_rank(f.severity)))

    @property
    def severity(self) -> str | None:
        """How loud its loudest firing finding is; None where nothing fires."""
        firing = self.firing
        return firing[0].severity if firing else None


@dataclass(frozen=True)
class ReadBack:
    """Learning rates read back from the optimizer of one rank, by parameter group."""

    step: int | None
    lr: tuple[float | None, ...]


@dataclass(frozen=True)
class Adjustment:
    """A change to a job's learning rate, and where it stands."""

    id: str
    job: str
    attempt_id: str
    kind: str
    value: float | None
    total_factor: float | None
    over_steps: int
    state: str
    by: str
    reason: str
    applied_step: int | None
    created_at: float | None
    changed_at: float | None
    ranks: Mapping[str, ReadBack] = field(default_factory=dict)
    detail: str = ""
    verdict: str = ""

    @property
    def waiting(self) -> bool:
        """Whether somebody has to decide on it."""
        return self.state == "proposed"

    @property
    def in_force(self) -> bool:
        """Whether it lies over the job's own learning rate now."""
        return self.state in IN_FORCE_STATES


@dataclass(frozen=True)
class Event:
    """Something that happened in a job and is no sample."""

    time: float | None
    step: int | None
    kind: str
    message: str
    rank: int
    count: int


@dataclass(frozen=True)
class JobDetail:
    """One job with its adjustments and its latest events, each newest last."""

    job: Job
    adjustments: tuple[Adjustment, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where one number of a sample came from."""

    series: str
    value: float | None
    words: str


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of one rank's sample at one step came from."""

    job: str
    rank: int
    step: int | None
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Daemon:
    """The daemon that answers."""

    version: str
    protocol_min: int
    protocol_max: int
    daemon_id: str
    started_at: float | None
    store: str
    metrics: str
    rules: int
    rule_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesInfo:
    """One series a job has."""

    name: str
    unit: str
    points: int


@dataclass(frozen=True)
class RankSeries:
    """One rank's points; values may be NaN or infinite, as the job computed them."""

    steps: array[int]
    times: array[float]
    values: array[float]


@dataclass(frozen=True)
class Series:
    """A series of a job, by rank."""

    job: str
    name: str
    unit: str
    ranks: Mapping[str, RankSeries]


@dataclass(frozen=True)
class LedgerEntry:
    """One line of the append-only record."""

    seq: int
    time: float | None
    adjustment: str
    kind: str
    params: Mapping[str, object]
    state: str
    by: str
    reason: str
    step: int | None
    ranks: Mapping[str, ReadBack]
    prev: str
    hash: str


@dataclass(frozen=True)
class Ledger:
    """The record of a job, and whether its chain of hashes holds."""

    job: str
    entries: tuple[LedgerEntry, ...]
    verified: bool
    problem: str


def severity_rank(severity: str | None) -> int:
    """Place of a severity from quiet to loud; -1 where there is none.

    Example:
        >>> severity_rank("critical") > severity_rank("warning") > severity_rank(None)
        True
    """
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1
